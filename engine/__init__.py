"""Bundles on backends: samples, log-probabilities, bounds, latents, verification."""

from ancestral.bound import Bound
from ancestral.engine.autoregressive import AutoregressiveEngine, Samples
from ancestral.engine.classify import Classification
from ancestral.engine.engine import Engine
from ancestral.engine.generate import Generated
from ancestral.engine.latent import LatentEngine, LatentSamples
from ancestral.engine.particles import Completion
from ancestral.engine.text_likelihood import TextLikelihood
from ancestral.sampling import Sampling

__all__ = [
    "AutoregressiveEngine",
    "Bound",
    "Classification",
    "Completion",
    "Engine",
    "Generated",
    "LatentEngine",
    "LatentSamples",
    "Samples",
    "Sampling",
    "TextLikelihood",
]
