"""Inspect compiled kernels without a GPU: registers, spills, SASS, PTX."""
