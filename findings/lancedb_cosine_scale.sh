#!/usr/bin/env bash
# LanceDB: the scale of a cosine distance changes when a row is added, and again when the table is optimised
#
# Versions:  lancedb 0.40.0, pyarrow 26.0.1, numpy 2.4.6; Python 3.11 on Linux x86-64, November 2026
# Guess:     With a quantised IVF index on cosine, _distance is about 1 - cosine; rows added later come with exact
#            distances on the same scale.
# Behaviour: With IVF_SQ, IVF_RQ or IVF_PQ and no refine_factor, _distance is 2 (1 - cosine), the squared L2 distance
#            of unit vectors. After one row is added and not yet indexed, all distances of the same search are halved,
#            to 1 - cosine; after optimize() they are doubled again. IVF_FLAT and refined searches give 1 - cosine
#            always. A duplicate threshold finds different pairs before and after an update, and distance_range
#            compares the doubled value.
# Output seen:
#   IVF_FLAT: _distance / (1 - cosine): indexed 1.00, one row added 1.00, optimised 1.00, refined 1.00
#       rows in the range of the nearest 50: 50
#   IVF_SQ: _distance / (1 - cosine): indexed 2.00, one row added 1.00, optimised 2.00, refined 1.00
#       rows in the range of the nearest 50: 1
#   IVF_RQ: _distance / (1 - cosine): indexed 2.00, one row added 1.00, optimised 2.00, refined 1.00
#       rows in the range of the nearest 50: 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check lancedb==0.40.0 \
  pyarrow==26.0.1 \
  numpy==2.4.6 >pip.log 2>&1 ||
  { cat pip.log >&2; echo "not run: packages could not be installed" >&2; exit 2; }
venv/bin/python - <<'EOF'
import warnings

import lancedb
import numpy as np
import pyarrow as pa

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
data = rng.normal(size=(2000, 32)).astype("float32")
data /= np.linalg.norm(data, axis=1, keepdims=True)


def rows(ids, vectors):
    return pa.table({"id": ids, "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 32)})


def ratio(table, refine=None):
    """Distances of the nearest rows, itself aside, divided by 1 - cosine."""
    search = table.search(data[0]).distance_type("cosine").nprobes(2).limit(6)
    if refine:
        search = search.refine_factor(refine)
    found = [row for row in search.to_list() if row["id"] != 0]
    return float(np.mean([row["_distance"] / (1 - float(data[row["id"]] @ data[0])) for row in found]))


database = lancedb.connect("database")
result = {}
for kind in ("IVF_FLAT", "IVF_SQ", "IVF_RQ"):
    table = database.create_table(kind, rows(np.arange(2000), data))
    table.create_index(metric="cosine", num_partitions=2, index_type=kind, vector_column_name="vector")
    indexed = ratio(table)
    refined = ratio(table, refine=10)
    near = float(np.sort(1 - data @ data[0])[50])
    search = table.search(data[0]).distance_type("cosine").nprobes(2).distance_range(None, near)
    in_range = len(search.limit(500).to_list())
    table.add(rows([9999], -data[:1]))  # the opposite: never among the nearest
    added = ratio(table)
    table.optimize()
    result[kind] = indexed, added, ratio(table), refined
    print(f"{kind}: _distance / (1 - cosine): indexed {indexed:.2f}, one row added {added:.2f}, ", end="")
    print(f"optimised {result[kind][2]:.2f}, refined {refined:.2f}")
    print(f"    rows in the range of the nearest 50: {in_range}")
assert all(abs(value - 1) < 0.02 for value in result["IVF_FLAT"])
for kind in ("IVF_SQ", "IVF_RQ"):
    indexed, added, optimised, refined = result[kind]
    assert 1.9 < indexed < 2.1 and 0.95 < added < 1.05 and 1.9 < optimised < 2.1 and 0.95 < refined < 1.05
EOF
