"""Names, dtypes and axes of the tensors in a latent variable model's graphs.

`train.models.latent_graphs` declares its programs with them, and `bundles.graph_contract` compares
the signatures of a bundle with them. Axes: b batch, k latents per event.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ancestral.signature import Dtype, GraphSignature, TensorSpec

LatentGraphName = Literal["encode", "decode", "draw", "prior", "log_likelihood", "log_weights"]
LATENT_GRAPH_NAMES: tuple[LatentGraphName, ...] = get_args(LatentGraphName)


@dataclass(frozen=True, slots=True)
class LatentTensors:
    """Inputs and outputs of each graph, given the properties of a model.

    Attributes:
        length: number of values in an event.
        continuous: whether events are real numbers, so that p(x | z) is a density.
        shape: shape of a latent.
        codes: whether latents are codes, that is integers.
        posterior: name and shape of each parameter of q(z | x).
        observation: shape of the parameters of p(x | z).
        chooses: whether a draw from the prior also takes a uniform, to choose a component.
        closed_kl: whether `encode` also returns KL(q || p).
    """

    length: int
    continuous: bool
    shape: tuple[int, ...]
    codes: bool
    posterior: Sequence[tuple[str, tuple[int, ...]]]
    observation: tuple[int | str, ...]
    chooses: bool
    closed_kl: bool

    def signature(self, graph: LatentGraphName) -> GraphSignature:
        """Return the signature of a graph."""
        x = _tensor("x", "b", self.length, dtype="float32" if self.continuous else "int64")
        kind: Dtype = "int64" if self.codes else "float32"
        z = _tensor("z", "b", *self.shape, dtype=kind)
        q = [_tensor(name, "b", *shape, dtype=kind) for name, shape in self.posterior]
        temperature = _tensor("temperature", "b")
        match graph:
            case "encode":
                return _signature([x], [*q, *([_tensor("kl", "b")] if self.closed_kl else [])])
            case "decode":
                parameters = _tensor("parameters", "b", *self.observation)
                return _signature([z], [parameters, _tensor("x_mean", "b", self.length)])
            case "draw":
                noise = _tensor("noise" if self.continuous else "u", "b", self.length)
                return _signature([z, noise], [x, _tensor("log_likelihood", "b")])
            case "prior":
                u = [_tensor("u", "b")] if self.chooses else []
                noise = _tensor("noise", "b", *self.shape)
                return _signature([noise, *u, temperature], [z, _tensor("log_prior", "b")])
            case "log_likelihood":
                several = _tensor("z", "b", "k", *self.shape, dtype=kind)
                return _signature([x, several], [_tensor("log_likelihood", "b", "k")])
            case "log_weights":
                terms = ("log_likelihood", "log_prior", "log_posterior")
                noise = _tensor("noise", "b", "k", *self.shape)
                return _signature([x, *q, noise], [_tensor(term, "b", "k") for term in terms])


def _tensor(name: str, *axes: str | int, dtype: Dtype = "float32") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, axes=axes)


def _signature(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> GraphSignature:
    return GraphSignature(inputs=tuple(inputs), outputs=tuple(outputs))
