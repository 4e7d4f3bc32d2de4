"""Public docstrings have the sections of Google's style: Args for arguments, Returns or Yields for a result."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import simsiam_retrieval

PACKAGE = Path(simsiam_retrieval.__file__).parent
COMPLETE = (  # folders that lack nothing
    *("collection", "encoder", "images", "metrics", "core", "training", "conversion", "publishing", "detection"),
    *("distributed", "evaluation", "reproduction", "export"),
)
PRINTED = ("load_rgb.py",)  # its text is part of every model card
PROTOCOL = ("store.py", "store_settings.py")  # what a store can do, for all stores
WITHOUT_RESULT = ("None", "NoReturn", "Never", "Iterator[None]")


def public(body: list[ast.stmt], within: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    """Public classes, functions and methods, by their names."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield within + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{within}{node.name}.")


def lacking(node: ast.FunctionDef) -> str:
    """What the docstring of a function lacks; "" for nothing."""
    text = ast.get_docstring(node)
    if text is None:
        return "a docstring"
    if text.startswith("See ``"):  # it overrides what is described there
        return ""
    how = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    if how & {"property", "cached_property", "setter"}:
        return ""
    named = node.args
    arguments = [*named.posonlyargs, *named.args, *named.kwonlyargs, *filter(None, (named.vararg, named.kwarg))]
    if any(argument.arg not in ("self", "cls") for argument in arguments):
        if "Args:\n" not in text:
            return "Args"
    elif text.startswith("Return "):  # the one line says it all
        return ""
    result = "None" if node.returns is None else ast.unparse(node.returns)
    return "" if result in WITHOUT_RESULT or "Returns:\n" in text or "Yields:\n" in text else "Returns or Yields"


def described_by_store() -> set[str]:
    """Methods that the protocol of the stores describes for all that have them."""
    files = [PACKAGE / "collection/storage" / name for name in PROTOCOL]
    names = [name for file in files for name, _ in public(ast.parse(file.read_text(encoding="utf-8")).body)]
    return {name.rpartition(".")[2] for name in names if "." in name}


@pytest.mark.parametrize("folder", COMPLETE)
def test_public_docstrings_have_sections(folder: str) -> None:
    stores = described_by_store()
    found = []
    root = PACKAGE if (PACKAGE / folder).is_dir() else PACKAGE.parent  # export and app lie beside it in a checkout
    files = [file for file in sorted((root / folder).rglob("*.py")) if file.name not in PRINTED]
    assert files
    for file in files:
        for name, node in public(ast.parse(file.read_text(encoding="utf-8")).body):
            method = name.rpartition(".")[2]
            of_store = "." in name and file.parent.name == "storage" and file.name not in PROTOCOL and method in stores
            if isinstance(node, ast.ClassDef):
                what = "" if ast.get_docstring(node) else "a docstring"
            else:
                what = "" if of_store else lacking(node)
            if what:
                found.append(f"{file.relative_to(root)}:{node.lineno} {name} lacks {what}")
    assert not found, "\n".join(found)
