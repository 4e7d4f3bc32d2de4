"""Probe reports as a Markdown table: ``python benchmarks/table.py results/default-encoder/*.json``."""

import json
import sys
from pathlib import Path


def row(file: Path) -> str:
    report = json.loads(file.read_text(encoding="utf-8"))
    cells = [file.stem, report["encoder"], str(report["train_images"]), str(report["test_images"])]
    for result in report["results"].values():
        cells.append(f"{100 * result['top1']:.1f}")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    print("| probe | encoder | training images | test images | kNN top-1, % | linear top-1, % |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in sys.argv[1:]:
        print(row(Path(name)))


if __name__ == "__main__":
    main()
