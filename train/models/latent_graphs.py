"""The programs of a latent variable model. None draws: noise is an input of each that needs it."""

from collections.abc import Callable, Mapping
from typing import Literal, get_args

from torch import Tensor

from ancestral.signature import Dtype, GraphSignature, TensorSpec
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.posteriors import Codes
from ancestral.train.models.program import Program

LatentGraphName = Literal["encode", "decode", "draw", "prior", "log_likelihood", "log_weights"]
LATENT_GRAPH_NAMES: tuple[LatentGraphName, ...] = get_args(LatentGraphName)


def floats(name: str, *axes: str | int) -> TensorSpec:
    """A tensor of float32."""
    return TensorSpec(name=name, dtype="float32", axes=axes)


class LatentProgram(Program):
    """What all of them share."""

    def __init__(self, model: LatentVariableModel) -> None:
        super().__init__()
        self.model: LatentVariableModel = model

    @property
    def longest(self) -> Mapping[str, int]:
        return {"b": 2**20, "k": 2**20}

    def _x(self) -> TensorSpec:
        dtype: Dtype = "float32" if self.model.observation.continuous else "int64"
        return TensorSpec(name="x", dtype=dtype, axes=("b", self.model.data.length))

    def _latent(self, name: str, *axes: str | int) -> TensorSpec:
        dtype: Dtype = "int64" if isinstance(self.model.posterior, Codes) else "float32"
        return TensorSpec(name=name, dtype=dtype, axes=axes)

    def _z(self, *axes: str) -> TensorSpec:
        return self._latent("z", *axes, *self.model.latent_shape)

    def _q(self) -> tuple[TensorSpec, ...]:
        posterior = self.model.posterior
        named = zip(posterior.names, posterior.shapes, strict=True)
        return tuple(self._latent(name, "b", *shape) for name, shape in named)


class Encode(LatentProgram):
    """x -> parameters of q(z | x); and KL(q || p) in nats where it has a closed form."""

    @property
    def signature(self) -> GraphSignature:
        kl = (floats("kl", "b"),) if self.model.has_closed_kl else ()
        return GraphSignature(inputs=(self._x(),), outputs=(*self._q(), *kl))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        q = self.model.encode(x)
        posterior = self.model.posterior
        if isinstance(posterior, Codes) or not self.model.has_closed_kl:
            return q
        return *q, posterior.kl_to_standard(q).sum(dim=-1)


class Decode(LatentProgram):
    """z -> parameters of p(x | z), and its mean in units of levels."""

    @property
    def signature(self) -> GraphSignature:
        parameters = floats("parameters", "b", *self.model.observation.shape)
        mean = floats("x_mean", "b", self.model.data.length)
        return GraphSignature(inputs=(self._z("b"),), outputs=(parameters, mean))

    def forward(self, z: Tensor) -> tuple[Tensor, ...]:
        parameters = self.model.decode(z)
        return parameters, self.model.observation.mean(parameters)


class Draw(LatentProgram):
    """z, and uniform or normal noise for each value -> x ~ p(x | z), log p(x | z) in nats."""

    @property
    def signature(self) -> GraphSignature:
        x = self._x()
        noise = floats("noise" if self.model.observation.continuous else "u", *x.axes)
        return GraphSignature(
            inputs=(self._z("b"), noise), outputs=(x, floats("log_likelihood", "b"))
        )

    def forward(self, z: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        parameters = self.model.decode(z)
        x = self.model.observation.draw(parameters, noise)
        return x, self.model.observation.log_prob(parameters, x)


class DrawPrior(LatentProgram):
    """Noise, a uniform where the prior is a mixture, and a temperature -> z, log p(z) in nats."""

    @property
    def signature(self) -> GraphSignature:
        noise = floats("noise", "b", *self.model.latent_shape)
        u = (floats("u", "b"),) if self.model.own_prior.chooses else ()
        return GraphSignature(
            inputs=(noise, *u, floats("temperature", "b")),
            outputs=(self._z("b"), floats("log_prior", "b")),
        )

    def forward(self, noise: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        *u, temperature = rest
        prior = self.model.own_prior
        z = prior.draw(noise[:, None], u[0][:, None] if u else None, temperature)
        return z[:, 0], prior.log_prob(z)[:, 0]


class LogLikelihood(LatentProgram):
    """Events, and k latents of each -> log p(x | z) in nats."""

    @property
    def signature(self) -> GraphSignature:
        return GraphSignature(
            inputs=(self._x(), self._z("b", "k")),
            outputs=(floats("log_likelihood", "b", "k"),),
        )

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        return (self.model.log_likelihood(x, z),)


class LogWeights(LatentProgram):
    """Events, parameters of q and noise -> log p(x | z), log p(z), log q(z | x) in nats."""

    @property
    def signature(self) -> GraphSignature:
        noise = floats("noise", "b", "k", *self.model.latent_shape)
        names = ("log_likelihood", "log_prior", "log_posterior")
        return GraphSignature(
            inputs=(self._x(), *self._q(), noise),
            outputs=tuple(floats(name, "b", "k") for name in names),
        )

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
        return GraphSignature(inputs=self._named("inputs"), outputs=self._named("outputs"))

    def _named(self, side: Literal["inputs", "outputs"]) -> tuple[TensorSpec, ...]:
        """The tensors of all parts on one side, each named after its graph."""
        return tuple(
            each.model_copy(update={"name": f"{name}.{each.name}"})
            for name, part in self.parts.items()
            for each in getattr(part.signature, side)
        )

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
    return _PROGRAMS[name](model)


_PROGRAMS: Mapping[LatentGraphName, Callable[[LatentVariableModel], LatentProgram]] = {
    "encode": Encode,
    "decode": Decode,
    "draw": Draw,
    "prior": DrawPrior,
    "log_likelihood": LogLikelihood,
    "log_weights": LogWeights,
}
