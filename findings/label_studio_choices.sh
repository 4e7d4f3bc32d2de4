#!/usr/bin/env bash
# Label Studio: one column of an export holds bare words and JSON objects; images without boxes vanish from COCO
#
# Versions:  label-studio-sdk 2.1.2; Python 3.11 on Linux x86-64, November 2026
# Guess:     The CSV export of a Choices tag holds a list as text where a task has several choices, and for one choice
#            the same kind of list with one entry.
# Behaviour: One choice is the bare word, several are an object with one key: {"choices":["cat","dog"]}. JSON_MIN does
#            the same. The COCO export of a project with boxes and choices leaves out every task that has choices
#            only, yet keeps a task without any annotation. A reader that takes cells as labels gets a class named
#            like the JSON text.
# Output seen:
#   CSV: {'1': 'cat', '2': '{"choices":["cat","dog"]}', '3': '', '4': 'dog'}
#   JSON_MIN: {1: 'cat', 2: {'choices': ['cat', 'dog']}, 3: None, 4: 'dog'}
#   COCO: tasks [3, 4] of [1, 2, 3, 4]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check label-studio-sdk==2.1.2 >pip.log 2>&1 ||
  { cat pip.log >&2; echo "not run: packages could not be installed" >&2; exit 2; }
venv/bin/python - <<'EOF'
import csv
import json
import logging
import pathlib

from label_studio_sdk.converter import Converter

logging.disable(logging.CRITICAL)
config = """<View><Image name="image" value="$image"/>
<Choices name="label" toName="image" choice="multiple"><Choice value="cat"/><Choice value="dog"/></Choices>
<RectangleLabels name="box" toName="image"><Label value="car"/></RectangleLabels></View>"""
place = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0, "rectanglelabels": ["car"]}
size = {"original_width": 200, "original_height": 100, "image_rotation": 0}
box = {"id": "b", "from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": place, **size}


def task(number, *results):
    annotation = {"id": number, "was_cancelled": False, "result": list(results), "completed_by": {"id": 1}}
    annotation |= {"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "lead_time": 1}
    return {"id": number, "data": {"image": f"/data/{number}.jpg"}, "annotations": [annotation]}


def choices(*values):
    return {"id": "c", "from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": values}}


tasks = [task(1, choices("cat")), task(2, choices("cat", "dog")), task(3), task(4, choices("dog"), box)]
source = pathlib.Path("tasks.json")
source.write_text(json.dumps(tasks))
converter = Converter(config, "project", download_resources=False)
for kind in ("CSV", "JSON_MIN", "COCO"):
    converter.convert(str(source), kind, kind, is_dir=False)
cells = {row["id"]: row["label"] for row in csv.DictReader(pathlib.Path("CSV/result.csv").open())}
minimal = {row["id"]: row.get("label") for row in json.loads(pathlib.Path("JSON_MIN/result.json").read_text())}
images = [image["file_name"] for image in json.loads(pathlib.Path("COCO/result.json").read_text())["images"]]
kept = sorted(int(pathlib.Path(name).stem[-1]) for name in images)
print(f"CSV: {cells}")
print(f"JSON_MIN: {minimal}")
print(f"COCO: tasks {kept} of [1, 2, 3, 4]")
assert cells == {"1": "cat", "2": '{"choices":["cat","dog"]}', "3": "", "4": "dog"}, cells
assert minimal == {1: "cat", 2: {"choices": ["cat", "dog"]}, 3: None, 4: "dog"}, minimal
assert kept == [3, 4], kept
EOF
