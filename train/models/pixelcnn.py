"""Gated PixelCNN: causal convolutions in two dimensions, in a vertical and a horizontal stack.

The vertical stack sees the rows above, and the horizontal stack sees the earlier values of the row.
Together they see all earlier values, without a blind spot. No weights are masked: each kernel
covers only the values that it may see. The channels of a pixel are neighbouring columns, so they
are drawn one after another, each given the earlier ones; a kernel that is k pixels wide spans k
columns per channel.

A step computes one position of every layer. The horizontal stack is at the position that is drawn.
Layer l of the vertical stack reads columns to its right, whose features would not exist yet. It
therefore runs ahead, by as many columns as all later layers reach to the right. This is possible
because it depends only on the rows above (docs/decisions/0006). Features of the first row are zero,
since there are no rows above.

References:
    van den Oord et al. (2016), Conditional image generation with PixelCNN decoders,
    arXiv:1606.05328, sections 2.1 and 2.2. Ramachandran et al. (2017), arXiv:1704.06001 (caches).
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, final

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.signature import CacheEntry
from ancestral.train.models.autoregressive import Cache, Events, Extended, Label, Positions, Tokens
from ancestral.train.models.configuration import LARGEST, Count, configuration
from ancestral.train.models.inputs import checked_label
from ancestral.train.models.layers import LastProjection, Linear, dropout, embedding, gated
from ancestral.train.models.network import ConfiguredNetwork, NetworkConfig, ring_entry
from ancestral.train.models.patch_convolution import PatchConvolution
from ancestral.triton_kernels.ring import ring

Kernel = Annotated[int, Field(ge=3, le=LARGEST)]


@configuration
class PixelCNNConfig(NetworkConfig):
    """Configuration of a PixelCNN; the attributes of `NetworkConfig` apply too.

    Attributes:
        positions: whether each position has a learned vector.
        layers: number of layers.
        first_kernel: height and width of the first layer's kernel, in pixels; odd, at least 3.
        kernel: height and width of the other layers' kernels, in pixels; odd, at least 3.
        hidden: width of the hidden layer before the output.

    Raises:
        InvalidInput: a value is out of range, or a kernel is even.
    """

    positions: bool = True
    layers: Count = 7
    first_kernel: Kernel = 7
    kernel: Kernel = 3
    hidden: Count = 128

    def problems(self) -> Iterator[str]:
        """Yield a line for each kernel that is even."""
        for name, size in (("first_kernel", self.first_kernel), ("kernel", self.kernel)):
            if size % 2 == 0:
                yield f"{name}: expected an odd number, got {size}"


class _Given(nn.Module):
    """Adds vectors of the label and the channel before a gate."""

    def __init__(self, width: int, classes: int, channels: int) -> None:
        super().__init__()
        self.channels, scale = channels, width**-0.5
        self.label = embedding(classes, width, scale) if classes else None
        self.channel = embedding(channels, width, scale) if channels > 1 else None

    def forward(
        self, x: Float[Tensor, "b s d"], label: Label, sites: Int64[Tensor, "#b s"]
    ) -> Float[Tensor, "b s d"]:
        """Return x with these vectors added, without any other operation."""
        if self.label is not None and label is not None:
            x = x + self.label(label)[:, None]
        return x if self.channel is None else x + self.channel(sites % self.channels)


class _Layer(nn.Module):
    """One layer of both stacks."""

    def __init__(
        self, config: PixelCNNConfig, first: bool, columns: int, channels: int, classes: int
    ) -> None:
        super().__init__()
        reach = (config.first_kernel if first else config.kernel) // 2
        d, right = config.width, reach * channels
        above = range(-reach, 0) if first else range(-reach, 1)
        self.vertical = PatchConvolution(d, 2 * d, above, range(-right, right + 1), columns)
        before = range(-right, 0 if first else 1)
        self.horizontal = PatchConvolution(d, 2 * d, range(1), before, columns)
        self.link = Linear(2 * d, 2 * d, bias=False)
        self.out = Linear(d, d, scale=config.layers**-0.5)
        self.given_v = _Given(2 * d, classes, channels)
        self.given_h = _Given(2 * d, classes, channels)
        self.right = right

    def mixed(
        self, h: Float[Tensor, "*b dd"], residual: Float[Tensor, "*b d"] | None
    ) -> Float[Tensor, "*b d"]:
        """Return the horizontal features after the gate."""
        h = self.out(gated(h))
        return h if residual is None else residual + h


@final
class PixelCNN(ConfiguredNetwork):
    """Gated PixelCNN over images [height, width] or [height, width, channels], in raster order.

    References:
        van den Oord et al. (2016), arXiv:1606.05328, sections 2.1 and 2.2.
    """

    takes_blocks = False
    takes_prefixes = False
    layers: Sequence[_Layer]

    def __init__(self, config: PixelCNNConfig, data: DataSpec) -> None:
        """Draw fresh weights from torch's global generator.

        Args:
            config: shape of the network.
            data: space of the events.

        Raises:
            InvalidInput: the events are not images in raster order, or too narrow for the vertical
                stack to run ahead.
        """
        super().__init__(config, data)
        if len(data.event_shape) not in {2, 3} or data.ordering != "raster":
            raise InvalidInput(
                f"pixelcnn: expected images [height, width] or [height, width, channels] in raster "
                f"order, got {data.event_shape} in order {data.ordering}"
            )
        height, width, channels = (*data.event_shape, 1)[:3]
        right = config.first_kernel // 2 + (config.layers - 1) * (config.kernel // 2)
        if right >= width:
            raise InvalidInput(
                f"pixelcnn: expected layers that together reach fewer than {width} pixels, the "
                f"width of a row, to the right, got {right}; use fewer layers or smaller kernels"
            )
        self.config = config
        self.rows, self.columns = height, width * channels
        d = config.width
        self.token = embedding(data.levels, d, d**-0.5)
        self.position = embedding(data.length, d, d**-0.5) if config.positions else None
        self.layers = nn.ModuleList(  # type: ignore[assignment]
            _Layer(config, i == 0, self.columns, channels, self.classes)
            for i in range(config.layers)
        )
        reaches = [layer.right for layer in self.layers]
        self.ahead = [sum(reaches[i + 1 :]) for i in range(config.layers)]
        self.hidden = Linear(d, config.hidden)
        self.head = LastProjection(config.hidden, self.likelihood)

    @property
    def cache_spec(self) -> tuple[CacheEntry, ...]:
        """Ring buffers of values, of each layer's features, and of the links between the stacks."""
        d, layers = self.config.width, self.config.layers
        lengths = {"pixels": (1 - min(self._value_offsets()), d)}
        for i in range(layers - 1):
            following = self.layers[i + 1]
            lengths[f"v_{i}"] = (1 - min(self._vertical_offsets(i + 1)), d)
            lengths[f"h_{i}"] = (1 + following.right, d)
            lengths[f"link_{i}"] = (1 + self.ahead[i], 2 * d)
        return tuple(ring_entry(name, *size) for name, size in lengths.items())

    def _vertical_offsets(self, layer: int) -> list[int]:
        """Return where a vertical layer reads the one before, relative to what that wrote last."""
        read = self.layers[layer]
        return [offset - read.right for offset in read.vertical.offsets]

    def _value_offsets(self) -> list[int]:
        """Return where both stacks' first layer reads values, relative to the last one written.

        The value before position p is written at p, so the value of site n is at n + 1.
        """
        first = self.layers[0]
        ahead = self.ahead[0] + 1
        vertical = [offset + ahead for offset in first.vertical.offsets]
        return vertical + [offset + 1 for offset in first.horizontal.offsets]

    def predict(self, x: Events, label: Label) -> Float[Tensor, "b t p"]:
        """Predict all positions by convolutions over whole images."""
        label = checked_label(label, self.data)
        sites = torch.arange(self.data.length, device=x.device)[None]
        h = v = self._embed(x, sites)
        first_row = (sites < self.columns)[..., None]
        for i, layer in enumerate(self.layers):
            mixed = layer.given_v(self._over_grid(layer.vertical, v), label, sites)
            mixed = torch.where(first_row, 0.0, mixed)
            inner = self._over_grid(layer.horizontal, h) + layer.link(mixed)
            h = layer.mixed(layer.given_h(inner, label, sites), h if i else None)
            v = gated(mixed)
        return self._output(h)

    def extend(self, tokens: Tokens, position: Positions, cache: Cache, label: Label) -> Extended:
        """Compute one position of every layer, the vertical stack ahead of the horizontal one."""
        new, label = dict(cache), checked_label(label, self.data)

        def keep(name: str, value: Tensor, offsets: list[int]) -> Tensor:
            read, new[name] = ring(cache[name], value, position, offsets)
            return read

        e = self._embed(tokens, (position - 1).clamp_min(0)[:, None])
        e = torch.where((position == 0)[:, None, None], 0.0, e)
        read = keep("pixels", e, self._value_offsets())
        count = len(self.layers[0].vertical.offsets)
        above, before = read[:, :count], read[:, count:]
        h: Tensor | None = None
        for i, layer in enumerate(self.layers):
            here = position[:, None]
            site = here + self.ahead[i]
            mixed = layer.given_v(layer.vertical.at(above, site % self.columns), label, site)
            first_row = site[..., None] < self.columns
            linked = torch.where(first_row, 0.0, layer.link(mixed))
            if self.ahead[i]:
                linked = keep(f"link_{i}", linked, [-self.ahead[i]])
            inner = layer.horizontal.at(before, here % self.columns) + linked
            h = layer.mixed(layer.given_h(inner, label, here), h)
            if i + 1 < len(self.layers):
                v = torch.where(first_row, 0.0, gated(mixed))
                above = keep(f"v_{i}", v, self._vertical_offsets(i + 1))
                before = keep(f"h_{i}", h, list(self.layers[i + 1].horizontal.offsets))
        assert h is not None
        return self._output(h), new

    def _embed(
        self, x: Int64[Tensor, "b s"], sites: Int64[Tensor, "#b s"]
    ) -> Float[Tensor, "b s d"]:
        """Return the vectors of values at their sites."""
        e = self.token(x)
        return e if self.position is None else e + self.position(sites)

    def _over_grid(
        self, convolution: PatchConvolution, x: Float[Tensor, "b t d"]
    ) -> Float[Tensor, "b t e"]:
        x = dropout(x, self.config.dropout, self.training)
        return convolution.parallel(x.unflatten(1, (self.rows, self.columns))).flatten(1, 2)

    def _output(self, h: Float[Tensor, "b s d"]) -> Float[Tensor, "b s p"]:
        return self.head(self.hidden(h.relu()).relu())
