"""Our operators: PyTorch references, torch.library registrations, Triton kernels, ONNX forms."""
