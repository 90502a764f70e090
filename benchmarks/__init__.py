"""Benchmarks: what is measured, on which machine, and how it is reported."""
