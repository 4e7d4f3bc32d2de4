"""Exporting a run folder to ONNX: the graph, the check against PyTorch, the file."""
