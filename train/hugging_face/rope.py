"""Rotary positions in a config.json, in the format of transformers 4 or 5.

Version 4 has rope_theta and, for scaled positions, rope_scaling with the type. Version 5 has all
fields in rope_parameters.
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
    """Read the rotary fields of a TransformerConfig, and the rotated fraction of a head.

    Problems are recorded in `fields`.

    Args:
        fields: fields of a config.json.
        names: names, outside rope_parameters, of the base and of the rotated fraction. If they are
            not the usual names, transformers does not read the usual ones, which must then be
            missing or have the same values.
        part: rotated fraction if no field has it.
    """
    inner = _inner(fields)
    values = [
        _agreed(fields, inner, usual, name, default)
        for usual, name, default in zip(_NAMES, names, (_BASE, part), strict=True)
    ]
    if names != _NAMES:
        for usual, name, value in zip(_NAMES, names, values, strict=True):
            repeated = fields.raw(usual)
            if repeated is not None and repeated != value:
                expected = f"{value}, the value of {name} or its default"
                fields.fail(f"{usual}: expected {expected}, got {shown(repeated)}")
    base, part = values
    kind = inner.pop("rope_type", None)
    old_kind = inner.pop("type", None)
    if kind is not None and old_kind is not None and kind != old_kind:
        fields.fail(
            f"rope_type: expected the same as type, got {shown(kind)} and {shown(old_kind)}"
        )
    kind = kind or old_kind or "default"
    if not isinstance(kind, str) or kind not in _TYPES:
        fields.fail(f"rope_type: expected one of {list(_TYPES)}, got {shown(kind)}")
        return {"positions": "rotary", "rotary_base": base}, part
    needed = {"default": (), "linear": ("factor",), "llama3": _LLAMA3}[kind]
    scaling = tuple(fields.positive(name, inner.pop(name, None), 1.0) for name in needed)
    # Some files have this field for other types too, where it has no effect.
    inner.pop("original_max_position_embeddings", None)
    for name, value in inner.items():
        fields.fail(f"{name}: not a parameter of rope_type {kind!r}, got {shown(value)}")
    if len(scaling) == 4 and scaling[1] >= scaling[2]:
        fields.fail(
            f"high_freq_factor: expected more than low_freq_factor = {scaling[1]}, got {scaling[2]}"
        )
    return {"positions": "rotary", "rotary_base": base, "rotary_scaling": scaling}, part


def _inner(fields: Fields) -> dict[str, Any]:
    """Return a copy of rope_parameters, or of the older rope_scaling."""
    found = {}
    for name in ("rope_parameters", "rope_scaling"):
        value = fields.raw(name)
        if isinstance(value, dict):
            found[name] = dict(value)
        elif value is not None:
            fields.fail(f"{name}: expected an object or null, got {shown(value)}")
    values = list(found.values())
    if len(values) == 2 and values[0] != values[1]:
        fields.fail("rope_scaling: expected the same as rope_parameters, got other values")
    return values[0] if values else {}


def _agreed(fields: Fields, inner: dict[str, Any], name: str, outer: str, default: float) -> float:
    """Return a number that several fields may have; they must agree."""
    given = {outer: fields.raw(outer), f"rope_parameters.{name}": inner.pop(name, None)}
    values = {
        each: fields.positive(each, value, default)
        for each, value in given.items()
        if value is not None
    }
    if len(set(values.values())) > 1:
        fields.fail(f"{name}: expected one value, got {values}")
    return next(iter(values.values()), default)
