"""The baseline of the steps: a decode loop in plain PyTorch as in gpt-fast, with torch.compile.

A module has static caches, which are written at the position and read whole under a mask. The
network and the draw are one compiled function, in CUDA graphs by mode "reduce-overhead", and Python
runs the steps. All rows are at one position, and a draw is the index of the largest p / e with e
exponential. Both are less work than in our loop, in which each row has its own position and the
noise is a function of the seed and the sample.

References:
    gpt-fast (2023), the decode loop of its generate.py.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from ancestral.errors import InvalidInput
from ancestral.train.models.block import Block
from ancestral.train.models.transformer import Transformer

M = TypeVar("M", bound=nn.Module)
ATTENTIONS: Mapping[str, bool] = {"compiled loop": False, "compiled loop, fused attention": True}
"""Whether attention is PyTorch's fused one, or written out. As gpt-fast found, the compiler's own
kernels for the written-out form may be faster for one query per row."""


class StaticLayer(nn.Module):
    """A block with its own caches, [b, h, T, d]."""

    k_cache: Tensor
    v_cache: Tensor

    def __init__(self, block: Block, rows: int, length: int, fused: bool) -> None:
        super().__init__()
        c, self.fused = block.config, fused
        self.heads, self.d, self.tanh = c.heads, c.head_size, c.activation == "gelu_tanh"
        self.attention_norm, self.feed_norm = _norm(block.attention_norm), _norm(block.feed_norm)
        self.qkv, self.out = _linear(block.qkv), _linear(block.out)
        self.up, self.down = _linear(block.up), _linear(block.down)
        like = self.qkv.weight
        for name in ("k_cache", "v_cache"):
            self.register_buffer(name, like.new_zeros(rows, c.heads, length, c.head_size))

    def forward(self, h: Tensor, position: Tensor, mask: Tensor) -> Tensor:
        """Return the stream [b, 1, d] after the block; keys and values go to `position`."""
        heads = (len(h), 1, self.heads, self.d)
        q, k, v = self.qkv(self.attention_norm(h)).chunk(3, dim=-1)
        q, k, v = (part.view(heads).transpose(1, 2) for part in (q, k, v))
        self.k_cache[:, :, position] = k
        self.v_cache[:, :, position] = v
        if self.fused:
            y = scaled_dot_product_attention(q, self.k_cache, self.v_cache, attn_mask=mask)
        else:
            score = (q @ self.k_cache.mT) * self.d**-0.5
            y = score.masked_fill(~mask, -torch.inf).softmax(dim=-1) @ self.v_cache
        h = h + self.out(y.transpose(1, 2).flatten(2))
        up = gelu(self.up(self.feed_norm(h)), approximate="tanh" if self.tanh else "none")
        return h + self.down(up)


class StaticTransformer(nn.Module):
    """The network for one batch size, with a model's weights in its dtype and on its device."""

    mask: Tensor

    def __init__(self, model: Transformer, rows: int, *, fused: bool) -> None:
        """Copy the weights.

        Args:
            model: model to copy from.
            rows: batch size.
            fused: as in ATTENTIONS.

        Raises:
            InvalidInput: the model is not like GPT-2.
        """
        super().__init__()
        c, inputs, length = model.config, model.inputs, model.data.length
        plain = (c.positions, c.norm, c.bias, c.above) == ("learned", "layer", True, False)
        if not plain or c.heads != c.group_heads or c.activation == "swiglu" or inputs.label:
            raise InvalidInput(f"config: expected a Transformer like GPT-2, got {c}")
        assert inputs.position is not None
        token = inputs.token.weight
        start = token[c.start : c.start + 1] if isinstance(c.start, int) else None
        first = start if inputs.start is None else inputs.start.weight
        assert first is not None
        self.start = model.data.levels
        self.token = nn.Embedding.from_pretrained(torch.cat([token, first]))
        self.position = nn.Embedding.from_pretrained(inputs.position.weight)
        blocks = (block for block in model.blocks if isinstance(block, Block))
        self.layers = nn.ModuleList(StaticLayer(block, rows, length, fused) for block in blocks)
        self.norm = _norm(model.norm)
        if model.head is None:
            made = nn.Linear(*reversed(token.shape), bias=False, device="meta")
            self.head = _filled(made, token, None)
        else:
            self.head = _linear(model.head)
        causal = torch.ones(length, length, dtype=torch.bool, device=token.device).tril()
        self.register_buffer("mask", causal)

    def forward(self, token: Tensor, position: Tensor) -> Tensor:
        """Return the logits [b, v] after a token [b] at a position [1]."""
        h = (self.token(token) + self.position(position))[:, None]
        mask = self.mask[None, None, position]
        for layer in self.layers:
            h = layer(h, position, mask)
        return self.head(self.norm(h))[:, 0]


def decode(model: StaticTransformer, token: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Return the next value of each row and its log-probability in nats, both [b]."""
    log_p = model(token, position).float().log_softmax(dim=-1)
    race = log_p.exp() / torch.empty_like(log_p).exponential_(1)
    value = race.argmax(dim=-1)
    return value, log_p.gather(1, value[:, None])[:, 0]


class StaticLoop:
    """A decode loop whose steps Python runs."""

    def __init__(
        self,
        model: Transformer,
        rows: int,
        compiled: Callable[..., tuple[Tensor, Tensor]],
        *,
        fused: bool,
    ) -> None:
        """Allocate the module and its caches.

        Args:
            model: model in evaluation mode, in the dtype and on the device of the loop.
            rows: batch size.
            compiled: `decode` compiled with torch.compile.
            fused: as in ATTENTIONS.
        """
        self._model, self._decode = StaticTransformer(model, rows, fused=fused).eval(), compiled
        self._device = model.inputs.token.weight.device
        self._position = torch.zeros(1, dtype=torch.int64, device=self._device)
        self._rows = rows

    def run(self, start: int, steps: int) -> tuple[list[Tensor], list[Tensor]]:
        """Return values and log-probabilities [b] of positions start .. start + steps - 1."""
        token = torch.full((self._rows,), self._model.start, device=self._device)
        if start:
            token.fill_(0)
        self._position.fill_(start)
        values, log_ps = [], []
        with torch.no_grad():
            for _ in range(steps):
                if self._device.type == "cuda":
                    torch.compiler.cudagraph_mark_step_begin()
                value, log_p = self._decode(self._model, token, self._position)
                token = value.clone()
                values.append(token)
                log_ps.append(log_p.clone())
                self._position += 1
        return values, log_ps


def _linear(layer: nn.Module) -> nn.Linear:
    """Return PyTorch's layer for a map whose W is stored [d_in, d_out]."""
    made = nn.Linear(*layer.weight.shape, bias=layer.bias is not None, device="meta")
    return _filled(made, layer.weight.T.contiguous(), layer.bias)


def _norm(norm: nn.Module) -> nn.LayerNorm:
    made = nn.LayerNorm(len(norm.weight), eps=float(norm.epsilon), device="meta")
    return _filled(made, norm.weight, norm.bias)


def _filled(made: M, weight: Tensor, bias: Tensor | None) -> M:
    """Set the weights of a module, and return it."""
    for name, values in (("weight", weight), ("bias", bias)):
        if values is not None:
            setattr(made, name, nn.Parameter(values.detach(), requires_grad=False))
    return made
