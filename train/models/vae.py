"""Variational autoencoders of perceptrons or convolutions; z is a vector.

References:
    Kingma and Welling (2014), Auto-encoding variational Bayes, arXiv:1312.6114.
"""

import copy
import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.models.bodies import ImageDecoder, ImageEncoder, perceptron, scaled
from ancestral.train.models.configuration import Count, configuration
from ancestral.train.models.decoder import DecoderConfig, DecoderOutput, ImageShape, observation
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.layers import CastingLinear, WideLinear
from ancestral.train.models.posteriors import Diagonal, Full, Parameters, Posterior
from ancestral.train.models.priors import Mixture, MixturePrior, Prior, PseudoInputs, StandardNormal

_ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


@configuration
class VAEConfig(DecoderConfig):
    """Configuration of a VAE, and of its p(x | z); the attributes of `DecoderConfig` apply too.

    Attributes:
        body: "mlp" (perceptrons) or "conv" (convolutions).
        widths: for mlp, widths of the encoder's hidden layers, which the decoder has in reverse
            order; () makes both linear. For conv, channels of each scale.
        latent: number of dimensions of z.
        activation: activation of an mlp; convolutions use SiLU.
        posterior: "diagonal" or "full" covariance.
        prior: "standard" (normal), "mixture" (of Gaussians) or "vamp" (VampPrior).
        prior_components: number of components of a mixture or a VampPrior.

    Raises:
        InvalidInput: a value is out of range, or fields contradict each other.

    References:
        Kingma and Welling (2014), arXiv:1312.6114. Tomczak and Welling (2018), arXiv:1705.07120
        (VampPrior).
    """

    widths: tuple[Count, ...] = (400,)
    body: Literal["mlp", "conv"] = "mlp"
    latent: Count = 20
    activation: Literal["relu", "silu", "tanh"] = "relu"
    posterior: Literal["diagonal", "full"] = "diagonal"
    prior: Literal["standard", "mixture", "vamp"] = "standard"
    prior_components: Count = 64

    def problems(self) -> Iterator[str]:
        """Yield a line for each contradiction between fields."""
        yield from DecoderConfig.problems(self)
        if self.body == "conv" and not self.widths:
            yield "widths: expected at least one scale, got ()"
        if self.prior == "vamp" and self.posterior == "full":
            yield (
                "posterior: expected 'diagonal' with the prior 'vamp', which is a mixture of "
                "posteriors, got 'full'"
            )


@final
class VAE(LatentVariableModel):
    """A variational autoencoder; z is a vector [d].

    References:
        Kingma and Welling (2014), arXiv:1312.6114.
    """

    def __init__(self, config: VAEConfig, data: DataSpec) -> None:
        """Initialise the weights at random, with torch's global generator.

        Args:
            config: shape of the network, and p(x | z).
            data: space of the events, without labels.

        Raises:
            InvalidInput: the data have labels, or do not suit the body or the likelihood.
        """
        super().__init__()
        if data.num_classes is not None:
            raise InvalidInput("VAE: expected data without labels; use Dataset.without_labels()")
        if data.levels < 2:
            raise InvalidInput(f"VAE: expected data of at least 2 levels, got {data.levels}")
        self.config, self.data = config, data
        self.latent_shape = (config.latent,)
        self.observation = observation(config, data)
        self.posterior: Posterior = (
            Diagonal((config.latent,)) if config.posterior == "diagonal" else Full(config.latent)
        )
        head = DecoderOutput(config, self.observation)
        groups, features = self.observation.shape[0], self.posterior.features
        if config.body == "mlp":
            activation, dropout = _ACTIVATIONS[config.activation], config.dropout
            widths = (data.length, *config.widths, features)
            layers = perceptron(widths, activation, dropout)
            self.encoder: nn.Module = nn.Sequential(OrderedDict(layers=layers))
            widths = (config.latent, *config.widths[::-1], groups * head.width)
            layers = perceptron(widths, activation, dropout)
            split = nn.Unflatten(-1, (groups, head.width))
            self.decoder: nn.Module = nn.Sequential(OrderedDict(layers=layers, split=split))
        else:
            image = ImageShape.of(data.event_shape)
            grid = (config.widths[-1], *config.grid(image))
            self.encoder = nn.Sequential(
                OrderedDict(
                    body=ImageEncoder(image, config),
                    flat=nn.Flatten(),
                    out=WideLinear(math.prod(grid), features),
                )
            )
            self.decoder = nn.Sequential(
                OrderedDict(
                    into=CastingLinear(config.latent, math.prod(grid)),
                    grid=nn.Unflatten(-1, grid),
                    body=ImageDecoder(image, config, groups, head.width),
                )
            )
        self.head = head
        if config.prior == "mixture":
            self.mixture = MixturePrior(config.prior_components, config.latent)
        if config.prior == "vamp":
            self.pseudo_inputs = PseudoInputs(config.prior_components, data.length)

    @property
    def prior(self) -> Prior:
        """The prior; a VampPrior encodes its pseudo-inputs at each call."""
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
        """Return a model of the same distribution whose prior does not need the encoder.

        A VampPrior becomes the mixture of the posteriors of its pseudo-inputs. A model with another
        prior is returned as it is.
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
