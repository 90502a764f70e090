"""The programs of a latent variable model; noise is an input of each one that needs it."""

from collections.abc import Callable, Mapping

from torch import Tensor

from ancestral.latent_tensors import LATENT_GRAPH_NAMES, LatentGraphName, LatentTensors
from ancestral.signature import GraphSignature, TensorSpec
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.posteriors import Codes
from ancestral.train.models.program import Program

Forward = Callable[..., tuple[Tensor, ...]]
"""A graph as a function of a model and of the graph's inputs, in order."""


def _encode(model: LatentVariableModel, x: Tensor) -> tuple[Tensor, ...]:
    """x -> parameters of q(z | x), and KL(q || p) in nats if it has a closed form."""
    q, posterior = model.encode(x), model.posterior
    if isinstance(posterior, Codes) or not model.has_closed_kl:
        return q
    return *q, posterior.kl_to_standard(q).sum(dim=-1)


def _decode(model: LatentVariableModel, z: Tensor) -> tuple[Tensor, ...]:
    """z -> parameters of p(x | z), and its mean in units of levels."""
    parameters = model.decode(z)
    return parameters, model.observation.mean(parameters)


def _draw(model: LatentVariableModel, z: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    """z, uniform or normal noise for each value -> x ~ p(x | z), log p(x | z) in nats."""
    parameters = model.decode(z)
    x = model.observation.draw(parameters, noise)
    return x, model.observation.log_prob(parameters, x)


def _prior(model: LatentVariableModel, noise: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    """Noise, a uniform if the prior is a mixture, a temperature -> z, log p(z) in nats."""
    *u, temperature = rest
    prior = model.prior
    assert prior is not None
    z = prior.draw(noise[:, None], u[0][:, None] if u else None, temperature)
    return z[:, 0], prior.log_prob(z)[:, 0]


def _log_likelihood(model: LatentVariableModel, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    """Events, k latents of each -> log p(x | z) in nats."""
    return (model.log_likelihood(x, z),)


def _log_weights(model: LatentVariableModel, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    """Events, parameters of q, noise -> log p(x | z), log p(z), log q(z | x) in nats."""
    *q, noise = rest
    return model.log_weights(x, tuple(q), noise)


_FORWARD: Mapping[LatentGraphName, Forward] = {
    "encode": _encode,
    "decode": _decode,
    "draw": _draw,
    "prior": _prior,
    "log_likelihood": _log_likelihood,
    "log_weights": _log_weights,
}


_LONGEST: Mapping[str, int] = {"b": 2**20, "k": 2**20}


class LatentProgram(Program):
    """The program of one graph of a model."""

    def __init__(self, model: LatentVariableModel, graph: LatentGraphName) -> None:
        super().__init__()
        self.model: LatentVariableModel = model
        self.graph: LatentGraphName = graph

    @property
    def longest(self) -> Mapping[str, int]:
        return _LONGEST

    @property
    def signature(self) -> GraphSignature:
        posterior, prior = self.model.posterior, self.model.prior
        tensors = LatentTensors(
            length=self.model.data.length,
            continuous=self.model.observation.continuous,
            shape=self.model.latent_shape,
            codes=isinstance(posterior, Codes),
            posterior=tuple(zip(posterior.names, posterior.shapes, strict=True)),
            observation=self.model.observation.shape,
            chooses=prior is not None and prior.chooses,
            closed_kl=self.model.has_closed_kl,
        )
        return tensors.signature(self.graph)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return _FORWARD[self.graph](self.model, *tensors)


class Every(Program):
    """All graphs of a model in one pass, with names `graph.name`; traced once, then cut."""

    def __init__(self, model: LatentVariableModel, names: tuple[LatentGraphName, ...]) -> None:
        super().__init__()
        self.model: LatentVariableModel = model
        # A plain dict: as submodules they would change the names of the model's weights.
        self.parts = {name: LatentProgram(model, name) for name in names}

    @property
    def longest(self) -> Mapping[str, int]:
        return _LONGEST

    @property
    def signature(self) -> GraphSignature:
        inputs: list[TensorSpec] = []
        outputs: list[TensorSpec] = []
        for name, part in self.parts.items():
            given = part.signature
            for specs, found in ((given.inputs, inputs), (given.outputs, outputs)):
                found += [e.model_copy(update={"name": f"{name}.{e.name}"}) for e in specs]
        return GraphSignature(inputs=tuple(inputs), outputs=tuple(outputs))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        outputs: list[Tensor] = []
        for part in self.parts.values():
            count = len(part.signature.inputs)
            given, tensors = tensors[:count], tensors[count:]
            outputs += part(*given)
        return tuple(outputs)


def latent_graphs_of(model: LatentVariableModel) -> tuple[LatentGraphName, ...]:
    """Return the graphs of a model; those that need a prior exist only if the model has its own."""
    needs = {"prior", "log_weights"} if model.prior is None else set()
    return tuple(name for name in LATENT_GRAPH_NAMES if name not in needs)
