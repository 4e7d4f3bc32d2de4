"""Which files may be DICOM, by name and first bytes. The listing of folders imports this, so it imports little."""

from pathlib import Path

DICOM_SUFFIXES = frozenset((".dcm", ".dicom"))
HEAD = 132  # bytes that tell
_DIRECTORY = "DICOMDIR"  # the list of a medium's files, without a picture
# with which files without a preamble begin: their groups, elements and types
_FIRST_GROUPS = (b"\x02\0", b"\x08\0")
_FIRST_ELEMENTS = (0x00, 0x01, 0x02, 0x05, 0x06, 0x08, 0x10, 0x12, 0x13, 0x14, 0x16, 0x18, 0x20, 0x21, 0x22, 0x23)
_FIRST_TYPES = (b"UL", b"OB", b"CS", b"UI", b"DA", b"TM", b"DT", b"LO", b"SH")


def is_dicom(head: bytes) -> bool:
    """Return whether a file is DICOM, by its first bytes (PS3.10, section 7.1).

    Old programs leave out the preamble. Then the file begins with an element of group 2 or 8: its number, and its
    type in two letters or, without types, its length.

    Args:
        head: The first ``HEAD`` bytes.

    Returns:
        True for DICOM.
    """
    if head[128:132] == b"DICM":
        return True
    if len(head) < HEAD or head[:2] not in _FIRST_GROUPS or head[2] not in _FIRST_ELEMENTS or head[3]:
        return False
    return head[4:6] in _FIRST_TYPES or (head[5:8] == b"\0\0\0" and 2 <= head[4] <= 64 and head[4] % 2 == 0)


def may_be_dicom(path: Path) -> bool:
    """Return whether a file may be DICOM by its name.

    Scanners and archives write files without a suffix (``IM0001``), or named by a number with dots
    (``1.2.840.10008.78``).

    Args:
        path: The file.

    Returns:
        True if it may be.
    """
    suffix = path.suffix.lower()
    return suffix in DICOM_SUFFIXES or (path.name != _DIRECTORY and (not suffix or suffix[1:].isdigit()))


def is_unnamed_dicom(path: Path) -> bool:
    """Return whether a file without a DICOM suffix is DICOM; reads its first bytes if the name allows it.

    Args:
        path: The file.

    Returns:
        True if it is; False also for what cannot be read.
    """
    if not may_be_dicom(path):
        return False
    try:
        if not path.is_file():  # a FIFO would block
            return False
        with path.open("rb") as file:
            return is_dicom(file.read(HEAD))
    except OSError:
        return False
