"""Vectors of parts of pictures: making, indexing and searching them."""
