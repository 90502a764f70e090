"""TensorRT plans: how they are named, kept and chosen."""
