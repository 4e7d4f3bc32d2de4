"""What the Search page searches for: an image of the collection or photos of the visitor, or parts of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from simsiam_retrieval.collection import Collection, Item
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.images.apart import read_image_apart
from simsiam_retrieval.images.decode import ImageError
from simsiam_retrieval.images.reading import Reading

from .. import markup
from ..components import chosen_image
from ..search import uploads
from ..search.address import Address, Box, as_number


@dataclass(frozen=True)
class Query:
    """What is searched for."""

    like: list[Item | NDArray[np.float32]]
    unlike: list[Item]
    photos: list[tuple[uploads.Photo, bytes, str]]  # with a picture to show, JPEG, and its size in words
    vector: NDArray[np.float32]  # (dim,)
    size: tuple[int, int]  # of the first picture, in pixels
    chosen: Item | None  # the chosen image, also where only a part of it is searched for


def query_of(collection: Collection, address: Address) -> Query | None:
    """Find what an address and the given photos ask for.

    Args:
        collection: The collection.
        address: The address.

    Returns:
        The query; None after the page says why that is nothing.
    """
    like: list[Item | NDArray[np.float32]] = []
    photos = []
    chosen, size = None, (0, 0)
    if address.image is not None:
        id_ = as_number(address.image)
        item = None if id_ is None else collection.item(id_)
        if item is None:
            text = f"There is no image {address.image} in this collection. It may have been removed, or indexed anew."
            markup.notice(f"{text} Choose another.")
            return None
        chosen, size = item, (item.width, item.height)
        parts = _parts(collection, item.path, size, address)
        like += parts or [item]
    elif address.upload:
        given_photos = uploads.photos()
        if not given_photos:
            markup.notice("Photos of yours are not kept. Give them again to see what looks like them.", kind="info")
            return None
        for photo in given_photos:
            try:
                jpeg, pixels, shown = chosen_image.uploaded_picture(photo.content, collection.reading)
                parts = [] if photos else _parts(collection, photo.content, shown, address)
                whole = _embedded(collection, collection.encoder_identity, collection.reading, photo.content)
                like += parts or [whole]
                size = size if photos else shown
            except (ImageError, UserError) as error:
                reason = f"{error}".removeprefix("the image: ")
                markup.notice(f"{photo.name} cannot be used: {reason}. Try a JPEG, PNG, WebP or HEIC file.")
            else:
                photos.append((photo, jpeg, pixels))
    like += [item for id_ in address.more if (item := collection.item(id_)) is not None]
    unlike = [item for id_ in address.less if (item := collection.item(id_)) is not None]
    if not like:
        if not address.upload:
            markup.notice("The images of this search are no longer in the collection. Choose another.")
        return None
    return Query(like, unlike, photos, collection.direction(like, unlike=unlike), size, chosen)


@st.cache_data(show_spinner=False, max_entries=64)
def _embedded(_collection: Collection, identity: str, reading: Reading, content: bytes) -> NDArray[np.float32]:
    encoder = _collection.encoder
    return encoder.embed([read_image_apart(content, encoder.decode_side, reading)])[0]


def _parts(
    collection: Collection, source: Path | bytes, size: tuple[int, int], address: Address
) -> list[NDArray[np.float32]]:
    """Vectors of the parts that are searched for; none for the whole picture."""
    if not address.boxes or not collection.has_regions:
        return []
    encoder, reading = collection.encoder_identity, collection.reading
    return _embedded_parts(collection, encoder, reading, source, size, address.boxes)


@st.cache_data(show_spinner=False, max_entries=64)
def _embedded_parts(
    _collection: Collection,
    identity: str,
    reading: Reading,
    source: Path | bytes,
    size: tuple[int, int],
    boxes: tuple[Box, ...],
) -> list[NDArray[np.float32]]:
    encoder, short = _collection.encoder, min(size)
    # as large as the smallest part needs, and no larger than an upload may be
    needed = short * encoder.decode_side / min(min(box[2:]) for box in boxes)
    most = (chosen_image.UPLOAD_PIXELS * short / max(size)) ** 0.5
    try:
        picture = read_image_apart(source, max(encoder.decode_side, round(min(needed, most))), reading)
    except (ImageError, OSError) as error:
        name = "the photo" if isinstance(source, bytes) else str(source)
        raise UserError(f"{name}: cannot be read now, so no part of it can be searched for ({error})") from None
    return list(encoder.embed(_collection.parts_of(picture, boxes)))
