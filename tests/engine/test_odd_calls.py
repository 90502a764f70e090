"""Every public method, called with odd values: the plain call's bits, or an error of ours.

An odd value that means a plain one gives the same result, to the bit; any other is refused with
one of `ancestral.errors`. No other exception and no warning is raised.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ancestral import philox
from ancestral.errors import AncestralError
from tests.conftest import Load
from tests.engine.odd_arguments import callback, flag, generated, prompts, samplings, stops, word
from tests.engine.odd_values import (
    Make,
    Values,
    extreme,
    integers,
    joined,
    observed,
    optional,
    reals,
    values,
    whole,
    without,
)

pytestmark = pytest.mark.usefixtures("called_by_users")
RANDOM = np.random.default_rng(0)
LAST = 2**32 - 1
TOYS = ("tiny", "startless", "bernoulli", "linear", "convolved", "codes")
QUICK, MANY = 1500, 20_000
LEAST_ACCEPTED = 0.3


@dataclass(frozen=True, slots=True)
class Method:
    """A method, and the values to pass for each of its arguments."""

    name: str
    call: Callable[..., Any]
    arguments: dict[str, Values]


def grid(levels: int, *shape: int) -> np.ndarray:
    return RANDOM.integers(0, levels, shape)


def eighths(*shape: int) -> np.ndarray:
    return (RANDOM.integers(-8, 9, shape) / 8).astype(np.float32)


def latents_of(*shape: int) -> Values:
    plain = eighths(*shape)
    return joined(reals(plain, (1e39, -1e300)), extreme(plain, 1e19, -1e37, 3e38))


SEED = joined(whole(3, (-1, 2**64)), whole(2**64 - 1), whole(0))
INDEX = joined(whole(0, (-1, LAST, 2**32)), whole(7))
N = joined(whole(2, (0, -1, 2**32)))
BATCH = optional(joined(whole(1, (0, -3)), whole(5)))
LABELS = joined(whole(1, (-1, 2)), integers(np.array([0, 1]), (-1, 2)))
ONE_LABEL = without(whole(1, (-1, 2)), "one in a list", "one in an array")
NO_LABELS = values(None, {}, {"a label": 0, "labels": np.array([0, 1])})


def autoregressive(
    load: Load, toy: str, shape: tuple[int, ...], levels: int, *, labels: Values, filters: bool
) -> Iterator[Method]:
    engine: Any = load(toy, "onnxruntime")
    t = engine.data.length
    x = joined(integers(grid(levels, 2, *shape), (-1, levels)), integers(grid(levels, 2, t), ()))
    forced = joined(
        observed(grid(levels, *shape), levels), observed(grid(levels, 2, *shape), levels)
    )
    one = observed(grid(levels, *shape), levels)
    noise = (0.5 + grid(8, 2, t) / 32).astype(np.float32)
    drawn = {"labels": labels, "seed": SEED, "first_index": INDEX}
    sampling = {"sampling": samplings(filters=filters)}
    common = {"n": N, **drawn, **sampling, "observed": forced, "progress": callback()}
    rows = {"x": x, "labels": labels}
    calls: dict[str, tuple[Callable[..., Any], dict[str, Values]]] = {
        "sample": (engine.sample, common),
        "sample_batches": (lambda **a: list(engine.sample_batches(**a)), common | {"batch": BATCH}),
        "generate": (
            engine.generate,
            {
                "prompts": prompts(levels, t),
                "max_new": optional(whole(2, (0, -1))),
                "stop": optional(stops()),
                **drawn,
                **sampling,
                "batch": BATCH,
                "stream": callback(),
            },
        ),
        "complete": (
            engine.complete,
            {"observed": one, "particles": whole(2, (0, LAST)), "progress": callback()}
            | drawn
            | {"labels": ONE_LABEL if labels is LABELS else labels},
        ),
        "log_prob": (engine.log_prob, rows | {"path": word("parallel", ("steps",))}),
        "log_prob, top": (engine.log_prob, rows | {"top": optional(whole(2, (0, 21)))}),
        "position_log_prob": (
            lambda **a: engine.position_log_prob(path="steps", **a),
            rows | {"batch": BATCH},
        ),
        "generated_log_prob": (
            engine.generated_log_prob,
            {"rows": generated(levels, t), "labels": labels, "batch": BATCH},
        ),
        "redraw": (engine.redraw, {**rows, "u": reals(noise, (0.0, 1.0, -1.0, 1e-300))}),
    }
    if labels is LABELS:
        calls["classify"] = (engine.classify, {"x": x})
    if len(shape) == 1:
        ids = joined(integers(grid(levels, 9), (-1, levels)), integers(grid(levels, 2), ()))
        stride = optional(whole(2, (0, 99)))
        given = {"ids": ids, "stride": stride, "labels": NO_LABELS, "progress": callback()}
        given |= {"path": word("parallel", ("steps",))}
        calls["text_likelihood"] = (engine.text_likelihood, given)
        calls["text_likelihood, top"] = (
            engine.text_likelihood,
            {"ids": ids, "stride": stride, "top": optional(whole(2, (0, 21)))},
        )
    yield from (Method(f"{toy}.{name}", *call) for name, call in calls.items())


def latent(load: Load, toy: str, latents: Values, labels: Values) -> Iterator[Method]:
    engine: Any = load(toy, "onnxruntime")
    levels, shape = engine.data.levels, engine.data.event_shape
    codes, continuous = engine.latent.posterior == "codes", engine.latent.continuous
    x = joined(integers(grid(levels, 2, *shape), (-1, levels)))
    if continuous:
        # Events of a density may also be real numbers.
        y = 1 + eighths(2, *shape)
        x = joined(without(x, "floats", "float tensor"), reals(y, (1e39,)), extreme(y, 1e20, 3e38))
    drawn = {"seed": SEED, "first_index": INDEX}
    bound = {"x": x, "k": whole(3, (0, 2**32)), **drawn, "progress": callback()}
    classes = optional(labels) if codes else labels
    course = word("posterior", () if codes else ("prior",))
    draws = {"n": N, "labels": labels, **drawn, "mean": flag()}
    draws |= {} if codes else {"sampling": samplings(filters=False)}
    calls: dict[str, tuple[Callable[..., Any], dict[str, Values]]] = {
        "bound": (engine.bound, bound | {"labels": classes, "proposal": course}),
        "encode": (engine.encode, {"x": x}),
        "means": (engine.means, {"x": x}),
        "reconstruct": (engine.reconstruct, {"x": x}),
        "decode": (engine.decode, {"z": latents}),
        "sample": (engine.sample, draws),
    }
    if not codes:
        size = int(np.prod(engine.latent.shape))
        noise = latents_of(2, 3, *engine.latent.shape)
        pair = optional(integers(np.array([0, 1]), (-1, size)))
        path = {"steps": whole(3, (1, 0, LAST)), "path": word("linear", ("spherical",))}
        calls |= {
            "log_weights": (engine.log_weights, {"x": x, "noise": noise}),
            "interpolate": (engine.interpolate, {"start": x, "end": x, **path}),
            "latent_grid": (engine.latent_grid, {"side": whole(2, (0, LAST)), "dimensions": pair}),
        }
    yield from (Method(f"{toy}.{name}", *call) for name, call in calls.items())


def uniforms() -> Iterator[Method]:
    indices, positions = integers(np.array([0, 5]), (-1, 2**32)), integers(np.arange(3), (-1,))
    stream = next(iter(philox.Stream))
    some = {"seed": SEED, "indices": indices}
    yield Method(
        "philox.uniforms",
        philox.uniforms,
        {**some, "positions": positions, "particle": whole(1, (-1, 2**32))},
    )
    yield Method(
        "philox.normals",
        lambda **a: philox.normals(**a, stream=stream),
        {**some, "particles": positions, "dimensions": whole(5, (-1, 2**40))},
    )
    yield Method(
        "philox.uniforms_of_particles",
        lambda **a: philox.uniforms_of_particles(**a, stream=stream),
        {**some, "particles": positions, "position": whole(5, (-1, 2**32))},
    )


@pytest.fixture(scope="module")
def methods(load: Load) -> list[Method]:
    """Return the methods of both kinds of engine, and the functions of the noise."""
    codes = integers(grid(4, 2, 4), (-1, 4))
    return [
        *autoregressive(load, "tiny", (3, 3), 3, labels=LABELS, filters=True),
        *autoregressive(load, "startless", (6,), 4, labels=NO_LABELS, filters=False),
        *latent(load, "bernoulli", latents_of(2, 2), NO_LABELS),
        *latent(load, "linear", latents_of(2, 2), NO_LABELS),
        *latent(load, "convolved", latents_of(2, 3), NO_LABELS),
        *latent(load, "codes", codes, LABELS),
        *uniforms(),
    ]


def bits(result: Any) -> Any:
    """Return everything in a result in a form that compares to the bit."""
    if is_dataclass(result) and not isinstance(result, type):
        return tuple((each.name, bits(getattr(result, each.name))) for each in fields(result))
    if isinstance(result, dict):
        return tuple((name, bits(each)) for name, each in sorted(result.items()))
    if isinstance(result, list | tuple):
        return tuple(map(bits, result))
    if isinstance(result, np.ndarray | np.generic):
        # -inf is the log of a probability of 0; all other results are finite.
        sound = result.dtype.kind != "f" or (result < np.inf).all()
        assert sound, "NaN or inf is returned"
        return str(result.dtype), result.shape, result.tobytes()
    return type(result), repr(result)


def outcome(method: Method, made: dict[str, Make]) -> Any:
    """Return the bits of a call, or None if it is refused with an error of ours."""
    try:
        return bits(method.call(**{name: make() for name, make in made.items()}))
    except AncestralError:
        return None


@st.composite
def call(draw: st.DrawFn, methods: list[Method]) -> tuple[Method, dict[str, Any]]:
    """Draw a method and a value for each argument; few are bad, so that many calls are accepted.

    It draws indices: hypothesis would print the methods and values themselves.
    """

    def one(choices: Sequence[Any]) -> Any:
        return choices[draw(st.integers(0, len(choices) - 1))]

    method = one(methods)
    worst = one([None, None, None, *method.arguments])
    chosen: dict[str, Any] = {}
    for name, each in method.arguments.items():
        if name == worst and each.bad:
            chosen[name] = one(each.bad)
        else:
            chosen[name] = one((None, *each.good))
    return method, chosen


def check(method: Method, chosen: dict[str, Any]) -> bool:
    """Compare an odd call with the plain one that it means; return whether it is accepted."""
    usual = {name: each.plain for name, each in method.arguments.items()}
    odd = {name: usual[name] if v is None else v.odd for name, v in chosen.items()}
    shown = f"{method.name}({', '.join(f'{n}={v.name}' for n, v in chosen.items() if v)})"
    try:
        got = outcome(method, odd)
    except (Exception, Warning) as error:
        raise AssertionError(f"{shown}: {type(error).__name__}: {error}") from error
    if any(v is not None and v.plain is None for v in chosen.values()):
        assert got is None, f"{shown}: expected a refusal"
        return False
    expected = outcome(
        method, {name: usual[name] if v is None else v.plain for name, v in chosen.items()}
    )
    assert got == expected, f"{shown}: expected the result of the plain call"
    return got is not None


def run(methods: list[Method], calls: int) -> None:
    counted: Counter[bool] = Counter()
    seen: set[str] = set()

    @settings(
        max_examples=calls,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(call(methods))
    def each(made: tuple[Method, dict[str, Any]]) -> None:
        seen.add(made[0].name)
        counted[check(*made)] += 1

    each()
    assert counted.total() >= calls, counted
    assert counted[True] >= LEAST_ACCEPTED * counted.total(), counted
    assert seen == {method.name for method in methods}


def test_odd_calls(methods: list[Method]) -> None:
    run(methods, QUICK)


@pytest.mark.slow
def test_many_odd_calls(methods: list[Method]) -> None:
    run(methods, MANY)


def test_every_value_once(methods: list[Method]) -> None:
    """Each odd value of each argument is right or refused, with the other arguments plain."""
    wrong = []
    for method in methods:
        for name, each in method.arguments.items():
            for value in (*each.good, *each.bad):
                try:
                    check(method, dict.fromkeys(method.arguments) | {name: value})
                except AssertionError as error:
                    wrong.append(str(error))
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong)
