#!/usr/bin/env bash
# FAISS: a query of NaN finds nothing in a flat index, and perfect matches in RaBitQ
#
# Versions:  faiss-cpu 1.15.1, numpy 2.4.6; Python 3.11 on Linux x86-64, November 2026
# Guess:     A query with a NaN gives NaN distances or ids of -1 in every kind of index.
# Behaviour: Flat, IVF, HNSW and scalar quantisers return -1. RaBitQ with L2 returns ids 0, 1, ... at distance exactly
#            0, the best that there is; PQ fast scan returns arbitrary ids at infinity, which for inner product is the
#            best, too. One overflow in a float16 encoder becomes "identical picture found".
# Output seen:
#   L2 Flat: nothing
#   L2 IVF16,Flat: nothing
#   L2 HNSW16: nothing
#   L2 SQ8: nothing
#   L2 RaBitQ: found, distances [0.0, 0.0]
#   L2 RaBitQfs: found, distances [0.0, 0.0]
#   L2 PQ16x4fs: found, distances [inf, inf]
#   INNER_PRODUCT Flat: nothing
#   INNER_PRODUCT IVF16,Flat: nothing
#   INNER_PRODUCT HNSW16: nothing
#   INNER_PRODUCT SQ8: nothing
#   INNER_PRODUCT RaBitQ: nothing
#   INNER_PRODUCT RaBitQfs: nothing
#   INNER_PRODUCT PQ16x4fs: found, distances [inf, inf]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check faiss-cpu==1.15.1 \
  numpy==2.4.6 >pip.log 2>&1 ||
  { cat pip.log >&2; echo "not run: packages could not be installed" >&2; exit 2; }
venv/bin/python - <<'EOF'
import faiss
import numpy as np

faiss.omp_set_num_threads(1)
rng = np.random.default_rng(0)
data = rng.normal(size=(4000, 64)).astype("float32")
data /= np.linalg.norm(data, axis=1, keepdims=True)
query = data[:1].copy()
query[0, 3] = np.nan
found = {}
for metric in ("L2", "INNER_PRODUCT"):
    for kind in ("Flat", "IVF16,Flat", "HNSW16", "SQ8", "RaBitQ", "RaBitQfs", "PQ16x4fs"):
        index = faiss.index_factory(64, kind, getattr(faiss, "METRIC_" + metric))
        index.train(data)
        index.add(data)
        distances, ids = index.search(query, 2)
        found[metric, kind] = ids[0].tolist(), distances[0].tolist()
        print(f"{metric} {kind}: " + ("nothing" if (ids < 0).all() else f"found, distances {distances[0].tolist()}"))
for (metric, kind), (ids, distances) in found.items():
    if metric == "L2" and kind.startswith("RaBitQ"):
        assert ids == [0, 1] and distances == [0, 0]
    elif kind == "PQ16x4fs":
        assert min(ids) >= 0 and distances == [np.inf, np.inf]
    else:
        assert ids == [-1, -1], kind
EOF
