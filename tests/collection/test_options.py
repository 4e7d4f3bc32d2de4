"""One description of a filter, a search and an update: the command line, addresses and Python say the same with it."""

import dataclasses
from datetime import date
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest
import tyro

from simsiam_retrieval import Encoder
from simsiam_retrieval.collection.search.filters import Filter
from simsiam_retrieval.collection.search.measure_range import Range
from simsiam_retrieval.collection.search.search_options import SearchOptions
from simsiam_retrieval.collection.update.update_keywords import IndexKeywords, UpdateKeywords, from_keywords
from simsiam_retrieval.collection.update.update_options import Hooks, IndexOptions, UpdateOptions
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.distributed.cluster_options import Options


def kinds(described: type) -> dict[str, object]:
    """Name -> type of each field, without what is said to tyro."""
    hints = get_type_hints(described, localns={"Encoder": Encoder}, include_extras=True)
    while any(get_origin(hint) is Annotated for hint in hints.values()):
        hints = {name: get_args(hint)[0] if get_origin(hint) is Annotated else hint for name, hint in hints.items()}
    return {name: hint for name, hint in hints.items() if name not in ("include", "exclude")}


@pytest.mark.parametrize(
    ("keywords", "options", "hooks", "not_keywords"),
    [
        (UpdateKeywords, UpdateOptions, {"on_wait", "on_start", "on_progress"}, set()),
        # ``encoder`` is an argument of its own
        (IndexKeywords, IndexOptions, {"on_wait", "on_start", "on_progress", "on_device"}, {"encoder"}),
    ],
)
def test_keywords_are_the_fields_of_the_options(
    keywords: type, options: type, hooks: set[str], not_keywords: set[str]
) -> None:
    fields = {name: hint for name, hint in kinds(options).items() if name not in not_keywords}
    functions = {name: hint for name, hint in kinds(Hooks).items() if name in hooks}
    assert kinds(keywords) == fields | functions
    assert {"include", "exclude"} <= keywords.__annotations__.keys() | UpdateKeywords.__annotations__.keys()


def test_options_and_hooks_from_keywords() -> None:
    said: list[str] = []
    options, hooks = from_keywords(UpdateOptions, {"include": ["*.jpg"], "workers": 0, "on_wait": said.append})
    assert options == UpdateOptions(include=("*.jpg",), workers=0)
    assert hooks == dataclasses.replace(Hooks(), on_wait=said.append, on_start=hooks.on_start)
    with pytest.raises(TypeError, match="worker"):
        from_keywords(UpdateOptions, {"worker": 0})


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (UpdateOptions, {"workers": -1}, "--workers -1"),
        (UpdateOptions, {"pages": "some"}, "--pages some"),
        (IndexOptions, {"device": "tpu"}, "--device tpu"),
        (IndexOptions, {"recall": 1.5}, "--recall 1.5"),
        (Options, {"workers": -1}, "--workers -1"),
        (SearchOptions, {"k": 0}, "-k 0"),
        (SearchOptions, {"weights": (1.0,), "unlike": ("a.jpg",)}, "not both"),
        (Filter, {"min_side": 5, "max_side": 4}, "no image has sides from 5 to 4"),
    ],
)
def test_values_that_cannot_work_are_refused_where_they_are_described(kind: type, values: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        kind(**values)


def test_a_command_line_makes_the_filter_of_the_api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    line = (
        "--folder a --folder /b --name IMG_* --format png --label cat --label= --since 2020-01-02 --until 2021-03-04 "
        "--min-side 10 --max-side 20 --min-bytes 30 --max-bytes 40 --measure brightness=..0.2 -k 3 --unlike x.jpg"
    )
    found = tyro.cli(SearchOptions, args=line.split())
    where = Filter(
        folders=(tmp_path / "a", Path("/b")),
        names=("IMG_*",),
        formats=("png",),
        labels=("cat", ""),
        since=date(2020, 1, 2),
        until=date(2021, 3, 4),
        min_side=10,
        max_side=20,
        min_bytes=30,
        max_bytes=40,
        measures=(Range("brightness", None, 0.2),),
    )
    assert found == SearchOptions(3, unlike=("x.jpg",), where=where)
    assert found.where.given_folders == (Path("a"), Path("/b"))
    # every condition but ids, which only Python has, was said
    unsaid = [field.name for field in dataclasses.fields(Filter) if getattr(where, field.name) == field.default]
    assert unsaid == ["ids"]
    with pytest.raises(SystemExit):
        tyro.cli(SearchOptions, args=["--ids", "1"])
