"""Export models as bundles: ONNX graphs, weights and known answers."""
