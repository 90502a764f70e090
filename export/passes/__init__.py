"""Passes that change ONNX graphs for a runtime or a type."""
