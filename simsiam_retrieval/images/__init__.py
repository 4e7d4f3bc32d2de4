"""From a path to pixels: which files, safe decoding, training data, augmentation."""
