"""Pages of a list that the session keeps, not the address."""

import streamlit as st


def turn(name: str, pages: int, page: int) -> None:
    """Draw the control that turns pages.

    Args:
        name: Key in the session under which the page is kept.
        pages: Number of pages.
        page: The current page.
    """
    key = f"{name} {page} of {pages}"  # a new key for each page, so that others may turn it, too

    def turned() -> None:
        st.session_state[name] = st.session_state[key]

    st.pagination(pages, default=page, key=key, on_change=turned, width="stretch")
