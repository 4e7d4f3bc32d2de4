"""FAISS indexes of a collection: types, building, tuning, GPU, memory-mapped lists."""
