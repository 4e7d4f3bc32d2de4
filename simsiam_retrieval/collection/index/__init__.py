"""The FAISS index of a collection: types, building, tuning, noise level, GPU, memory-mapped index."""
