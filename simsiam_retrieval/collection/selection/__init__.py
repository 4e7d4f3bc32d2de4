"""Which images of a collection to label first."""
