"""CPU time and peak memory of the probe's classifiers on random features: ``probe_speed.py [TRAIN TEST DIM]``.

By default CIFAR-10's size, 50,000 + 10,000 features of 512 numbers. Features are in memory, as from the cache.
"""

import resource
import sys
import time

import torch
import torch.nn.functional as F

from simsiam_retrieval.evaluation.linear_probe import fit
from simsiam_retrieval.metrics.knn import knn_scores
from simsiam_retrieval.metrics.whitening import fit_whitening

CLASSES = 10


def main(train: int, test: int, dim: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x, queries = (F.normalize(torch.randn(count, dim, generator=generator), dim=1) for count in (train, test))
    labels = torch.arange(train) % CLASSES
    print(f"{train} + {test} features of {dim}, {torch.get_num_threads()} threads")

    def timed(name: str, work) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"{name:16}{time.process_time() - cpu:8.1f} CPU s{time.perf_counter() - wall:8.1f} s{peak:8.2f} GB at most"
        )

    timed("kNN, k=200", lambda: knn_scores(x, labels, queries, CLASSES, k=200))
    timed("whitening", lambda: fit_whitening(x))
    timed("linear probe", lambda: fit(x, labels, CLASSES).scores(queries))


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given if len(given) == 3 else (50_000, 10_000, 512)))
