#!/usr/bin/env bash
# FAISS: a range search of IVF with RaBitQ fast scan returns strangers and leaves out the near ones
#
# Versions:  faiss-cpu 1.15.1, numpy 2.4.6; Python 3.11 on Linux x86-64, November 2026
# Guess:     range_search with inner product and a radius returns about the vectors above the radius (10 % more or
#            fewer, for the coarse codes).
# Behaviour: IndexIVFRaBitQFastScan returns about twenty times too many, and of the right ones one in a thousand. The
#            scores that it returns are off by more than 1, and all of them claim to be above the radius.
#            IndexIVFRaBitQ without fast scan, the same codes, is as guessed, and k-nearest search of the fast-scan
#            kind is right. Removing near-duplicates by such a search would remove the strangers.
# Output seen:
#   IVF64,RaBitQ: 3841 returned, 2755 of them above 0.72 (3497 are), lowest score 0.72;
#       of its ten nearest, 78% are among the true fifty
#   IVF64,RaBitQfs: 71166 returned, 4 of them above 0.72 (3497 are), lowest score 0.72;
#       of its ten nearest, 78% are among the true fifty
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
centres = rng.normal(size=(100, 64))


def vectors(n):
    v = centres[rng.integers(0, 100, n)] + 0.7 * rng.normal(size=(n, 64))
    return (v / np.linalg.norm(v, axis=1, keepdims=True)).astype("float32")


data, queries = vectors(20_000), vectors(50)
cosines = queries @ data.T
radius = float(np.sort(cosines, axis=1)[:, -50].mean())
right = int((cosines > radius).sum())
result = {}
for kind in ("IVF64,RaBitQ", "IVF64,RaBitQfs"):
    index = faiss.index_factory(64, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(data)
    index.add(data)
    index.nprobe = 64  # every list
    limits, scores, ids = index.range_search(queries, radius)
    rows = np.repeat(np.arange(50), np.diff(limits.astype(int)))
    inside = int((cosines[rows, ids] > radius).sum())
    nearest = index.search(queries, 10)[1]
    found = np.mean([len(set(a) & set(np.argsort(-c)[:50])) / 10 for a, c in zip(nearest, cosines, strict=True)])
    result[kind] = len(ids), inside
    print(f"{kind}: {len(ids)} returned, {inside} of them above {radius:.2f} ({right} are), ", end="")
    print(f"lowest score {scores.min():.2f};")
    print(f"    of its ten nearest, {found:.0%} are among the true fifty")
assert 0.9 * right < result["IVF64,RaBitQ"][0] < 1.2 * right and result["IVF64,RaBitQ"][1] > 0.7 * right
assert result["IVF64,RaBitQfs"][0] > 10 * right and result["IVF64,RaBitQfs"][1] < 0.05 * right
EOF
