"""Name, store and choose TensorRT plans."""
