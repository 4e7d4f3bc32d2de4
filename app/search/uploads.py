"""Photos that a visitor gives as queries: uploaded, taken with a camera, or pasted. They are never stored."""

import base64
import binascii
from dataclasses import dataclass

import streamlit as st

from ..settings import MAX_UPLOAD

UPLOADS, CAMERA, PASTED = "photos", "camera", "pasted"  # keys in the session


@dataclass(frozen=True)
class Photo:
    """A photo as it came."""

    name: str
    content: bytes


def photos() -> list[Photo]:
    """All that this visitor gave."""
    found = [Photo(file.name, file.getvalue()) for file in st.session_state.get(UPLOADS) or []]
    taken = st.session_state.get(CAMERA)
    if taken is not None:
        found.append(Photo("from the camera", taken.getvalue()))
    return found + st.session_state.get(PASTED, [])


def paste(value: object) -> bool:
    """Keep a pasted picture, base64 from the page; False for what is none or too large."""
    if not isinstance(value, str) or len(value) > MAX_UPLOAD * 4_000_000 // 3:
        return False
    try:
        content = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    st.session_state[PASTED] = [Photo("pasted", content)]
    return True


def forget_pasted() -> None:
    """Drop the pasted picture."""
    st.session_state.pop(PASTED, None)
