"""The programs of a latent variable model. None draws: noise is an input of each that needs it."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from ancestral.latent_tensors import LATENT_GRAPH_NAMES, LatentGraphName, LatentTensors
from ancestral.signature import GraphSignature, TensorSpec
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.posteriors import Codes
from ancestral.train.models.program import Program


class LatentProgram(Program):
    """What all of them share."""

    graph: ClassVar[LatentGraphName]
    """Its name."""

    def __init__(self, model: LatentVariableModel) -> None:
        super().__init__()
        self.model: LatentVariableModel = model

    @property
    def longest(self) -> Mapping[str, int]:
        return {"b": 2**20, "k": 2**20}

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


class Encode(LatentProgram):
    """x -> parameters of q(z | x); and KL(q || p) in nats where it has a closed form."""

    graph = "encode"

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        q = self.model.encode(x)
        posterior = self.model.posterior
        if isinstance(posterior, Codes) or not self.model.has_closed_kl:
            return q
        return *q, posterior.kl_to_standard(q).sum(dim=-1)


class Decode(LatentProgram):
    """z -> parameters of p(x | z), and its mean in units of levels."""

    graph = "decode"

    def forward(self, z: Tensor) -> tuple[Tensor, ...]:
        parameters = self.model.decode(z)
        return parameters, self.model.observation.mean(parameters)


class Draw(LatentProgram):
    """z, and uniform or normal noise for each value -> x ~ p(x | z), log p(x | z) in nats."""

    graph = "draw"

    def forward(self, z: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        parameters = self.model.decode(z)
        x = self.model.observation.draw(parameters, noise)
        return x, self.model.observation.log_prob(parameters, x)


class DrawPrior(LatentProgram):
    """Noise, a uniform where the prior is a mixture, and a temperature -> z, log p(z) in nats."""

    graph = "prior"

    def forward(self, noise: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        *u, temperature = rest
        prior = self.model.prior
        assert prior is not None
        z = prior.draw(noise[:, None], u[0][:, None] if u else None, temperature)
        return z[:, 0], prior.log_prob(z)[:, 0]


class LogLikelihood(LatentProgram):
    """Events, and k latents of each -> log p(x | z) in nats."""

    graph = "log_likelihood"

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        return (self.model.log_likelihood(x, z),)


class LogWeights(LatentProgram):
    """Events, parameters of q and noise -> log p(x | z), log p(z), log q(z | x) in nats."""

    graph = "log_weights"

    def forward(self, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        *q, noise = rest
        return self.model.log_weights(x, tuple(q), noise)


class Every(LatentProgram):
    """All graphs of a model in one pass: names are `graph.name`. It is traced once, then cut."""

    def __init__(self, model: LatentVariableModel, names: tuple[LatentGraphName, ...]) -> None:
        super().__init__(model)
        # A plain mapping: as submodules they would name the model's weights anew.
        self.parts = {name: build_latent(name, model) for name in names}

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
    """The graphs that a model can have: without a prior of its own, none that needs one."""
    needs = {"prior", "log_weights"} if model.prior is None else set()
    return tuple(name for name in LATENT_GRAPH_NAMES if name not in needs)


def build_latent(name: LatentGraphName, model: LatentVariableModel) -> LatentProgram:
    """The program of that name over a model."""
    match name:
        case "encode":
            return Encode(model)
        case "decode":
            return Decode(model)
        case "draw":
            return Draw(model)
        case "prior":
            return DrawPrior(model)
        case "log_likelihood":
            return LogLikelihood(model)
        case "log_weights":
            return LogWeights(model)
