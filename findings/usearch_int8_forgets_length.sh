#!/usr/bin/env bash
# usearch: with int8 storage, inner product and L2 become cosine
#
# Versions:  usearch 2.26.6, numpy 2.4.6; Python 3.11 on Linux x86-64, November 2026
# Guess:     Storage in int8 makes inner products and L2 distances coarser; order by length stays: of two vectors in
#            one direction the longer has the larger inner product.
# Behaviour: Every vector is scaled to one length before it is stored in 8 bits, for metric "ip" and "l2sq" too. The
#            ranking is that of the cosine, the reverse of the right one here, and the distances are products of 8-bit
#            integers (tens of thousands), which no threshold fits. The same call with f16 is right.
# Output seen:
#   right order: inner product [2, 1, 0], L2 [1, 0, 2], cosine [0, 1, 2]
#   ip f32: order [2, 1, 0], distances [-2.0, 0.0, 0.800000011920929]
#   ip f16: order [2, 1, 0], distances [-2.0, -0.0, 0.800000011920929]
#   ip i8: order [0, 1, 2], distances [-15351.0, -13668.0, -9199.0]
#   l2sq f32: order [1, 0, 2], distances [0.25, 0.6399999856948853, 20.0]
#   l2sq f16: order [1, 0, 2], distances [0.25, 0.6399999856948853, 20.0]
#   l2sq i8: order [0, 1, 2], distances [0.0, 3164.0, 12309.0]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check usearch==2.26.6 \
  numpy==2.4.6 >pip.log 2>&1 ||
  { cat pip.log >&2; echo "not run: packages could not be installed" >&2; exit 2; }
venv/bin/python - <<'EOF'
import numpy as np
from usearch.index import Index

rng = np.random.default_rng(0)
query = rng.normal(size=64)
query /= np.linalg.norm(query)
side = rng.normal(size=64)
side -= side @ query * query
side /= np.linalg.norm(side)
data = np.array([0.2 * query, query + 0.5 * side, 3 * query + 4 * side], "float32")
query = query.astype("float32")
right = {"ip": np.argsort(-(data @ query)).tolist(), "l2sq": np.argsort(((data - query) ** 2).sum(1)).tolist()}
cosine = np.argsort(-(data @ query) / np.linalg.norm(data, axis=1)).tolist()
print(f"right order: inner product {right['ip']}, L2 {right['l2sq']}, cosine {cosine}")
for metric in ("ip", "l2sq"):
    for kind in ("f32", "f16", "i8"):
        index = Index(ndim=64, metric=metric, dtype=kind)
        index.add(np.arange(3), data)
        matches = index.search(query, 3)
        order = [int(k) for k in matches.keys]
        print(f"{metric} {kind}: order {order}, distances {np.round(matches.distances, 2).tolist()}")
        assert order == (cosine if kind == "i8" else right[metric])
EOF
