"""Models to ONNX graphs and known answers, bound into a bundle."""
