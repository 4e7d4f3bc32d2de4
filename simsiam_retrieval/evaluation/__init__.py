"""Evaluation of features: kNN, linear probe, retrieval, near-duplicates, and reports about them."""
