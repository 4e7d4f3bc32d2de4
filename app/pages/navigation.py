"""The script that Streamlit runs for every visitor: page settings and navigation."""

import streamlit as st
from simsiam_retrieval.app import (  # pyright: ignore[reportMissingImports]
    theme as look,
)

# absolute: Streamlit executes this file outside of its package
from simsiam_retrieval.app.pages import (  # pyright: ignore[reportMissingImports]
    check_page,
    duplicates_page,
    map_page,
    probe_page,
    search_page,
    teach_page,
    training_page,
)

st.set_page_config(page_title="simsiam-retrieval", page_icon=look.ICON, layout="wide")
st.html(f"<style>{look.CSS}</style>")
PAGES = [
    st.Page(search_page.show, title="Search", url_path="search", default=True),
    st.Page(duplicates_page.show, title="Duplicates", url_path="duplicates"),
    st.Page(check_page.show, title="Check", url_path="check"),
    st.Page(map_page.show, title="Map", url_path="map"),
    st.Page(teach_page.show, title="Teach", url_path="teach"),
    st.Page(probe_page.show, title="Linear probe", url_path="probe"),
    st.Page(training_page.show, title="Training", url_path="training"),
]
page = st.navigation(PAGES, position="top")
with st.container(
    horizontal=True, key="narrow navigation"
):  # on a phone, where Streamlit hides its own behind an arrow
    for one in PAGES:
        st.page_link(one, label="Probe" if one.url_path == "probe" else None)
page.run()
