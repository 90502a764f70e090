"""Log-probabilities of given sequences, from another system or from a model that ran before."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64


@dataclass(frozen=True, slots=True)
class GivenLogProbs:
    """Sequences of values and the log-probability of each value.

    Attributes:
        x: values by positions of the ordering, padded with 0 on the right, [n, t].
        lengths: number of values of each sequence, [n].
        log_prob: log p(x_t | x_<t), in nats, [n, t]; NaN where there is no prediction, as often at
            the first position, and beyond the end of a sequence.
        labels: class of each sequence, [n]; None without classes.
        source_sha256: hash of the manifest of the bundle that computed them; None from a file.
        source_backend: backend, device and dtype that computed them; None from a file.
    """

    x: Int64[np.ndarray, "n t"]
    lengths: Int64[np.ndarray, " n"]
    log_prob: Float[np.ndarray, "n t"]
    labels: Int64[np.ndarray, " n"] | None = None
    source_sha256: str | None = None
    source_backend: str | None = None
