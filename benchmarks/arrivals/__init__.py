"""Requests that arrive at random, on the engine's stream: `python -m benchmarks.arrivals`."""
