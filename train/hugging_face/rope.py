"""Rotary positions as a config.json has them, in the spelling of transformers 4 or 5.

4: rope_theta beside rope_scaling, which has the type where it is not the plain one. 5: all of it in
rope_parameters.
"""

from dataclasses import dataclass
from typing import Any

from ancestral.arrays import shown
from ancestral.train.hugging_face.fields import Fields

_TYPES = ("default", "linear", "llama3")
_LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
_BASE = 10_000.0


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary positions: base, scaling of the frequencies, and the part of a head that turns."""

    base: float
    scaling: tuple[float, ...]
    part: float

    @property
    def config(self) -> dict[str, Any]:
        """Fields of a TransformerConfig, but for the part that turns."""
        scaling = self.scaling
        return {"positions": "rotary", "rotary_base": self.base, "rotary_scaling": scaling}


def read_rope(
    fields: Fields,
    *,
    theta_names: tuple[str, ...] = ("rope_theta",),
    part_names: tuple[str, ...] = ("partial_rotary_factor",),
    part: float = 1.0,
    echoes: bool = False,
) -> Rope:
    """The rotary fields; what is wrong is noted.

    Args:
        fields: of a config.json.
        theta_names: of the base outside rope_parameters.
        part_names: of the part that is rotated, outside rope_parameters.
        part: that is rotated where no field says so.
        echoes: whether rope_theta and partial_rotary_factor outside rope_parameters only repeat
            what other fields say: alone they are refused, for transformers reads none of them.
    """
    inner = _inner(fields)
    base = _agreed(fields, inner, "rope_theta", theta_names, _BASE)
    part = _agreed(fields, inner, "partial_rotary_factor", part_names, part)
    if echoes:
        _repeats(fields, "rope_theta", base, theta_names)
        _repeats(fields, "partial_rotary_factor", part, part_names)
    kind = inner.pop("rope_type", None)
    old_kind = inner.pop("type", None)
    if kind is not None and old_kind is not None and kind != old_kind:
        fields.fail(f"rope_type: expected one, got {shown(kind)} and {shown(old_kind)}")
    kind = kind or old_kind or "default"
    if not isinstance(kind, str) or kind not in _TYPES:
        fields.fail(f"rope_type: expected one of {list(_TYPES)}, got {shown(kind)}")
        return Rope(base, (), part)
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
    return Rope(base, scaling, part)


def _repeats(fields: Fields, name: str, value: float, outer: tuple[str, ...]) -> None:
    """Refuse a field that says something else than those which are read."""
    told = fields.raw(name)
    if told is not None and told != value:
        fields.fail(f"{name}: expected {value}, as {outer[0]} or its default is, got {shown(told)}")


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


def _agreed(
    fields: Fields, inner: dict[str, Any], name: str, outer: tuple[str, ...], default: float
) -> float:
    """A number that may be said in several places."""
    given = {each: fields.raw(each) for each in outer}
    given["rope_parameters." + name] = inner.pop(name, None)
    values = {
        each: fields.positive(each, value, default)
        for each, value in given.items()
        if value is not None
    }
    if len(set(values.values())) > 1:
        fields.fail(f"{name}: expected one value, got {values}")
    return next(iter(values.values()), default)
