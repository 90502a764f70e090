"""Likelihood that a bundle loses against its source: the paired difference on the same data.

Two models of the same data give different log p to the same values. The difference of the two is
much less noisy than either: most of what makes one event improbable makes it improbable for both.
So the loss is a mean of paired differences, and its standard error is over the independent units of
the data, never over positions (`ancestral.paired_mean`). Distributions of the next value, and draws
from the same uniforms, are compared at each position given the data as the past.

    compare(bundle, source, data) -> Comparison: two bundles, backends or types
    log_probs(source, data) -> GivenLogProbs, compare_log_probs(bundle, given) -> Comparison:
        paired differences only, with log p that was computed before, or by another system
    windows(texts, width, first) -> data and lengths for these functions, from texts of any length
    Comparison.cost(name, sha256) -> Cost: the summary for a manifest
"""

from ancestral.engine.losses.compare import compare
from ancestral.engine.losses.log_probs import compare_log_probs, log_probs
from ancestral.engine.losses.sequences import windows
from ancestral.loss_measurement import Comparison

__all__ = ["Comparison", "compare", "compare_log_probs", "log_probs", "windows"]
