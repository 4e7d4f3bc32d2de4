"""Metrics of features: arrays of numbers in, numbers out."""
