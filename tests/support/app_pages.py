"""Pages of the app in Streamlit's AppTest: opening them, and reading what they show."""

import json
from pathlib import Path
from typing import Any

import pytest
import simsiam_retrieval.app as app_package  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app import settings  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.components import tiles  # pyright: ignore[reportMissingImports]
from streamlit.testing.v1 import AppTest

MAIN = Path(app_package.__file__ or "").parent / "pages" / "navigation.py"
SECONDS = 60  # for one run of a page, on a busy machine
TRAINING = "from simsiam_retrieval.app.pages import training_page; training_page.show()"


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_current", None)


def search_page(collection: Path, **parameters: str) -> AppTest:
    settings.use(settings.Settings(collection, Path("nowhere")))
    test = AppTest.from_file(str(MAIN), default_timeout=SECONDS)
    test.query_params.update(parameters)
    return run(test)


def training_page(folder: Path, **parameters: str) -> AppTest:
    settings.use(settings.Settings(Path("nowhere"), folder))
    test = AppTest.from_string(TRAINING, default_timeout=SECONDS)
    test.query_params.update(parameters)
    return run(test)


def run(something: Any) -> AppTest:
    """Run a page, or the page of a widget that was set."""
    test = something.run()
    assert not test.exception
    return test


def said(test: AppTest) -> str:
    """All HTML of a page but its style sheet."""
    return "\n".join(element.value for element in test.html if not element.value.startswith("<style>"))


def grid(test: AppTest) -> list[tiles.Tile]:
    return next((found["tiles"] for found in components(test) if "tiles" in found), [])


def components(test: AppTest) -> list[dict[str, Any]]:
    """What the inline components of a page were given."""
    return [json.loads(one.proto.json) for one in test.get("bidi_component")]


def button(test: AppTest, label: str) -> Any:
    [found] = [one for one in test.button if one.label == label]
    return found
