"""Converting checkpoints of other training programs to a run folder: safe reading, tensor names, writing the run."""
