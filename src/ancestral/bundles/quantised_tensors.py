"""Compare what a manifest says of quantised weights with the header of the weights file."""

from collections.abc import Iterator, Mapping

from ancestral.arrays import shown
from ancestral.bundles.quantisation import Quantisation, QuantisedTensor
from ancestral.bundles.tensors_file import Stored

_SCALES = {"float32": "F32", "float16": "F16"}
"""Names of the types of scales in the header of a safetensors file."""


def quantised_problems(plan: Quantisation, header: Mapping[str, Stored]) -> list[str]:
    """List the quantised weights whose codes, scales or zero points are not as the manifest says.

    Args:
        plan: record of the manifest.
        header: tensors of the weights file, by name.
    """
    found = []
    for name, how in plan.tensors.items():
        found += [
            f"quantisation: {shown(name)}: {problem}"
            for problem in _problems(name, how, _SCALES[plan.scales], header)
        ]
    return found


def _problems(
    name: str, how: QuantisedTensor, scales: str, header: Mapping[str, Stored]
) -> Iterator[str]:
    codes = header.get(f"{name}_codes")
    if codes is None:
        yield "the weights file has no codes of it"
        return
    if name in header:
        yield "expected codes only, got the weight too"
    stored = how.group * how.bits // 8
    if codes.dtype != "U8" or len(codes.shape) != 3 or codes.shape[2] != stored:
        yield f"expected codes U8 [n, groups, {stored}], got {_words(codes)}"
        return
    n, groups, _ = codes.shape
    points = -(-groups * how.bits // 8)
    expected = {
        "scale": Stored(scales, (n, groups), 0),
        "zero": None if how.symmetric else Stored("U8", (n, points), 0),
    }
    for part, wanted in expected.items():
        got = header.get(f"{name}_{part}")
        if wanted is None and got is not None:
            yield f"expected no {part}, because it is symmetric, got {_words(got)}"
        elif wanted is not None and (got is None or got[:2] != wanted[:2]):
            but = "but it is missing" if got is None else f"got {_words(got)}"
            yield f"expected {part} {_words(wanted)}, {but}"


def _words(tensor: Stored) -> str:
    """Return the type and the shape of a tensor."""
    return f"{tensor.dtype} {list(tensor.shape)}"
