"""Photos that a visitor gives as queries: uploaded, taken with a camera, or pasted. They are never stored."""

import base64
import binascii
from dataclasses import dataclass

import streamlit as st

from ..settings import MAX_UPLOAD

UPLOADS, CAMERA, PASTED = "photos", "camera", "pasted"  # keys in the session
REFUSED = "paste refused"
MOST_BASE64 = -(-MAX_UPLOAD * 2**20 // 3) * 4


@dataclass(frozen=True)
class Photo:
    """A photo as it came."""

    name: str
    content: bytes


def photos() -> list[Photo]:
    """Return all photos that this visitor uploaded or pasted.

    Returns:
        The photos.
    """
    found = [Photo(file.name, file.getvalue()) for file in st.session_state.get(UPLOADS) or []]
    taken = st.session_state.get(CAMERA)
    if taken is not None:
        found.append(Photo("from the camera", taken.getvalue()))
    return found + st.session_state.get(PASTED, [])


def paste(value: object) -> bool:
    """Keep a pasted picture.

    Args:
        value: Base64 from the page, which may send anything.

    Returns:
        False if it is no picture or too large.
    """
    if isinstance(value, int):
        size = f"{value / 2**20:,.0f} MB" if 0 < value < 2**50 else "too many bytes"
        st.session_state[REFUSED] = f"The picture has {size}; the most is {MAX_UPLOAD} MB. Give a smaller one."
        return False
    if not isinstance(value, str) or len(value) > MOST_BASE64:
        return False
    try:
        content = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    st.session_state[PASTED] = [Photo("pasted", content)]
    return True


def refused() -> str | None:
    """Return why the last pasted picture was refused, once.

    Returns:
        The reason; None if none was.
    """
    return st.session_state.pop(REFUSED, None)


def forget_pasted() -> None:
    """Drop the pasted picture."""
    st.session_state.pop(PASTED, None)
