"""Exploring a collection: map (t-SNE), clusters, few-shot classifier."""
