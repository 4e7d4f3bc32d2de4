#!/usr/bin/env bash
# FAISS: exact copies come lowest id first by L2 and highest id first by inner product
#
# Versions:  faiss-cpu 1.15.1, numpy 2.4.6; Python 3.11 on Linux x86-64, November 2026
# Guess:     Among exact copies a flat index lists the lower id first, with L2 and with inner product, whatever k is.
# Behaviour: IndexFlatL2 does. IndexFlatIP lists them with the highest id first. With k smaller than the number of
#            copies it takes the lowest ids (k < 100) and lists those backwards, so the first result depends on k, and
#            a page of 3 is not the beginning of a page of 10. "The first result is the original" is true in one and
#            false in the other.
# Output seen:
#   ids of the copies: [61, 91, 108, 247, 266, 277, 334, 359, 445, 449, 459, 505]
#   IndexFlatL2, k=3: [61, 91, 108]
#   IndexFlatL2, k=12: [61, 91, 108, 247, 266, 277, 334, 359, 445, 449, 459, 505]
#   IndexFlatL2, k=120: [61, 91, 108, 247, 266, 277, 334, 359, 445, 449, 459, 505]
#   IndexFlatIP, k=3: [108, 91, 61]
#   IndexFlatIP, k=12: [505, 459, 449, 445, 359, 334, 277, 266, 247, 108, 91, 61]
#   IndexFlatIP, k=120: [505, 459, 449, 445, 359, 334, 277, 266, 247, 108, 91, 61]
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
rng = np.random.default_rng(1)
originals = rng.normal(size=(50, 64)).astype("float32")
originals /= np.linalg.norm(originals, axis=1, keepdims=True)
data = np.repeat(originals, 12, axis=0)[rng.permutation(600)]
copies = np.flatnonzero((data == originals[0]).all(1)).tolist()
print(f"ids of the copies: {copies}")
for kind in (faiss.IndexFlatL2, faiss.IndexFlatIP):
    index = kind(64)
    index.add(data)
    for k in (3, 12, 120):
        got = index.search(originals[:1], k)[1][0][:12].tolist()
        print(f"{kind.__name__}, k={k}: {got}")
        expected = copies[: min(k, 12)]
        assert got == (expected if kind is faiss.IndexFlatL2 else expected[::-1])
EOF
