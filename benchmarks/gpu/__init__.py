"""Proof and measurement of our kernels on a CUDA GPU: `make gpu`. See docs/benchmarks.md."""
