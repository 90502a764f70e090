"""ONNX graphs to TensorRT plans, each built in a process of its own."""
