"""Run bundles on a backend: samples, log-probabilities, bounds, latents, verification."""

from ancestral.bound import Bound
from ancestral.engine.classify import Classification
from ancestral.engine.generate import Generated
from ancestral.engine.latent_sample import LatentSamples
from ancestral.engine.open import AutoregressiveEngine, Engine, LatentEngine
from ancestral.engine.particles import Completion
from ancestral.engine.sample import Samples
from ancestral.engine.text_likelihood import TextLikelihood
from ancestral.engine.top import EventLikelihood, Top
from ancestral.sampling import Sampling

__all__ = [
    "AutoregressiveEngine",
    "Bound",
    "Classification",
    "Completion",
    "Engine",
    "EventLikelihood",
    "Generated",
    "LatentEngine",
    "LatentSamples",
    "Samples",
    "Sampling",
    "TextLikelihood",
    "Top",
]
