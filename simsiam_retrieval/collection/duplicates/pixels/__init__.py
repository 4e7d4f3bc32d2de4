"""Comparing the pixels of two pictures: how one lies on the other, and what is left of the difference then."""
