"""The start of a step in two kernels: the value consumed, and the sum of its embeddings."""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.embed import Tables, consume, embed, slots_from
from ancestral.triton_kernels.launch import FLOATS, TYPES, Variant, expect, runs_kernels
from ancestral.triton_kernels.overridable import Settings, Table

_BLOCK = 128
"""Elements of a vector per program."""


@triton.jit
@no_type_check
def _consume(values, position, start, tokens, T):
    row = tl.program_id(0).to(tl.int64)
    n = tl.minimum(tl.load(position + row), T - 1)
    tl.store(start + row, n)
    tl.store(tokens + row, tl.load(values + row * T + tl.maximum(n - 1, 0)))


@triton.jit
@no_type_check
def _row(table, index, rows, at, d):
    """Load one row of a table; NaN if the index is out of range."""
    inside = (at < d) & (index >= 0) & (index < rows)
    return tl.load(table + index * d + at, mask=inside, other=float("nan")).to(tl.float32)


@triton.jit(do_not_specialize=["classes", "start_token"])
@no_type_check
def _embed(
    tokens, consumed, slots, label, token, start, position, labels, above, source, h,
    T, width, d, v, classes, start_token,
    START: tl.constexpr, START_TOKEN: tl.constexpr, POSITION: tl.constexpr,
    LABEL: tl.constexpr, ABOVE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    slot = tl.load(slots + row)
    value = tl.load(tokens + row)
    if START_TOKEN:
        value = tl.where(slot == 0, start_token, value)
    if START:
        # The token at slot 0 may be any number: the start symbol replaces it.
        value = tl.where(slot == 0, 0, value)
        first = tl.load(start + at, mask=at < d, other=0.0).to(tl.float32)
        total = tl.where(slot == 0, first, _row(token, value, v, at, d))
    else:
        total = _row(token, value, v, at, d)
    if POSITION:
        total += _row(position, slot, T, at, d)
    if LABEL:
        total += _row(labels, tl.load(label + row), classes, at, d)
    if ABOVE:
        from_slot = tl.load(source + slot, mask=(slot >= 0) & (slot < T), other=-1)
        inside = (from_slot >= 0) & (from_slot < width)
        seen = tl.load(consumed + row * width + from_slot, mask=inside, other=-1)
        total += _row(above, tl.where(from_slot < 0, v, seen), v + 1, at, d)
    tl.store(h + row * d + at, total.to(h.dtype.element_ty), mask=at < d)


def launch_consume(values: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Run `consume` for one position per row: return start [b], slots [b, 1] and tokens [b, 1].

    Raises:
        InvalidInput: shapes, dtypes or devices do not match.
    """
    runs_kernels(values.device)
    b, length = values.shape
    expect("values", values, (b, length), torch.int64, values.device)
    expect("position", position, (b,), torch.int64, values.device)
    start, tokens = torch.empty_like(position), values.new_empty(b, 1)
    if b:
        _consume[(b,)](values, position, start, tokens, length, num_warps=1)
    return start, start[:, None], tokens


def launch(
    tokens: Tensor, consumed: Tensor, slots: Tensor, label: Tensor | None, tables: Tables
) -> Tensor:
    """Run `embed` for one position per row, [b, 1, d]; an index outside its table gives NaN.

    Raises:
        InvalidInput: shapes, dtypes or devices do not match, or `label` or `source` comes without
            its table, or a table without it.
    """
    runs_kernels(tokens.device)
    _check(tokens, consumed, slots, label, tables)
    token = tables.token.weight
    (v, d), b = token.shape, len(tokens)
    given = (tables.start, tables.position, tables.label, tables.above)
    start, position, labels, above = (token if each is None else each.weight for each in given)
    slots_of = tables.source if tables.position is None else position
    h = token.new_empty(b, 1, d)
    if b:
        _embed[(b, triton.cdiv(d, _BLOCK))](
            tokens, consumed, slots, tokens if label is None else label,
            token, start, position, labels, above,
            tokens if tables.source is None else tables.source, h,
            0 if slots_of is None else len(slots_of), consumed.shape[1], d, v, len(labels),
            tables.start_token or 0,
            START=tables.start is not None, START_TOKEN=tables.start_token is not None,
            POSITION=tables.position is not None, LABEL=label is not None,
            ABOVE=tables.above is not None, BLOCK=_BLOCK, num_warps=1,
        )  # fmt: skip
    return h


def _check(
    tokens: Tensor, consumed: Tensor, slots: Tensor, label: Tensor | None, tables: Tables
) -> None:
    token, b, device = tables.token.weight, len(tokens), tokens.device
    v, d = token.shape
    expect("token", token, (v, d), FLOATS, device)
    expect("tokens", tokens, (b, 1), torch.int64, device)
    expect("slots", slots, (b, 1), torch.int64, device)
    if (label is None) != (tables.label is None) or (tables.above is None) != (
        tables.source is None
    ):
        raise InvalidInput("label, source: expected each with its table, got one without the other")
    for name, table, rows in (
        ("start", tables.start, 1),
        ("position", tables.position, None),
        ("labels", tables.label, None),
        ("above", tables.above, v + 1),
    ):
        if table is not None:
            shape = (len(table.weight) if rows is None else rows, d)
            expect(name, table.weight, shape, token.dtype, device)
    if label is not None:
        expect("label", label, (b,), torch.int64, device)
    if tables.source is not None:
        expect("consumed", consumed, (b, consumed.shape[1]), torch.int64, device)
        expect("source", tables.source, (len(tables.source),), torch.int64, device)


def overrides(_: Settings) -> Table:
    """Return the kernels for one slot per row; whole events and blocks run the references."""
    return {consume: _consume_one, embed: _embed_one, slots_from: _slots_of_one}


def _consume_one(
    values: Tensor, position: Tensor, offsets: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    if offsets is not None and len(offsets) > 1:
        return consume(values, position, offsets)
    return launch_consume(values, position)


def _slots_of_one(first: Tensor, tokens: Tensor) -> Tensor:
    return first[:, None] if tokens.shape[1] == 1 else slots_from(first, tokens)


def _embed_one(
    tokens: Tensor, consumed: Tensor, slots: Tensor, label: Tensor | None, tables: Tables
) -> Tensor:
    plain = all(type(each) is nn.Embedding for each in tables if isinstance(each, nn.Module))
    if plain and slots.shape == tokens.shape == (len(tokens), 1):
        # A prefix of two values has one token, which is a column of the prefix.
        return launch(tokens.contiguous(), consumed.contiguous(), slots, label, tables)
    return embed(tokens, consumed, slots, label, tables)


def variants() -> list[Variant]:
    """Return the kernels of the image model, with labels and the value above."""
    consumed = Variant(
        name="embed consume",
        function=_consume,
        arguments=dict.fromkeys(("values", "position", "start", "tokens"), "*i64") | {"T": "i32"},
        constants={},
        divisible=("T",),
    )
    return [consumed, *(_variant(dtype) for dtype in FLOATS)]


def _variant(dtype: torch.dtype) -> Variant:
    integers = ("tokens", "consumed", "slots", "label")
    vectors = ("token", "start", "position", "labels", "above")
    stored = f"*{TYPES[dtype]}"
    return Variant(
        name=f"embed d=128 {TYPES[dtype]}",
        function=_embed,
        arguments=dict.fromkeys(integers, "*i64")
        | dict.fromkeys(vectors, stored)
        | {"source": "*i64", "h": stored}
        | dict.fromkeys(("T", "width", "d", "v", "classes", "start_token"), "i32"),
        constants=dict.fromkeys(("START", "POSITION", "LABEL", "ABOVE"), True)
        | {"START_TOKEN": False, "BLOCK": _BLOCK},
        divisible=("T", "width", "d", "v"),
        wanted=("LDG.E.128",) if dtype == torch.float32 else (),
    )
