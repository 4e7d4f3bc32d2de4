#!/usr/bin/env bash
# Milvus Lite: pages of equal scores repeat some rows and never show the others
#
# Versions:  milvus-lite 3.2.2, pymilvus 3.0.2, numpy 2.4.6; Python 3.11 on Linux x86-64, November 2026
# Guess:     Equal scores come in the order of the primary key, so pages (offset 0, 5, 10, ...) over thirty copies
#            show each of them once.
# Behaviour: Which copies a search keeps depends on limit + offset: six pages of five show seven of the thirty copies,
#            the last five again and again. One search with limit 30 gives all of them in the order of the key, so
#            nothing in a single answer gives the fault away. Whoever pages through results with duplicates among them
#            loses most of these.
# Output seen:
#   30 copies: [0, 15, 62, 82, 112, 157] ... [403, 458, 470, 492, 494, 495]
#   page 1: [0, 62, 492, 494, 495]
#   page 2: [458, 470, 492, 494, 495]
#   page 3: [458, 470, 492, 494, 495]
#   page 4: [458, 470, 492, 494, 495]
#   page 5: [458, 470, 492, 494, 495]
#   page 6: [458, 470, 492, 494, 495]
#   pages show 7 of 30; one search with limit 30 shows 30
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check milvus-lite==3.2.2 \
  pymilvus==3.0.2 \
  numpy==2.4.6 >pip.log 2>&1 ||
  { cat pip.log >&2; echo "not run: packages could not be installed" >&2; exit 2; }
venv/bin/python - <<'EOF'
import logging
import os

os.environ["GRPC_VERBOSITY"] = "NONE"
import numpy as np
from pymilvus import DataType, MilvusClient

logging.disable(logging.CRITICAL)
client = MilvusClient("collection.db")
schema = client.create_schema()
schema.add_field("id", DataType.INT64, is_primary=True)
schema.add_field("vector", DataType.FLOAT_VECTOR, dim=16)
index = client.prepare_index_params()
index.add_index("vector", index_type="FLAT", metric_type="COSINE")
client.create_collection("pictures", schema=schema, index_params=index)
rng = np.random.default_rng(1)
data = np.repeat(rng.normal(size=(20, 16)), 30, axis=0)[rng.permutation(600)].astype("float32")
client.insert("pictures", [{"id": i, "vector": row.tolist()} for i, row in enumerate(data)])
copies = np.flatnonzero((data == data[0]).all(1)).tolist()


def search(limit, offset=0):
    return [hit["id"] for hit in client.search("pictures", [data[0].tolist()], limit=limit, offset=offset)[0]]


pages = [search(5, offset) for offset in range(0, 30, 5)]
shown = {i for page in pages for i in page}
print(f"{len(copies)} copies: {copies[:6]} ... {copies[-6:]}")
for number, page in enumerate(pages):
    print(f"page {number + 1}: {page}")
print(f"pages show {len(shown)} of {len(copies)}; one search with limit 30 shows {len(set(search(30)))}")
client.close()
assert shown <= set(copies)
assert len(shown) < 15
EOF
