"""Inputs and outputs of each method of a bundle, by its manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ancestral.bundles.manifest import Latent, Manifest
from ancestral.serve.inference.tensors import Tensor

ROWS = (-1,)
ONE = (1,)
_SEED = "seed of the noise; if it is left out, one is drawn and returned"
_SETTINGS = (
    Tensor("top_k", "INT64", ONE, "number of most probable values to keep", optional=True),
    Tensor("top_p", "FP32", ONE, "probability to keep (nucleus)", optional=True),
    Tensor("min_p", "FP32", ONE, "least share of the largest probability to keep", optional=True),
    Tensor(
        "repetition_penalty",
        "FP32",
        ONE,
        "divisor of the logits of values that have occurred",
        optional=True,
    ),
    Tensor(
        "presence_penalty",
        "FP32",
        ONE,
        "subtracted from logits of values that were drawn",
        "nats",
        optional=True,
    ),
    Tensor(
        "frequency_penalty",
        "FP32",
        ONE,
        "subtracted for each time that a value was drawn",
        "nats",
        optional=True,
    ),
)
_AUTOREGRESSIVE: Mapping[str, frozenset[str]] = {
    "sample": frozenset({"step"}),
    "log_prob": frozenset({"log_prob"}),
    "classify": frozenset({"log_prob"}),
}
"""Graphs that each method needs."""
_REAL: Mapping[str, frozenset[str]] = {
    "sample": frozenset({"prior", "draw"}),
    "encode": frozenset({"encode"}),
    "decode": frozenset({"decode"}),
    "reconstruct": frozenset({"encode", "decode"}),
    "bound": frozenset({"encode", "log_weights"}),
}
_CODES = {
    **_REAL,
    "sample": frozenset({"draw"}),
    "bound": frozenset({"encode", "log_likelihood"}),
}
"""Graphs that each method of a model with codes needs, besides those of its prior."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a bundle, as a model of the protocol.

    Attributes:
        about: what it does.
        inputs: inputs.
        outputs: outputs.
    """

    about: str
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]


def methods_of(manifest: Manifest) -> Mapping[str, Method]:
    """Return the methods of a bundle by name; those whose graphs it does not have are left out."""
    if manifest.latent is None:
        found, needed = _autoregressive(manifest), _AUTOREGRESSIVE
    else:
        found, needed = _latent(manifest, manifest.latent), _CODES if manifest.has_prior else _REAL
    return {name: found[name] for name in found if needed[name] <= manifest.graphs.keys()}


def _autoregressive(manifest: Manifest) -> dict[str, Method]:
    data = manifest.data
    x, every = _events(manifest), [*_labels(manifest)]
    observed = Tensor(
        "observed",
        "INT64",
        x.shape,
        "values to keep, of one event or of each; -1 marks a value to draw",
        "levels",
        optional=manifest.first_position == 0,
    )
    bias = Tensor(
        "logit_bias",
        "FP32",
        (data.levels,),
        "added to the logit of each value; -inf bans it",
        "nats",
        optional=True,
    )
    exact = _nats("log_prob", "log p(x), or log p(x | y) with labels, under the model itself")
    found = {
        "sample": Method(
            "draws events; sample i is a function of the seed and of first_index + i",
            [*_draws(), *every, *_SETTINGS, bias, observed],
            [
                x,
                exact,
                _nats("log_q", "log-probability of what was drawn, with filters and temperature"),
                _seed_used(),
            ],
        ),
        "log_prob": Method("returns exact log-probabilities of events", [x, *every], [exact]),
    }
    if manifest.label_prior is not None:
        shape = (-1, len(manifest.label_prior))
        found["classify"] = Method(
            "classifies events by Bayes' rule",
            [x],
            [
                _nats("log_posterior", "log p(y | x) of each class", shape),
                _nats("log_joint", "log p(x, y) of each class", shape),
                Tensor("label", "INT64", ROWS, "most probable class"),
            ],
        )
    return found


def _latent(manifest: Manifest, latent: Latent) -> dict[str, Method]:
    data = manifest.data
    x = _events(manifest)
    codes = latent.posterior == "codes"
    z = Tensor(
        "z", "INT64" if codes else "FP32", (-1, *latent.shape), "codes" if codes else "latents"
    )
    mean = Tensor("mean", "FP32", (-1, *data.event_shape), "E[x | z]", "levels")
    labels = Tensor("labels", "INT64", ROWS, "class of all events, or of each", optional=True)
    every = [labels] if manifest.has_prior else []
    encoded = _of_graph(manifest, "encode")
    closed = codes or any(each.name == "kl" for each in encoded)
    return {
        "sample": Method(
            "draws latents from the prior, and an event given each of them",
            [*_draws(), *every, *(_SETTINGS if manifest.has_prior else ())],
            [
                x,
                z,
                _nats("log_prior", "log p(z)"),
                _nats("log_likelihood", "log p(x | z)"),
                _seed_used(),
            ],
        ),
        "encode": Method("returns the parameters of q(z | x), or the codes", [x], encoded),
        "decode": Method(
            "returns the parameters and the mean of p(x | z)",
            [z],
            [*_of_graph(manifest, "decode")[:1], mean],
        ),
        "reconstruct": Method("returns E[x | z] at the mean of q(z | x)", [x], [mean]),
        "bound": Method(
            "returns lower bounds on log p(x)",
            [
                x,
                Tensor("k", "INT64", ONE, "number of latents of each event", optional=True),
                Tensor("seed", "UINT64", ONE, _SEED, optional=True),
                _first_index("event"),
                *every,
            ],
            [*_of_bound(closed=closed), _seed_used()],
        ),
    }


def _of_bound(*, closed: bool) -> list[Tensor]:
    kl = [_nats("kl_closed", "KL(q || p) in closed form")] if closed else []
    return [
        _nats("elbo", "evidence lower bound"),
        _nats("iwae", "importance-weighted bound, a lower bound on log p(x) in expectation"),
        _nats("reconstruction", "mean of log p(x | z)"),
        _nats("kl", "mean of log q(z | x) - log p(z)"),
        *kl,
        _nats("stderr_elbo", "standard error of elbo"),
        _nats("stderr_iwae", "standard error of iwae"),
        Tensor("ess", "FP64", ROWS, "effective sample size"),
        Tensor("unreliable", "BOOL", ROWS, "whether ess is too small for stderr_iwae"),
    ]


def _of_graph(manifest: Manifest, graph: str) -> list[Tensor]:
    """Return the outputs of a graph, whose first axis is the batch."""
    about = {
        "codes": "codes",
        "mean": "mean of q(z | x)",
        "log_scale": "log of the scale of q(z | x)",
        "factor": "lower triangular L of the covariance L L^T of q(z | x)",
        "kl": "KL(q || p)",
        "parameters": "parameters of p(x | z), for each value or pixel",
    }
    entry = manifest.graphs.get(graph)
    return [
        Tensor(
            each.name,
            "INT64" if each.dtype == "int64" else "FP32",
            tuple(axis if isinstance(axis, int) else -1 for axis in each.axes),
            about.get(each.name, each.name),
            "nats" if each.name == "kl" else "",
        )
        for each in (() if entry is None else entry.signature.outputs)
    ]


def _events(manifest: Manifest) -> Tensor:
    shape = (-1, *manifest.data.event_shape)
    if manifest.latent is not None and manifest.latent.continuous:
        return Tensor("x", "FP32", shape, "events; integers in an input are levels", "levels")
    return Tensor("x", "INT64", shape, f"events, 0 .. {manifest.data.levels - 1}", "levels")


def _labels(manifest: Manifest) -> list[Tensor]:
    if manifest.data.num_classes is None:
        return []
    about = f"class of all events, or of each, 0 .. {manifest.data.num_classes - 1}"
    return [Tensor("labels", "INT64", ROWS, about, optional=manifest.label_optional)]


def _draws() -> list[Tensor]:
    return [
        Tensor("n", "INT64", ONE, "number of samples; 1 if it is left out", optional=True),
        Tensor("seed", "UINT64", ONE, _SEED, optional=True),
        _first_index("sample"),
        Tensor("temperature", "FP32", ONE, "divisor of the logits, or scale", optional=True),
    ]


def _first_index(what: str) -> Tensor:
    return Tensor("first_index", "INT64", ONE, f"index of the first {what}", optional=True)


def _seed_used() -> Tensor:
    return Tensor("seed", "UINT64", ONE, "seed that was used")


def _nats(name: str, about: str, shape: tuple[int, ...] = ROWS) -> Tensor:
    return Tensor(name, "FP64", shape, about, "nats")
