"""Compile ONNX graphs to TensorRT plans, each in a separate process."""
