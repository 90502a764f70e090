"""Bundles on backends: sample, log-probabilities, verification."""

from ancestral.engine.engine import Engine, Samples
from ancestral.sampling import Sampling

__all__ = ["Engine", "Samples", "Sampling"]
