"""Updating a collection to its folders."""
