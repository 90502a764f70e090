"""A VQ-VAE: an image becomes a grid of codes, each the nearest one of a learned codebook.

The encoder is deterministic, so for any prior p(z) over codes log p(x) >= log p(x | z) + log p(z)
at z = encode(x). The prior is a separate autoregressive model, which is trained afterwards.

References:
    van den Oord, Vinyals, Kavukcuoglu (2017), Neural discrete representation learning,
    arXiv:1711.00937, section 3 and appendix A.1 (the codebook as a moving average).
    Razavi, van den Oord, Vinyals (2019), VQ-VAE-2, arXiv:1906.00446.
"""

import math
from typing import Annotated, NamedTuple, final

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.models.bodies import ImageDecoder, ImageEncoder, scaled
from ancestral.train.models.configuration import Count, NotNegative, Rate, configuration
from ancestral.train.models.decoder import DecoderConfig, DecoderOutput, ImageShape, observation
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.layers import CastingConv2d, WideConv2d
from ancestral.train.models.posteriors import Codes, Parameters

_LEAST_COUNT = 0.03
"""Moving average of assignments per step below which a code is dead."""


@configuration
class VQVAEConfig(DecoderConfig):
    """Configuration of a VQ-VAE, and of its p(x | z); the attributes of `DecoderConfig` apply too.

    Attributes:
        widths: channels of each scale; the codes form a grid of the last scale's size.
        codes: number of codes.
        code_width: number of features of a code.
        commitment: weight of the distance between the encoder's outputs and their codes.
        decay: decay of the moving averages that form the codebook.

    Raises:
        InvalidInput: a value is out of range, or fields contradict each other.

    References:
        van den Oord et al. (2017), arXiv:1711.00937, section 3 and appendix A.1.
    """

    widths: Annotated[tuple[Count, ...], Field(min_length=1)] = (64, 64)
    codes: Count = 128
    code_width: Count = 16
    commitment: NotNegative = 0.25
    decay: Rate = 0.99


class Quantised(NamedTuple):
    """Parameters of p(x | z), with gradients for encoder and decoder, and the distances to codes.

    Attributes:
        parameters: parameters of p(x | z), [b, n, p].
        distance: squared distance of the encoder's outputs to their codes, summed, [b].
        features: outputs of the encoder, [b, m, w].
        codes: nearest codes, [b, m].
    """

    parameters: Tensor
    distance: Tensor
    features: Tensor
    codes: Tensor


@final
class VQVAE(LatentVariableModel):
    """A VQ-VAE over images; z is a grid of codes, flattened row by row: [m] in 0 .. codes - 1.

    References:
        van den Oord et al. (2017), arXiv:1711.00937, section 3.
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, config: VQVAEConfig, data: DataSpec) -> None:
        """Draw fresh weights from torch's global generator.

        Args:
            config: shape of the network, and p(x | z).
            data: space of the events: images without labels.

        Raises:
            InvalidInput: the data have labels, are not images, or do not suit the likelihood.
        """
        super().__init__()
        if data.num_classes is not None:
            raise InvalidInput(
                "VQVAE: expected data without labels, which only the prior reads; use "
                "Dataset.without_labels()"
            )
        image = ImageShape.of(data.event_shape)
        self.config, self.data = config, data
        self.grid = config.grid(image)
        self.latent_shape = (math.prod(self.grid),)
        self.observation = observation(config, data)
        self.posterior = Codes(self.latent_shape)
        self.encoder = ImageEncoder(image, config)
        self.into = WideConv2d(config.widths[-1], config.code_width, 1)
        self.out = CastingConv2d(config.code_width, config.widths[-1], 1)
        self.head = DecoderOutput(config, self.observation)
        self.decoder = ImageDecoder(image, config, self.observation.shape[0], self.head.width)
        start = torch.randn(config.codes, config.code_width)
        self.register_buffer("codebook", start)
        self.register_buffer("counts", torch.ones(config.codes))
        self.register_buffer("sums", start.clone())

    @property
    def prior(self) -> None:
        """None: the prior is a separate autoregressive model over `code_data`."""
        return None

    @property
    def code_data(self) -> DataSpec:
        """The space of codes, without labels."""
        return DataSpec(
            name=f"{self.data.name} codes", event_shape=self.grid, levels=self.config.codes
        )

    def encode(self, x: Tensor) -> Parameters:
        return (self.distances(x).argmin(dim=-1),)

    def decode(self, z: Int64[Tensor, "b m"]) -> Float[Tensor, "b n p"]:
        return self._decode(self.codebook[z])

    def distances(self, x: Tensor) -> Float[Tensor, "b m c"]:
        """Return the outputs' squared distances to all codes, up to a constant for each output."""
        return self._distances(self._features(x))

    def quantise(self, read: Tensor) -> Quantised:
        """Quantise for training; gradients pass the choice of codes as if it were the identity."""
        features = self._features(read)
        codes = self._distances(features).argmin(dim=-1)
        chosen = self.codebook[codes]
        distance = (features - chosen).square().sum(dim=(1, 2))
        straight = features + (chosen - features).detach()
        return Quantised(self._decode(straight), distance, features, codes)

    @torch.no_grad()
    def follow(self, features: Float[Tensor, "b m w"], codes: Int64[Tensor, "b m"]) -> None:
        """Move codes towards their assigned features; a dead code restarts at a random feature.

        Draws from torch's global generator.
        """
        flat, index, rate = features.flatten(0, 1).float(), codes.flatten(), 1 - self.config.decay
        hits = torch.zeros_like(self.counts).index_add_(0, index, torch.ones_like(flat[:, 0]))
        sums = torch.zeros_like(self.sums).index_add_(0, index, flat)
        self.counts.lerp_(hits, rate)
        self.sums.lerp_(sums, rate)
        restarts = flat[torch.randint(len(flat), (len(self.counts),), device=flat.device)]
        dead = self.counts < _LEAST_COUNT
        self.sums.copy_(torch.where(dead[:, None], restarts, self.sums))
        self.counts.copy_(torch.where(dead, 1.0, self.counts))
        self.codebook.copy_(self.sums / self.counts[:, None])

    def _features(self, x: Tensor) -> Float[Tensor, "b m w"]:
        h = self.encoder(scaled(x, self.data.levels, self.into.weight))
        return self.into(h).flatten(2).transpose(1, 2)

    def _distances(self, features: Float[Tensor, "b m w"]) -> Float[Tensor, "b m c"]:
        half = 0.5 * (self.codebook * self.codebook).sum(dim=-1)
        return 2 * (half - features @ self.codebook.T)

    def _decode(self, chosen: Float[Tensor, "b m w"]) -> Float[Tensor, "b n p"]:
        return self.head(self.decoder(self.out(chosen.transpose(1, 2).unflatten(-1, self.grid))))
