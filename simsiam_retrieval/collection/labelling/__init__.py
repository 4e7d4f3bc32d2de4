"""Labels of a collection that come from files and labelling programs."""
