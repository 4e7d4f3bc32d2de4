#!/usr/bin/env bash
# The shipped encoder on labelled images, beside raw pixels and the same network with random weights.
# Usage: benchmarks/default_encoder.sh DATA   (see benchmarks/README.md for what DATA holds)
set -euo pipefail
results=$(cd "$(dirname "$0")" && pwd)/results/default-encoder
mkdir -p "$results"
cd "$1"

for set in imagenette-160:train:val clothing-160:train:test fashion-mnist:train:test cifar10:train:test xray:data/train:data/test; do
  IFS=: read -r name train test <<<"$set"
  [ -d "$name" ] || continue
  python -m simsiam_retrieval.probe --train "$name/$train" --test "$name/$test" \
    --shots 1,5,10,100 --views 200 --duplicates 300 --out "$results/$name.json" >/dev/null
done
python -m simsiam_retrieval.probe --table "$results" | tee "$results/table.md"
