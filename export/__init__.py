"""Run folder -> ONNX: the graph, the check against torch, the file."""
