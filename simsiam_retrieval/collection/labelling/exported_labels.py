"""Reading labels that a person gave in Label Studio or CVAT, or wrote into a CSV file."""

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from ...core.atomic_files import parse_json
from ...core.errors import UserError

CHOICE = "choice"  # name of the control in our labelling configuration
COLUMNS = ("label", CHOICE, "choices", "class", "category")  # that hold labels in tables, the first one found
NAMES = ("path", "image", "file", "filename", "file_name", "name")  # that hold names of images
LARGEST = 1 << 30  # bytes of a file that is read
SUFFIXES = "CSV, TSV, JSON (Label Studio), XML or ZIP (CVAT)"


class Exported(NamedTuple):
    """A label of an exported file.

    Attributes:
        name: Name, path or address of the image.
        labels: Its labels; several if a person chose several.
    """

    name: str
    labels: tuple[str, ...]


def exported_labels(file: Path) -> list[Exported]:
    """Read the labels of a file: CSV or TSV, Label Studio's JSON, JSON_MIN and CSV, CVAT's XML and ZIP for images.

    Of several annotations of an image in Label Studio the latest counts. Images without a label are left out.

    Args:
        file: The file.

    Returns:
        Images with their labels, in the order of the file.

    Raises:
        UserError: The file cannot be read, or is none of these.
    """
    try:
        if file.stat().st_size > LARGEST:
            raise UserError(f"{file}: larger than 1 GiB; is it a file of labels?")
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); labels come from {SUFFIXES}") from None
    if content[:2] == b"PK":
        content = _unpacked(file, content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{file}: not in UTF-8; labels come from {SUFFIXES}") from None
    begin = text.lstrip()[:1]
    if begin == "<":
        found = _cvat(file, content)
    elif begin in ("[", "{"):
        found = _label_studio(file, text)
    else:
        found = _table(file, text)
    return [Exported(name, labels) for name, labels in found if name and labels]


def _unpacked(file: Path, content: bytes) -> bytes:
    """The annotations in CVAT's ZIP file."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entry = archive.getinfo("annotations.xml")
            if entry.file_size > LARGEST:
                raise UserError(f"{file}: its annotations.xml is larger than 1 GiB")
            return archive.read(entry)
    except KeyError:
        raise UserError(f"{file}: no annotations.xml in it; export 'CVAT for images 1.1' from CVAT") from None
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError):
        raise UserError(f"{file}: a damaged ZIP file; export it again") from None


# -- CVAT


def _cvat(file: Path, content: bytes) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Tags of 'CVAT for images 1.1'."""
    try:
        root = ElementTree.fromstring(content)  # safe: external entities are not read, and expat limits internal ones
    except ElementTree.ParseError:
        raise UserError(f"{file}: damaged, not XML") from None
    if root.tag != "annotations":
        raise UserError(f"{file}: not CVAT's XML; export 'CVAT for images 1.1'")
    if root.find("track") is not None:
        raise UserError(f"{file}: 'CVAT for video'; export 'CVAT for images 1.1'")
    for image in root.iter("image"):
        yield image.get("name", ""), _distinct(tag.get("label", "") for tag in image.iter("tag"))


# -- Label Studio


def _label_studio(file: Path, text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    try:
        tasks = parse_json(text)
    except ValueError:
        raise UserError(f"{file}: damaged, not JSON") from None
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise UserError(f"{file}: not an export of Label Studio: a list of tasks is expected")
    full = any("annotations" in task or "data" in task for task in tasks)
    column = None if full else _column(file, {name for task in tasks for name in task}, COLUMNS)
    for task in tasks:
        if full:
            data = task.get("data")
            name = _name(data) if isinstance(data, dict) else ""
            yield name, _chosen(task.get("annotations"))
        else:
            yield _name(task), _choices(task.get(column or ""))


def _name(row: Mapping[str, Any]) -> str:
    return next((str(row[name]) for name in NAMES if isinstance(row.get(name), str) and row[name]), "")


def _chosen(annotations: object) -> tuple[str, ...]:
    """Labels of the latest annotation that was not skipped."""
    rows = [one for one in annotations if isinstance(one, dict)] if isinstance(annotations, list) else []
    rows = [one for one in rows if not one.get("was_cancelled")]
    if not rows:
        return ()
    latest = max(rows, key=lambda one: str(one.get("updated_at") or one.get("created_at") or ""))
    results = latest.get("result")
    found: list[str] = []
    for result in results if isinstance(results, list) else []:
        value = result.get("value") if isinstance(result, dict) else None
        if isinstance(value, dict) and result.get("type") == "choices":
            found += _choices(value)
    return _distinct(found)


def _choices(value: object) -> tuple[str, ...]:
    """A bare word for one choice, {"choices": [...]} for several; in CSV the latter as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = parse_json(value)
        except ValueError:
            return _distinct([str(value)])
    if isinstance(value, dict):
        value = value.get("choices")
    if isinstance(value, list):
        return _distinct(one for one in value if isinstance(one, str))
    return _distinct([value]) if isinstance(value, str) else ()


# -- tables


def _table(file: Path, text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    first = text.partition("\n")[0]
    try:
        reader = csv.DictReader(
            io.StringIO(text, newline=""), delimiter="\t" if "\t" in first and "," not in first else ",", strict=True
        )
        heads = {head for head in reader.fieldnames or () if head}
        column = _column(file, heads, COLUMNS)
        _column(file, heads, NAMES)
        for row in reader:
            yield _name(row), _choices(row.get(column))
    except csv.Error as error:
        raise UserError(f"{file}: not a CSV file ({error})") from None


def _column(file: Path, heads: Iterable[str], wanted: tuple[str, ...]) -> str:
    held = set(heads)
    found = next((name for name in wanted if name in held), None)
    if found is None:
        what = "path and label" if wanted is NAMES else "label (or choice)"
        raise UserError(f"{file}: no column {what}; it has {', '.join(sorted(held)[:8]) or 'none'}")
    return found


def _distinct(labels: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label.strip() for label in labels if label.strip()))
