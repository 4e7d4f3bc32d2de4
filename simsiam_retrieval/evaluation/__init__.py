"""What features are worth: kNN and linear classifiers over frozen features."""
