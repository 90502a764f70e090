"""Rotary positions as a config.json has them, in the spelling of transformers 4 or 5.

4: rope_theta beside rope_scaling, which has the type where it is not the plain one. 5: all of it in
rope_parameters.
"""

from typing import Any

from ancestral.arrays import shown
from ancestral.train.hugging_face.fields import Fields

_TYPES = ("default", "linear", "llama3")
_LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
_NAMES, _BASE = ("rope_theta", "partial_rotary_factor"), 10_000.0


def read_rope(
    fields: Fields, names: tuple[str, str] = _NAMES, part: float = 1.0
) -> tuple[dict[str, Any], float]:
    """The rotary fields of a TransformerConfig, and the part of a head that turns.

    What is wrong is noted.

    Args:
        fields: of a config.json.
        names: of the base and of that part, outside rope_parameters. Where they are other ones,
            the usual names may only repeat what these say: without them they are refused, for
            transformers reads neither.
        part: that is rotated where no field says so.
    """
    inner = _inner(fields)
    values = [
        _agreed(fields, inner, usual, name, default)
        for usual, name, default in zip(_NAMES, names, (_BASE, part), strict=True)
    ]
    if names != _NAMES:
        for usual, name, value in zip(_NAMES, names, values, strict=True):
            said = fields.raw(usual)
            if said is not None and said != value:
                expected = f"{value}, as {name} or its default is"
                fields.fail(f"{usual}: expected {expected}, got {shown(said)}")
    base, part = values
    kind = inner.pop("rope_type", None)
    old_kind = inner.pop("type", None)
    if kind is not None and old_kind is not None and kind != old_kind:
        fields.fail(f"rope_type: expected one, got {shown(kind)} and {shown(old_kind)}")
    kind = kind or old_kind or "default"
    if not isinstance(kind, str) or kind not in _TYPES:
        fields.fail(f"rope_type: expected one of {list(_TYPES)}, got {shown(kind)}")
        return {"positions": "rotary", "rotary_base": base}, part
    needed = {"default": (), "linear": ("factor",), "llama3": _LLAMA3}[kind]
    scaling = tuple(fields.positive(name, inner.pop(name, None), 1.0) for name in needed)
    # Of the other types: noted by some, read by none.
    inner.pop("original_max_position_embeddings", None)
    for name, value in inner.items():
        fields.fail(
            f"{name}: no parameter of rotary positions of type {kind!r}, got {shown(value)}"
        )
    if len(scaling) == 4 and scaling[1] >= scaling[2]:
        fields.fail(
            f"high_freq_factor: expected more than low_freq_factor, got {scaling[2]} and "
            f"{scaling[1]}"
        )
    return {"positions": "rotary", "rotary_base": base, "rotary_scaling": scaling}, part


def _inner(fields: Fields) -> dict[str, Any]:
    """A copy of rope_parameters, or of the older rope_scaling."""
    found = {}
    for name in ("rope_parameters", "rope_scaling"):
        value = fields.raw(name)
        if isinstance(value, dict):
            found[name] = dict(value)
        elif value is not None:
            fields.fail(f"{name}: expected an object or null, got {shown(value)}")
    values = list(found.values())
    if len(values) == 2 and values[0] != values[1]:
        fields.fail("rope_scaling: expected what rope_parameters says, or neither")
    return values[0] if values else {}


def _agreed(fields: Fields, inner: dict[str, Any], name: str, outer: str, default: float) -> float:
    """A number that may be said in several places."""
    given = {outer: fields.raw(outer), f"rope_parameters.{name}": inner.pop(name, None)}
    values = {
        each: fields.positive(each, value, default)
        for each, value in given.items()
        if value is not None
    }
    if len(set(values.values())) > 1:
        fields.fail(f"{name}: expected one value, got {values}")
    return next(iter(values.values()), default)
