"""Bundles on backends: samples, log-probabilities, classes, completions, verification."""

from ancestral.engine.classify import Classification
from ancestral.engine.engine import Engine, Samples
from ancestral.engine.particles import Completion
from ancestral.sampling import Sampling

__all__ = ["Classification", "Completion", "Engine", "Samples", "Sampling"]
