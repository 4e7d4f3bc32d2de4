#!/usr/bin/env bash
# FAISS: IndexIVFFlatDedup filters by the first copy, and lets the others through
#
# Versions:  faiss-cpu 1.15.1, numpy 2.4.6; Python 3.11 on Linux x86-64, November 2026
# Guess:     With an IDSelector, a search of IndexIVFFlatDedup returns the allowed ids only, copies included; one that
#            allows only a copy finds that copy.
# Behaviour: The selector is asked about the first vector of each group of copies alone. A filter that allows only the
#            second copy finds nothing at all; one that allows only the first returns the second too, which the filter
#            forbids. Ids that may not be shown are shown, and those that may are not.
# Output seen:
#   no filter: [0, 500]; only 500 allowed: []; only 0 allowed: [0, 500]
#   only 7 and 501 allowed: [7, 507]
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
data = rng.normal(size=(1000, 32)).astype("float32")
data[500:510] = data[:10]  # 500 is a copy of 0, and so on
quantizer = faiss.IndexFlatL2(32)
index = faiss.IndexIVFFlatDedup(quantizer, 32, 16)
index.train(data)
index.add(data)


def search(allowed):
    selector = faiss.IDSelectorBatch(np.array(allowed))
    parameters = faiss.SearchParametersIVF(sel=selector, nprobe=16)
    return [int(i) for i in index.search(data[:1], 3, params=parameters)[1][0] if i >= 0]


index.nprobe = 16
everything = [int(i) for i in index.search(data[:1], 2)[1][0]]
copy_only, first_only, other = search([500]), search([0]), search([7, 501])
print(f"no filter: {everything}; only 500 allowed: {copy_only}; only 0 allowed: {first_only}")
print(f"only 7 and 501 allowed: {other}")
assert everything == [0, 500]
assert copy_only == []
assert first_only == [0, 500]
assert 507 in other and 501 not in other
EOF
