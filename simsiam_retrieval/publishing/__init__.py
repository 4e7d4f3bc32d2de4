"""A run folder -> a model repository in the Hugging Face Hub's conventions: its files, its card, the upload."""
