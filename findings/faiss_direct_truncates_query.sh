#!/usr/bin/env bash
# FAISS: 8-bit direct scalar quantisers round a float query to whole numbers, but only if dim is a multiple of 32
#
# Versions:  faiss-cpu 1.15.1, numpy 2.4.6; Python 3.11 on Linux x86-64 with AVX2 or AVX-512, November 2026
# Guess:     QT_8bit_direct and QT_8bit_direct_signed store vectors as integers and take the query as it is, so scores
#            are inner products of a float query with integer codes, whatever the number of dimensions.
# Behaviour: True for dim 24, 48, 63 and 264. If dim is a multiple of 32, the query is truncated to integers first,
#            without a word: for a query of 0.9 everywhere all scores are 0, and a unit vector finds strangers. Whole
#            numbers as query are right everywhere.
# Output seen:
#   QT_8bit_direct dim 24: float query right, whole query right
#   QT_8bit_direct dim 32: float query scores all 0, whole query right
#   QT_8bit_direct dim 48: float query right, whole query right
#   QT_8bit_direct dim 63: float query right, whole query right
#   QT_8bit_direct dim 64: float query scores all 0, whole query right
#   QT_8bit_direct dim 256: float query scores all 0, whole query right
#   QT_8bit_direct dim 264: float query right, whole query right
#   (the same seven lines for QT_8bit_direct_signed)
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
for kind, low, high in (("QT_8bit_direct", 0, 200), ("QT_8bit_direct_signed", -100, 100)):
    for dim in (24, 32, 48, 63, 64, 256, 264):
        codes = rng.integers(low, high, (50, dim)).astype("float32")
        index = faiss.IndexScalarQuantizer(dim, getattr(faiss.ScalarQuantizer, kind), faiss.METRIC_INNER_PRODUCT)
        index.train(codes)
        index.add(codes)
        said = {}
        for name, value in (("float", 0.9), ("whole", 3.0)):
            query = np.full((1, dim), value, "float32")
            scores, ids = index.search(query, len(codes))
            exact = (codes @ query[0])[ids[0]]
            if np.allclose(scores[0], exact, rtol=1e-4, atol=0.01):
                said[name] = "right"
            else:
                said[name] = "scores all 0" if not scores.any() else "wrong"
        print(f"{kind} dim {dim}: float query {said['float']}, whole query {said['whole']}")
        assert said == {"float": "scores all 0" if dim % 32 == 0 else "right", "whole": "right"}
EOF
