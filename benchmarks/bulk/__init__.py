"""Bulk jobs: `python -m benchmarks.bulk.ray`."""
