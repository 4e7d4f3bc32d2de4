"""FAISS is imported at one place, where its limits are set: results must not depend on what ran before."""

import ast
from pathlib import Path

import simsiam_retrieval

PACKAGE = Path(simsiam_retrieval.__file__).parent
MERGES_ONLY = "collection/index/merge_lists.py"  # a process of its own, which copies lists and compares nothing


def _imports(tree: ast.AST) -> bool:
    """Whether FAISS is imported outside ``if TYPE_CHECKING``."""
    if isinstance(tree, ast.Import):
        return any(_is_faiss(name.name) for name in tree.names)
    if isinstance(tree, ast.ImportFrom):
        return not tree.level and _is_faiss(tree.module or "")
    if isinstance(tree, ast.If) and isinstance(tree.test, ast.Name) and tree.test.id == "TYPE_CHECKING":
        return any(_imports(node) for node in tree.orelse)
    return any(_imports(node) for node in ast.iter_child_nodes(tree))


def _is_faiss(module: str) -> bool:
    return module.partition(".")[0] == "faiss"


def test_nobody_imports_faiss_directly() -> None:
    found = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        if _imports(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert found == {MERGES_ONLY}
