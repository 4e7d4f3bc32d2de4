"""Tasks for Label Studio, with a probe's predictions as pre-annotations.

Format: Label Studio's "Basic Label Studio JSON format" and "Import pre-annotated data" (version 1.23).
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from ...core.atomic_files import replacing
from ...core.errors import UserError
from ...images.page_paths import page_of
from ..labelling.exported_labels import CHOICE
from .outputs import labelling_config_of
from .select_images import Selected


def write_tasks(file: Path, selected: Sequence[Selected], classes: Sequence[str], root: Path) -> Path:
    """Write tasks for import, and the labelling configuration beside them.

    The pictures are addressed as Label Studio serves local files: relative to its document root.

    Args:
        file: The JSON file.
        selected: The images.
        classes: Classes to choose from.
        root: Label Studio's document root; all images lie below it.

    Returns:
        The file with the labelling configuration: the same name with ``.xml``.

    Raises:
        UserError: An image does not lie below ``root``, or a file cannot be written.
    """
    config = labelling_config_of(file)
    tasks = [_task(one, root) for one in selected]
    try:
        for path, text in ((file, json.dumps(tasks, indent=2)), (config, labelling_config(classes))):
            with replacing(path) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror})") from None
    return config


def labelling_config(classes: Sequence[str]) -> str:
    """Make the configuration of a project in which a person chooses one class an image.

    Args:
        classes: Names; without any, two placeholders.

    Returns:
        XML.
    """
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value="$image")
    choices = ElementTree.SubElement(view, "Choices", name=CHOICE, toName="image", choice="single", showInline="true")
    for name in classes or ("class 1", "class 2"):
        ElementTree.SubElement(choices, "Choice", value=name)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode")


def _task(one: Selected, root: Path) -> dict[str, Any]:
    file = page_of(one.item.path)[0]
    try:
        relative = file.relative_to(root)
    except ValueError:
        raise UserError(f"{file}: not below {root}, Label Studio's document root; name one that is above all") from None
    data = {
        # percent signs and other letters that an address cannot hold are escaped; names that are not UTF-8 by bytes
        "image": f"/data/local-files/?d={quote(os.fsencode(relative.as_posix()))}",
        "path": os.fspath(one.item.path).encode(errors="replace").decode(),
        "item": one.item.id,
        "rank": one.rank,
    }
    if one.choice.label is None:
        return {"data": data}
    result = {"from_name": CHOICE, "to_name": "image", "type": "choices", "value": {"choices": [one.choice.label]}}
    return {
        "data": data,
        "predictions": [
            {"model_version": "probe", "score": round(one.choice.probability or 0.0, 4), "result": [result]}
        ],
    }
