"""FAISS, imported at its first use: importing it takes 0.13 s, and one query of an exact index does not need it.

Use it as ``from . import faiss_when_used as faiss``. Values of ``faiss.cvar`` are set here, once.
"""

import functools
import importlib
from types import ModuleType
from typing import Any


@functools.cache
def _library() -> ModuleType:
    faiss = importlib.import_module("faiss")
    # with FAISS's default limits, batches of ten to two hundred queries are up to seven times slower
    faiss.cvar.distance_compute_blas_threshold = 1
    faiss.cvar.distance_compute_blas_query_bs = 1024
    faiss.cvar.distance_compute_blas_database_bs = 8192  # times 1024 queries: 32 MB
    return faiss


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # asked by the import system, and not meant for FAISS
        raise AttributeError(name)
    return getattr(_library(), name)
