"""Test and measure our kernels on a CUDA GPU: `make gpu`. See docs/benchmarks.md."""
