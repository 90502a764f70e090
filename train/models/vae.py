"""Variational autoencoders: perceptrons or convolutions around a vector of latents.

References:
    Kingma and Welling (2014), Auto-encoding variational Bayes, arXiv:1312.6114.
"""

import copy
from dataclasses import dataclass, replace
from typing import Literal, final, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.models.bodies import (
    ConvEncoder,
    ImageDecoder,
    ImageShape,
    Scales,
    Upsample,
    perceptron,
    scaled,
)
from ancestral.train.models.decoder_head import (
    DecoderHead,
    ObservationConfig,
    observation,
)
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.layers import Linear
from ancestral.train.models.posteriors import Diagonal, Full, Parameters, Posterior
from ancestral.train.models.priors import (
    Mixture,
    MixturePrior,
    Prior,
    PseudoInputs,
    StandardNormal,
)

Body = Literal["mlp", "conv"]
PosteriorName = Literal["diagonal", "full"]
PriorName = Literal["standard", "mixture", "vamp"]
Activation = Literal["relu", "silu", "tanh"]


@dataclass(frozen=True, slots=True)
class VAEConfig(ObservationConfig):
    """Shape of the network, and p(x | z).

    Attributes:
        body: mlp or conv.
        widths: mlp: hidden layers of the encoder, the decoder has them in reverse; none leaves
            linear maps. conv: channels of each scale.
        latent: dimensions of z.
        activation: of an mlp; convolutions have SiLU.
        blocks: conv: residual blocks at each scale.
        upsample: conv: transposed, or resize and convolve.
        dropout: in hidden layers and blocks.
        posterior: diagonal, or full covariance.
        prior: standard normal, mixture of Gaussians, or VampPrior.
        prior_components: of the last two.

    Raises:
        InvalidInput: a value outside its range, or a VampPrior beside a full covariance.
    """

    body: Body = "mlp"
    widths: tuple[int, ...] = (400,)
    latent: int = 20
    activation: Activation = "relu"
    blocks: int = 1
    upsample: Upsample = "transposed"
    dropout: float = 0.0
    posterior: PosteriorName = "diagonal"
    prior: PriorName = "standard"
    prior_components: int = 64

    def __post_init__(self) -> None:
        ObservationConfig.__post_init__(self)
        for name, kind in (
            ("body", Body),
            ("activation", Activation),
            ("upsample", Upsample),
            ("posterior", PosteriorName),
            ("prior", PriorName),
        ):
            if getattr(self, name) not in get_args(kind):
                raise InvalidInput(
                    f"VAEConfig.{name}: expected one of {get_args(kind)}, "
                    f"got {getattr(self, name)!r}"
                )
        counts = (*self.widths, self.latent, self.prior_components)
        if min(counts) < 1 or self.blocks < 0 or not 0 <= self.dropout < 1:
            raise InvalidInput(
                f"VAEConfig: expected widths, latent and prior_components >= 1, blocks >= 0 and "
                f"dropout in [0, 1), got {self}"
            )
        if self.body == "conv" and not self.widths:
            raise InvalidInput("VAEConfig.widths: expected at least one scale, got none")
        if self.prior == "vamp" and self.posterior == "full":
            raise InvalidInput(
                "VAEConfig.prior: expected a diagonal posterior beside a VampPrior, which is a "
                "mixture of posteriors, got a full covariance"
            )

    @property
    def scales(self) -> Scales:
        """The convolutions."""
        return Scales(self.widths, self.blocks, self.upsample, self.dropout)


