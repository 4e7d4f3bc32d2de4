"""Finding files of a collection that show the same picture."""
