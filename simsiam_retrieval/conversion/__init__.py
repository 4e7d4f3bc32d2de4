"""Other people's weights -> a run folder: reading files safely, naming what is in them, writing the run."""
