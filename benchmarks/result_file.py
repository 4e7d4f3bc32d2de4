"""Writing what a benchmark measured."""

import json
from pathlib import Path
from typing import Any


def write_result(result: Any, out: Path | None) -> None:
    """Write a result as JSON.

    Args:
        result: Lists, dicts, numbers and texts.
        out: The file, whose folder is made; None for none.
    """
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
