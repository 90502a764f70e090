"""Known answers of a bundle: the required arrays, their shapes and their ranges."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.bundles.manifest import Manifest
from ancestral.bundles.tensors_file import Stored
from ancestral.sampling import HOTTEST, SETTINGS

Answers = Mapping[str, NDArray[Any]]
_KINDS: Mapping[str, str] = {"F": "f", "B": "f", "I": "i", "U": "i"}
"""Kind of a dtype, by the first letter of its name in safetensors."""
_WORDS: Mapping[str, str] = {"f": "floats", "i": "integers", "b": "bools"}
CHECKED = ("x", "at", "drawn", "label", "codes", "u", "tempered", "filtered", *SETTINGS)
"""Arrays whose values are compared with the manifest when a bundle is opened, if they are small."""

_DRAWN = ("drawn", "tempered", "filtered")
"""Values that are drawn: without settings, at a temperature, and with filters too."""
_DISTANCES = ("tempered_margin", "tempered_gap", "filtered_margin", "filtered_gap")
"""Distances of draws from a tie, infinite where there is none."""

Shapes = Mapping[str, tuple[str | int, ...]]
"""Kind of the dtype (f, i or b) and axes of each array. An axis is a length, or a name that has the
same length in all arrays."""


def required(manifest: Manifest) -> Shapes:
    """Return the arrays that the known answers of a bundle must have."""
    if manifest.latent is None:
        label = {"label": ("i", "n")} if manifest.data.num_classes is not None else {}
        return {
            "x": ("i", "n", "t"),
            **dict.fromkeys(_DRAWN, ("i", "n", "t")),
            **label,
            "at": ("i", "m", 2),
            **dict.fromkeys(("u", "log_prob", "margin", *_DISTANCES), ("f", "n", "t")),
            **{each: (np.dtype(dtype).kind, "n") for each, dtype in SETTINGS.items()},
            "distribution": ("f", "m", manifest.data.levels),
            "is_sample": ("b", "n"),
            **_errors("own_log_prob", "own_kl", "own_cdf", halves=True),
            **_errors("own_filtered", "own_gap", halves=True),
        }
    latent, t = manifest.latent, manifest.data.length
    events, codes = "f" if latent.continuous else "i", latent.posterior == "codes"
    found: dict[str, tuple[str | int, ...]] = {
        "x": (events, "n", t),
        "is_sample": ("b", "n"),
        "log_likelihood": ("f", "n", "k"),
        "z": ("i" if codes else "f", "m", *latent.shape),
        "x_mean": ("f", "m", t),
        "draw_noise": ("f", "m", t),
        "drawn": (events, "m", t),
        "drawn_log_likelihood": ("f", "m"),
        "parameters": ("f", "p", *_parameters(manifest)),
        **_errors("own_log_weight", halves=True),
        **_errors("own_mean", "own_parameters", "own_drawn" if latent.continuous else "own_cdf"),
    }
    if codes:
        found |= {"codes": ("i", "n", *latent.shape), "code_margin": ("f", "n", *latent.shape)}
        found |= _errors("own_distance", halves=True)
    else:
        found |= {"log_prior": ("f", "n", "k"), "log_posterior": ("f", "n", "k")}
        found |= {"noise": ("f", "n", "k", *latent.shape), "log_prior_z": ("f", "m")}
        found |= {"prior_noise": ("f", "m", *latent.shape), **_errors("own_prior", "own_z")}
    if latent.prior == "mixture":
        found["prior_u"] = ("f", "m")
    return found if latent.continuous else found | {"margin": ("f", "m", t)}


def _errors(*names: str, halves: bool = False) -> Shapes:
    """Return arrays of float32's errors, one number each; `halves` adds samples and noise."""
    found: Shapes = dict.fromkeys(names, ("f",))
    return {**found, **{f"{name}_halves": ("f", 2) for name in names if halves}}


def _parameters(manifest: Manifest) -> tuple[str | int, ...]:
    """Return the axes of the parameters of p(x | z), from the signature of the graph `decode`."""
    graph = manifest.graphs.get("decode")
    specs = () if graph is None else graph.signature.outputs
    return next((spec.axes[1:] for spec in specs if spec.name == "parameters"), ("g", "q"))


def shape_problems(header: Mapping[str, Stored], manifest: Manifest) -> list[str]:
    """List how names, dtypes and shapes of the arrays differ from what the manifest requires."""
    wanted = required(manifest)
    missing = sorted(set(wanted) - set(header))
    if missing:
        return [f"arrays {missing} are missing"]
    lengths: dict[str | int, int] = {}
    problems = []
    for name, (kind, *axes) in wanted.items():
        dtype, shape = header[name].dtype, header[name].shape
        got = "b" if dtype == "BOOL" else _KINDS[dtype[0]]
        sizes = [lengths.setdefault(axis, size) for axis, size in zip(axes, shape, strict=False)]
        expected = [
            size if isinstance(axis, str) else axis for axis, size in zip(axes, sizes, strict=False)
        ]
        if got != kind or len(shape) != len(axes) or list(shape) != expected:
            problems.append(
                f"{name}: expected {_WORDS[str(kind)]} {axes}, got {dtype} {list(shape)}"
            )
    if manifest.latent is None and "label" in header and manifest.data.num_classes is None:
        problems.append("label: unexpected, since the data have no classes")
    least: dict[str | int, int] = {"n": 2, "t": 1, "m": 1, "k": 1}
    problems += [
        f"axis {axis}: expected a length of at least {most}, got {lengths[axis]}"
        for axis, most in least.items()
        if lengths.get(axis, most) < most
    ]
    if lengths.get("t", 1) > manifest.data.length:
        problems.append(
            f"x: expected events of at most {manifest.data.length} values, got {lengths['t']}"
        )
    return problems


def value_problems(answers: Answers, manifest: Manifest) -> list[str]:
    """List the arrays that have values outside their ranges."""
    return [problem for name in answers for problem in _value_problems(name, answers, manifest)]


def _value_problems(name: str, answers: Answers, manifest: Manifest) -> Iterator[str]:
    values, data = answers[name], manifest.data
    if not values.size:
        return
    most: Any = {
        "x": data.levels - 1,
        **dict.fromkeys(_DRAWN, data.levels - 1),
        "label": (data.num_classes or 1) - 1 + manifest.label_optional,
        "at": max(answers["x"].shape) - 1 if "x" in answers else None,
        "codes": np.inf,
    }
    if values.dtype.kind == "i" and most.get(name) is not None:
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > most[name]:
            yield f"{name}: expected values in 0 .. {most[name]}, got {low} .. {high}"
    if name == "at" and "x" in answers and (values >= answers["x"].shape).any():
        yield f"at: expected indices of events and positions within x {answers['x'].shape}"
    if name in SETTINGS:
        least = 1 if name == "top_k" else 0
        highest = {"temperature": HOTTEST, "top_k": data.levels}.get(name, 1)
        valid = (values >= least) & (values <= highest) & ((values > 0) | (name != "top_p"))
        if not valid.all():
            yield f"{name}: expected values in {least} .. {highest:g}, as `Sampling` takes them"
    if name == "u" and not ((values >= 0) & (values < 1)).all():
        yield "u: expected numbers in [0, 1)"
    if values.dtype.kind == "f" and not name.startswith("own_"):
        impossible = np.isnan(values).any() or (
            name not in ("margin", *_DISTANCES) and np.isposinf(values).any()
        )
        if impossible:
            yield f"{name}: contains NaN or infinity"
