"""Searching a collection: filters, query vectors, exact scores, contact sheets."""
