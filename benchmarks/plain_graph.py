"""The baseline's graph: tokens in, logits out, with caches in place by GroupQueryAttention.

It is what a competent user would export for their own loop: only the network. Positions and lengths
come from the host, the start symbol is a token, and a block gives logits only at its last position.
"""

import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from ancestral.errors import InvalidInput
from ancestral.train.models.transformer import Transformer
from ancestral.triton_kernels.residual_norm.onnx import translations


class PlainModel(nn.Module):
    """A Transformer over its caches, for ONNX Runtime only."""

    def __init__(self, model: Transformer) -> None:
        """Share the weights of a model that has neither labels nor the value above as an input.

        Raises:
            InvalidInput: the model has labels, the value above, or an unsupported start.
        """
        super().__init__()
        config = model.config
        if model.inputs.label is not None or model.inputs.above is not None:
            raise InvalidInput("model: expected a model without labels and value above")
        if config.start is None or (config.start == "learned" and config.tied):
            raise InvalidInput(
                "model: expected a start token, or a learned start with an untied output"
            )
        self.model = model
        table = model.inputs.token.weight.detach()
        if model.inputs.start is not None:
            table = torch.cat([table, model.inputs.start.weight.detach()])
            self.table = nn.Embedding.from_pretrained(table)
        else:
            self.table = model.inputs.token

    def forward(
        self, tokens: Tensor, slots: Tensor, seqlens: Tensor, total: Tensor, cache: list[Tensor]
    ) -> tuple[Tensor, ...]:
        """Return the logits [b, v] after the last token, and the caches.

        Args:
            tokens: tokens consumed, [b, s]; the start token at slot 0.
            slots: slot of each token, [b, s].
            seqlens: last valid slot of each row, [b] int32.
            total: length after this call, an int32 scalar.
            cache: k and v of each layer, [b, g, T, d].
        """
        config = self.model.config
        new: list[Tensor] = []

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            k_cache, v_cache = cache[2 * layer], cache[2 * layer + 1]
            window = config.layer_window(layer, self.model.data.length)
            y, *kept = torch.onnx.ops.symbolic_multi_out(
                "com.microsoft::GroupQueryAttention",
                (q, k, v, k_cache, v_cache, seqlens, total),
                {
                    "num_heads": config.heads,
                    "kv_num_heads": config.group_heads,
                    "local_window_size": -1 if window is None else window,
                },
                dtypes=(q.dtype,) * 3,
                shapes=(q.shape, k_cache.shape, v_cache.shape),
                version=1,
            )
            new.extend(kept)
            return y

        h, rotary = self.table(tokens), None
        if self.model.inputs.position is not None:
            h = h + self.model.inputs.position(slots)
        else:
            rotary = (self.model.cosine[slots], self.model.sine[slots])
        y = None
        for i, block in enumerate(self.model.blocks):
            h, y = block(h, y, lambda q, k, v, i=i: attend(i, q, k, v), rotary)
        last = self.model.norm(h[:, -1:], y[:, -1:])[1][:, 0]
        if self.model.head is not None:
            return self.model.head(last), *new
        return nn.functional.linear(last, self.model.inputs.token.weight), *new


def export_plain(model: Transformer, file: Path) -> None:
    """Write the graph and its weights; its metadata has the start token.

    Raises:
        InvalidInput: the baseline does not support the model.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    config, t = model.config, model.data.length
    b, s = 2, 3
    cache = [
        torch.zeros(b, config.group_heads, t, config.head_size) for _ in range(2 * config.layers)
    ]
    tokens, slots = torch.zeros(b, s, dtype=torch.int64), torch.arange(s).repeat(b, 1)
    seqlens, total = torch.full((b,), s - 1, dtype=torch.int32), torch.tensor(s, dtype=torch.int32)
    rows = {0: torch.export.Dim("b", min=1, max=2**20)}
    blocks = rows | {1: torch.export.Dim("s", min=1, max=t)}
    names = [f"{part}_{i}" for i in range(config.layers) for part in "kv"]
    # The exporter's own messages are of no use here.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            PlainModel(model).eval(),
            (tokens, slots, seqlens, total, cache),
            dynamo=True,
            opset_version=24,
            # An addition and a norm, which ONNX Runtime may fuse as in any user's graph.
            custom_translation_table={**translations("portable")},
            dynamic_shapes=(blocks, blocks, rows, {}, [rows] * len(cache)),
            input_names=["tokens", "slots", "seqlens", "total", *names],
            output_names=["logits", *(f"{name}_next" for name in names)],
            verbose=False,
        )
    assert program is not None
    # The start token: the model's own, or one past the levels.
    start = config.start if isinstance(config.start, int) else model.data.levels
    program.model.metadata_props["start_token"] = str(start)
    program.save(str(file), external_data=True)
