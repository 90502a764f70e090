"""Run bundles on a backend: samples, log-probabilities, bounds, latents, verification."""

from ancestral.bound import Bound
from ancestral.engine.alternatives import Alternatives
from ancestral.engine.astream import AsyncRequestStream
from ancestral.engine.classify import Classification
from ancestral.engine.desk import Counts, Delta, Desk
from ancestral.engine.latent_sample import LatentSamples
from ancestral.engine.open import AutoregressiveEngine, Engine, LatentEngine
from ancestral.engine.particles import Completion
from ancestral.engine.prompt_batch import Generated
from ancestral.engine.request import Request
from ancestral.engine.sample import Samples
from ancestral.engine.stream import RequestStream
from ancestral.engine.text_likelihood import TextLikelihood
from ancestral.engine.top import EventLikelihood, Top
from ancestral.sampling import Sampling

__all__ = [
    "Alternatives",
    "AsyncRequestStream",
    "AutoregressiveEngine",
    "Bound",
    "Classification",
    "Completion",
    "Counts",
    "Delta",
    "Desk",
    "Engine",
    "EventLikelihood",
    "Generated",
    "LatentEngine",
    "LatentSamples",
    "Request",
    "RequestStream",
    "Samples",
    "Sampling",
    "TextLikelihood",
    "Top",
]
