"""Publishing a run as a model repository of the Hugging Face Hub: its files, its model card, the upload."""
