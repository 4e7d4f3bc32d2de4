"""Bringing a collection up to date with its folders."""