@final
class VAE(LatentVariableModel):
    """z is a vector [d]."""

    def __init__(self, config: VAEConfig, data: DataSpec) -> None:
        """Fresh weights.

        Raises:
            InvalidInput: the data have labels, or do not suit the body or the likelihood.
        """
        super().__init__()
        if data.num_classes is not None:
            raise InvalidInput("VAE: expected data without labels: Dataset.without_labels")
        if data.levels < 2:
            raise InvalidInput(f"VAE: expected data of at least 2 levels, got {data.levels}")
        self.config = config
        self.data = data
        self.latent_shape = (config.latent,)
        self.observation = observation(config, data)
        self.posterior: Posterior = (
            Diagonal((config.latent,)) if config.posterior == "diagonal" else Full(config.latent)
        )
        head = DecoderHead(config, self.observation)
        if config.body == "mlp":
            self.encoder: nn.Module = _MLPEncoder(config, data.length, self.posterior.features)
            self.decoder: nn.Module = _MLPDecoder(config, self.observation.shape[0], head.width)
        else:
            image = ImageShape.of(data.event_shape)
            self.encoder = _ImageEncoder(config, image, self.posterior.features)
            self.decoder = _ImageDecoder(config, image, self.observation.shape[0], head.width)
        self.head = head
        if config.prior == "mixture":
            self.mixture = MixturePrior(config.prior_components, config.latent)
        if config.prior == "vamp":
            self.pseudo_inputs = PseudoInputs(config.prior_components, data.length)

    @property
    def prior(self) -> Prior:
        """The VampPrior encodes its pseudo-inputs at each call."""
        match self.config.prior:
            case "standard":
                return StandardNormal()
            case "mixture":
                return self.mixture()
            case "vamp":
                pseudo = self.pseudo_inputs()
                mean, log_scale = self.posterior.from_features(self.encoder(pseudo))
                return Mixture(torch.zeros_like(pseudo[:, 0]), mean, log_scale)

    def encode(self, x: Tensor) -> Parameters:
        like = next(self.encoder.parameters())
        return self.posterior.from_features(self.encoder(scaled(x, self.data.levels, like)))

    def decode(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b n p"]:
        return self.head(self.decoder(z))

    @torch.no_grad()
    def resolved(self) -> "VAE":
        """The same distribution with a prior that no encoder is needed for: a mixture.

        A VampPrior's components are the posteriors of its pseudo-inputs, taken here once.
        """
        if self.config.prior != "vamp":
            return self
        prior = self.prior
        assert isinstance(prior, Mixture)
        model = copy.deepcopy(self)
        model.config = replace(self.config, prior="mixture")
        del model.pseudo_inputs
        model.mixture = MixturePrior(self.config.prior_components, self.config.latent)
        for name in ("logits", "mean", "log_scale"):
            getattr(model.mixture, name).copy_(getattr(prior, name))
        return model.train(self.training)


class _MLPEncoder(nn.Module):
    def __init__(self, config: VAEConfig, length: int, features: int) -> None:
        super().__init__()
        widths = (length, *config.widths, features)
        self.layers = perceptron(widths, _activation(config.activation), config.dropout)

    def forward(self, x: Float[Tensor, "b t"]) -> Float[Tensor, "b f"]:
        return self.layers(x)


class _MLPDecoder(nn.Module):
    def __init__(self, config: VAEConfig, groups: int, numbers: int) -> None:
        super().__init__()
        self.shape = (groups, numbers)
        widths = (config.latent, *config.widths[::-1], groups * numbers)
        self.layers = perceptron(widths, _activation(config.activation), config.dropout)

    def forward(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b n p"]:
        return self.layers(z).unflatten(-1, self.shape)


class _ImageEncoder(nn.Module):
    def __init__(self, config: VAEConfig, image: ImageShape, features: int) -> None:
        super().__init__()
        height, width = config.scales.grid(image)
        self.image = image
        self.body = ConvEncoder(image.channels, config.scales)
        self.out = Linear(config.widths[-1] * height * width, features, wide=True)

    def forward(self, x: Float[Tensor, "b t"]) -> Float[Tensor, "b f"]:
        return self.out(self.body(self.image.planes(x)).flatten(1))


class _ImageDecoder(nn.Module):
    def __init__(self, config: VAEConfig, image: ImageShape, groups: int, numbers: int) -> None:
        super().__init__()
        self.grid = (config.widths[-1], *config.scales.grid(image))
        self.into = Linear(config.latent, self.grid[0] * self.grid[1] * self.grid[2])
        self.body = ImageDecoder(image, config.scales, groups, numbers)

    def forward(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b n p"]:
        return self.body(self.into(z).unflatten(-1, self.grid))


def _activation(name: Activation) -> nn.Module:
    match name:
        case "relu":
            return nn.ReLU()
        case "silu":
            return nn.SiLU()
        case "tanh":
            return nn.Tanh()
