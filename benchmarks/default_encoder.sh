#!/usr/bin/env bash
# The shipped encoder on labelled photos that it has not seen, beside the same network with random weights.
# Usage: benchmarks/default_encoder.sh DATA   (see benchmarks/README.md for what DATA holds)
set -euo pipefail
results=$(cd "$(dirname "$0")" && pwd)/results/default-encoder
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$results"
cd "$1"

# a run of no epochs is the network as it was initialised
size=$(python -c 'from simsiam_retrieval import load_encoder; print(load_encoder().image_size)')
python -m simsiam_retrieval.pretrain clothing-160/test --out "$work/random" --image-size 64 --epochs 0
python -m simsiam_retrieval.export "$work/random" --image-size "$size"

for set in imagenette-160:train:val clothing-160:train:test cifar10:train:test; do
  IFS=: read -r name train test <<<"$set"
  [ -d "$name" ] || continue
  python -m simsiam_retrieval.probe --train "$name/$train" --test "$name/$test" --out "$results/$name.json"
  python -m simsiam_retrieval.probe "$work/random/encoder.onnx" --train "$name/$train" --test "$name/$test" \
    --out "$results/$name-random-weights.json"
done
