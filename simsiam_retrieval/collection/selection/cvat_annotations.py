"""Annotations and labels for CVAT, with a probe's predictions as tags.

Format: "CVAT for images 1.1" (CVAT's "XML annotation format") and the labels of CVAT's raw label editor.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from ...core.atomic_files import replacing
from ...core.errors import UserError
from ...core.text import printable
from ..labelling.match_names import numbered_name
from .outputs import labels_file_of
from .select_images import Selected

COLOURS = ("#0d9488", "#d97706", "#7c3aed", "#dc2626", "#2563eb", "#65a30d", "#db2777", "#0891b2", "#ca8a04", "#4b5563")


def write_annotations(file: Path, selected: Sequence[Selected], classes: Sequence[str], root: Path | None) -> Path:
    """Write annotations for upload into a task, and the labels for making the task beside them.

    Args:
        file: The XML file.
        selected: The images.
        classes: Classes to choose from.
        root: Folder that the names in CVAT are relative to. None: the names that ``write_folder`` gives.

    Returns:
        The file with the labels: the same name with ``.labels.json``.

    Raises:
        UserError: An image does not lie below ``root``, or a file cannot be written.
    """
    labels = labels_file_of(file)
    names = [_name(one, root) for one in selected]
    text = _annotations(selected, names, classes)
    raw = [
        {"name": printable(name), "color": COLOURS[place % len(COLOURS)], "type": "tag", "attributes": []}
        for place, name in enumerate(classes)
    ]
    try:
        for path, content in ((file, text), (labels, json.dumps(raw, indent=2))):
            with replacing(path) as temporary:
                temporary.write_text(content + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror})") from None
    return labels


def _name(one: Selected, root: Path | None) -> str:
    if root is None:
        return numbered_name(one.item)
    try:
        return printable(one.item.path.relative_to(root).as_posix())
    except ValueError:
        raise UserError(f"{one.item.path}: not below {root}; name a folder that is above all") from None


def _annotations(selected: Sequence[Selected], names: Sequence[str], classes: Sequence[str]) -> str:
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    ElementTree.SubElement(task, "size").text = str(len(selected))
    ElementTree.SubElement(task, "mode").text = "annotation"
    held = ElementTree.SubElement(task, "labels")
    for name in classes:
        label = ElementTree.SubElement(held, "label")
        ElementTree.SubElement(label, "name").text = printable(name)
        ElementTree.SubElement(label, "type").text = "tag"
        ElementTree.SubElement(label, "attributes")
    # CVAT numbers frames by the order of names
    for number, (name, one) in enumerate(sorted(zip(names, selected, strict=True), key=lambda pair: pair[0])):
        image = ElementTree.SubElement(
            root, "image", id=str(number), name=name, width=str(one.item.width), height=str(one.item.height)
        )
        if one.choice.label is not None:
            ElementTree.SubElement(image, "tag", label=printable(one.choice.label), source="auto")
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode")
