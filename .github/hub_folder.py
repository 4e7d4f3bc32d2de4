"""Write the shipped encoder as a model repository that ``load_encoder("hf://OWNER/NAME")`` loads: hub_folder.py OUT.

Run by the release workflow. The card becomes the README; its links lead to the tagged files on GitHub.
"""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

SHIPPED = Path(__file__).parents[1] / "simsiam_retrieval" / "encoder" / "shipped"
HEAD = """---
library_name: simsiam-retrieval
pipeline_tag: image-feature-extraction
license: other
tags: [onnx, self-supervised, image-retrieval]
---

"""


def main(out: Path) -> None:
    name = "onnx/model.onnx"
    (out / "onnx").mkdir(parents=True)
    shutil.copyfile(SHIPPED / "encoder.onnx", out / name)
    digest = hashlib.sha256((out / name).read_bytes()).hexdigest()
    facts = json.loads((SHIPPED / "encoder.json").read_text(encoding="utf-8"))
    section = {"format": "simsiam-retrieval-hub/1", "files": {name: digest}, "default": name, **facts}
    (out / "config.json").write_text(json.dumps({"simsiam_retrieval": section}, indent=2) + "\n", encoding="utf-8")
    tree = f"https://github.com/{os.environ['GITHUB_REPOSITORY']}/blob/{os.environ['GITHUB_REF_NAME']}/"
    card = (SHIPPED / "CARD.md").read_text(encoding="utf-8").replace("](../../../", f"]({tree}")
    (out / "README.md").write_text(HEAD + card, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
