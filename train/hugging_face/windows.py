"""Sliding windows as a config.json has them: of all layers, or of those that it names."""

from ancestral.arrays import shown
from ancestral.train.hugging_face.fields import Fields

_SLIDING, _FULL = "sliding_attention", "full_attention"


def read_one_window(fields: Fields, layers: int) -> int | None:
    """Mistral's: one of all layers, or none; its layer types, where stored, must say the same."""
    window = fields.whole_or_none("sliding_window", 4096)
    kind = _FULL if window is None else _SLIDING
    fields.only("layer_types", None, [kind] * layers)
    return window


def read_layer_windows(fields: Fields, layers: int) -> tuple[int | None, tuple[int, ...] | None]:
    """Qwen's: the window, and the layers that have it.

    With use_sliding_window those from max_window_layers on; or as layer_types names them.
    """
    used = fields.flag("use_sliding_window", False)
    size = fields.whole_or_none("sliding_window", 4096)
    first = fields.whole("max_window_layers", 28, least=0)
    window = size if used else None
    windowed = tuple(range(min(first, layers), layers)) if window is not None else ()
    types = fields.raw("layer_types")
    if types is not None:
        if not isinstance(types, list) or len(types) != layers or not _are_kinds(types):
            fields.fail(
                f"layer_types: expected {layers} of {[_FULL, _SLIDING]}, got {shown(types)}"
            )
            return None, None
        windowed = tuple(layer for layer, kind in enumerate(types) if kind == _SLIDING)
    if not windowed:
        return None, None
    if window is None:
        fields.fail(
            f"layer_types: expected no {_SLIDING!r} without a sliding window, got {shown(types)}"
        )
        return None, None
    return window, None if len(windowed) == layers else windowed


def _are_kinds(types: list[object]) -> bool:
    return all(isinstance(each, str) and each in (_SLIDING, _FULL) for each in types)
