"""Which TIFFs Pillow reads correctly, by their tags. It reads some others as noise, or keeps 8 of 16 bits."""

from collections.abc import Mapping
from typing import Any

MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, SEPARATED, CIELAB, ICCLAB = 0, 1, 2, 3, 5, 8, 9
UNSIGNED, SIGNED, FLOAT = 1, 2, 3  # values of the tag SampleFormat
# compressions that Pillow reads: none, CCITT, LZW, JPEG, Deflate, PackBits, Zstandard
PILLOW_READS = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 50000)
_NONE, _JPEG, _SEPARATE, _UNASSOCIATED = 1, 7, 2, 2
# one deep sample: SampleFormat and bits that Pillow reads; unsigned 32 bits wrap, and signed 8 bits count as unsigned
_DEEP_GREYS = ((UNSIGNED, 16), (SIGNED, 16), (SIGNED, 32), (FLOAT, 32))


def is_plain(
    *, bits: int, samples: int, kind: int, compression: int, planar: int, photometric: int, extras: tuple[int, ...]
) -> bool:
    """Return whether Pillow reads a page correctly: 1 to 8 unsigned bits, four samples or fewer.

    Args:
        bits: BitsPerSample.
        samples: SamplesPerPixel.
        kind: SampleFormat.
        compression: Compression.
        planar: PlanarConfiguration.
        photometric: PhotometricInterpretation.
        extras: ExtraSamples.

    Returns:
        True if it does.
    """
    if bits > 8 or samples > 4 or kind != UNSIGNED:
        return False
    if compression not in PILLOW_READS or (compression == _JPEG and planar == _SEPARATE):
        return False
    if (photometric == MIN_IS_BLACK and samples >= 3) or (photometric == MIN_IS_WHITE and samples > 1):
        return False
    return not (samples == 2 and extras[:1] != (_UNASSOCIATED,))  # of grey with alpha, only unassociated alpha


def is_read_by_pillow(tags: Mapping[int, Any], *, big_endian: bool) -> bool:
    """Return whether Pillow alone reads a TIFF's first page as it is.

    Args:
        tags: The page's tags, as Pillow gives them.
        big_endian: Whether the file has the high byte of a number first.

    Returns:
        False also where the page is a reduced copy of another one.
    """

    def number(tag: int, missing: int) -> int:
        value = tags.get(tag, missing)
        return int(value[0] if isinstance(value, tuple) else value)

    bits, samples, kind, compression = number(258, 1), number(277, 1), number(339, 1), number(259, 1)
    extras = tags.get(338, ())
    if number(254, 0) & 1:
        return False
    if samples == 1 and bits > 8:
        swapped = big_endian and compression != _NONE and kind != UNSIGNED  # findings/tiff_signed_big_endian.sh
        return (kind, bits) in _DEEP_GREYS and compression in PILLOW_READS and not swapped
    return is_plain(
        bits=bits,
        samples=samples,
        kind=kind,
        compression=compression,
        planar=number(284, 1),
        photometric=number(262, 1),
        extras=tuple(extras) if isinstance(extras, tuple) else (int(extras),),
    )
