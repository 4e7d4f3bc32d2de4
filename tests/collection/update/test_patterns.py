"""Globs for files below a root, and which root's globs count."""

from pathlib import Path

import pytest

from simsiam_retrieval import UserError
from simsiam_retrieval.collection.update.patterns import Glob, Patterns, Selection


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.png", ["a.png", "x/y/a.PNG", ".png"], ["a.jpg", "a.png.jpg"]),
        ("private", ["private/a.jpg", "x/private/y/a.jpg", "Private/a.jpg"], ["private.jpg", "x/privates/a.jpg"]),
        ("private/", ["private/a.jpg", "x/private/a.jpg"], ["private.jpg"]),
        ("raw/*.jpg", ["raw/a.jpg"], ["raw/x/a.jpg", "x/raw/a.jpg", "raw/a.png"]),
        ("raw/x", ["raw/x/a.jpg", "raw/x"], ["raw/xy/a.jpg", "raw/a.jpg", "y/raw/x/a.jpg"]),
        ("./raw/x", ["raw/x/a.jpg"], ["x/raw/x/a.jpg"]),
        ("**/raw/*.jpg", ["raw/a.jpg", "x/y/raw/a.jpg"], ["raw/x/a.jpg"]),
        ("raw/**", ["raw/a.jpg", "raw/x/y/a.jpg"], ["x/raw/a.jpg"]),
        ("raw/**/a.jpg", ["raw/a.jpg", "raw/x/y/a.jpg"], ["raw/b.jpg"]),
        ("**", ["a.jpg", "x/a.jpg"], []),
        ("*", ["a.jpg", "x/a.jpg"], []),
        ("?.jpg", ["a.jpg", "é.jpg"], ["ab.jpg"]),
        ("[ab].jpg", ["a.jpg", "x/b.jpg"], ["c.jpg"]),
        ("[!ab].jpg", ["c.jpg"], ["a.jpg"]),
        ("x*y.jpg", ["x\ny.jpg", "x\udcffy.jpg"], ["x/y.jpg"]),
        ("a.b", ["a.b"], ["aXb"]),
    ],
)
def test_globs(pattern, yes, no):
    glob = Glob(pattern, "--exclude")
    assert [name for name in yes + no if glob.matches(Path(name).parts)] == yes


@pytest.mark.parametrize("pattern", ["", "/", "/home/me/*.png", "../x", "a//b", "a/../b"])
def test_patterns_that_are_none(pattern):
    with pytest.raises(UserError, match="relative"):
        Selection({Path("/r"): Patterns(include=(pattern,))})


def taken(selection: Selection, *names: str) -> list[str]:
    return [name for name in names if selection.takes(Path(name))]


def test_include_and_exclude():
    selection = Selection({Path("/r"): Patterns(("*.jpg", "*.png"), ("private",))})
    names = ["/r/a.jpg", "/r/x/b.png", "/r/c.gif", "/r/private/a.jpg", "/private/a.jpg", "/other/c.gif"]
    assert taken(selection, *names) == ["/r/a.jpg", "/r/x/b.png", "/private/a.jpg", "/other/c.gif"]


def test_the_name_of_the_root_itself_does_not_count():
    assert Selection({Path("/private"): Patterns(exclude=("private",))}).takes(Path("/private/a.jpg"))


def test_the_deepest_root_with_patterns_judges():
    selection = Selection({Path("/r"): Patterns(exclude=("x",)), Path("/r/x/y"): Patterns(include=("*",))})
    assert taken(selection, "/r/a.jpg", "/r/x/a.jpg", "/r/x/y/a.jpg") == ["/r/a.jpg", "/r/x/y/a.jpg"]


def test_what_is_asked_replaces_what_was_recorded():
    old = Selection({Path("/r"): Patterns(exclude=("x",)), Path("/s"): Patterns(exclude=("x",))})
    new = old.with_asked([Path("/r")], Patterns(include=("*.png",)))
    assert taken(new, "/r/x/a.png", "/r/a.jpg", "/s/x/a.png", "/s/a.jpg") == ["/r/x/a.png", "/s/a.jpg"]
    assert old.with_asked([Path("/r")], Patterns()) is old
    assert new.without([Path("/r")]).takes(Path("/r/a.jpg"))


def test_a_selection_survives_as_text():
    selection = Selection({Path("/r \udcff"): Patterns(("*.é",), ("a", "b"))})
    assert Selection.from_json(selection.to_json()).by_root == selection.by_root
