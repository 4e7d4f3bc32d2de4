"""What README, docs and the files for contributors say about commands, files and versions is there."""

import re
from pathlib import Path

import pytest

import simsiam_retrieval
from simsiam_retrieval.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# pages that the site's strict build does not see; of docs/ it checks all links itself
OUTSIDE = (
    "README.md",
    "CONTRIBUTING.md",
    "findings/README.md",
    "simsiam_retrieval/encoder/shipped/CARD.md",
)
ABOUT_CODE = (ROOT / "CONTRIBUTING.md", DOCS / "architecture.md", *sorted((DOCS / "decisions").glob("*.md")))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_row_in_the_readme_and_a_page(command: str) -> None:
    rows = (ROOT / "README.md").read_text(encoding="utf-8")
    page = re.search(rf"^\| \[`{command}`\]\((docs/[\w-]+\.md)\) \|", rows, re.MULTILINE)
    assert page, "no row"
    text = (ROOT / page[1]).read_text(encoding="utf-8")
    assert f"simsiam_retrieval.{command}" in text or f"`{command} " in text


@pytest.mark.parametrize("name", OUTSIDE)
def test_links_lead_to_files(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"\]\((?!https?://)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", ABOUT_CODE, ids=lambda page: page.stem)
def test_paths_of_code_that_pages_name_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:[\w.-]+/)+[\w-]+\.(?:py|js))`", text)
    bases = (ROOT, ROOT / "simsiam_retrieval")
    named = [path for path in named if "NAME" not in path]  # of recipes
    assert [path for path in named if not any((base / path).exists() for base in bases)] == []


def test_the_start_page_and_the_menu_lead_to_every_page() -> None:
    start = (DOCS / "index.md").read_text(encoding="utf-8")
    pages = {page.name for page in DOCS.glob("*.md")} - {"index.md"}
    assert {page for page in pages if f"]({page})" not in start} == set()
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert {page for page in pages if f": {page}\n" not in menu} == set()


def test_the_list_of_decisions_is_whole() -> None:
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "decisions" / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(page.name for page in (DOCS / "decisions").glob("*.md") if page.name != "README.md")


def test_citation_and_changelog_know_the_version() -> None:
    version = simsiam_retrieval.__version__
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## [{version}] - " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_commands_have_the_options_that_pages_show(run) -> None:
    names = "|".join(COMMANDS)
    line = re.compile(rf"(?:python -m simsiam_retrieval\.|simsiam-retrieval )({names})\b((?:\\\n|[^`\n])*)")
    shown: dict[str, set[str]] = {command: set() for command in COMMANDS}
    for page in (ROOT / "README.md", *DOCS.rglob("*.md")):
        for command, rest in line.findall(page.read_text(encoding="utf-8")):
            shown[command] |= set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", rest))
    for command, options in shown.items():
        known = set(re.findall(r"--[a-z][a-z0-9-]*", run(command, "--help").stdout))
        assert options - known - {"--help"} == set(), command
    assert {"--minutes", "--recipe"} <= shown["pretrain"] and "--watch" in shown["index"]
