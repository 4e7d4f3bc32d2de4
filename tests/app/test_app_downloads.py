"""Files that a page offers: one address as long as the tab is open, with the newest content."""

import gc

import pytest
from simsiam_retrieval.app import offered_files  # pyright: ignore[reportMissingImports]
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from simsiam_retrieval.core.errors import UserError

from ..support.app_pages import run, said

PAGE = """
import streamlit as st
from simsiam_retrieval.app.components.downloads import download
count = st.number_input("Count", value=1)
download("A <b>", lambda: b"x" * count, "a.csv", tip='say "x"')
download("None", lambda: b"", "b.csv", disabled=True)
"""


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=[offered_files.route("/album")]))


def test_the_address_stays_and_gives_the_newest_content(client: TestClient) -> None:
    session: dict = {}
    address = offered_files.offer(session, "list", lambda: b"old", "list.csv")
    assert client.get(f"/album/{address}").content == b"old"
    assert offered_files.offer(session, "list", lambda: b"new", "list.csv") == address
    answer = client.get(f"/album/{address}")
    assert answer.content == b"new" and answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="list.csv"'
    assert offered_files.offer(session, "other", lambda: b"other", "list.csv") != address
    assert offered_files.offer({}, "list", lambda: b"of another visitor", "list.csv") != address


def test_a_closed_tab_takes_its_files_along(client: TestClient) -> None:
    session: dict = {}
    address = offered_files.offer(session, "list", lambda: b"content", "list.csv")
    del session
    gc.collect()
    answer = client.get(f"/album/{address}")
    assert answer.status_code == 404 and "reload the page" in answer.text


@pytest.mark.parametrize("error", [UserError("the collection is gone"), FileNotFoundError("the collection is gone")])
def test_a_file_that_cannot_be_made_is_said(client: TestClient, error: Exception) -> None:
    def fail() -> bytes:
        raise error

    session: dict = {}
    answer = client.get(f"/album/{offered_files.offer(session, 'list', fail, 'list.csv')}")
    assert answer.status_code == 409 and answer.text == "the collection is gone"


def test_a_button_keeps_its_address_from_run_to_run(client: TestClient) -> None:
    test = run(AppTest.from_string(PAGE, default_timeout=60))
    before = said(test)
    assert ">A &lt;b&gt;</a>" in before and 'title="say &quot;x&quot;"' in before
    assert '<span class="sr-download" role="link" aria-disabled="true">None</span>' in before
    address = before.partition('href=".')[2].partition('"')[0]
    assert client.get(f"/album{address}").content == b"x"
    run(test.number_input[0].set_value(3))
    assert said(test) == before
    assert client.get(f"/album{address}").content == b"xxx"
