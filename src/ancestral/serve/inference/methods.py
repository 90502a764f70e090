"""Run a model on its input tensors, by the method of the engine that it stands for."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool

from ancestral.engine import LatentEngine
from ancestral.errors import InvalidInput
from ancestral.sampling import Sampling
from ancestral.scalars import whole
from ancestral.serve.calls import Report
from ancestral.serve.graphs import check_graphs, check_sampling
from ancestral.serve.inference.models import Model
from ancestral.serve.inference.tensors import Array
from ancestral.serve.samples import Draw, SlotDraw, new_seed
from ancestral.serve.server import Server

Arrays = Mapping[str, Array]


def rows_of(model: Model, given: Arrays) -> tuple[int, str]:
    """Return the number of rows that a request asks for, and what gives it.

    Raises:
        InvalidInput: the input `n` is not positive.
    """
    for name in ("x", "z"):
        if name in given:
            return len(given[name]), f"input {name}"
    return whole("n", _number(given, "n", 1), 1), "input n"


async def run(server: Server, model: Model, given: Arrays, scope: str) -> dict[str, Array]:
    """Return the outputs of a model by name.

    Args:
        server: the server.
        model: the model.
        given: its inputs by name, of the shapes of its metadata.
        scope: scope in which the beginnings of prompts are shared.

    Raises:
        InvalidInput: the engine refused an input; its message names the input.
        Refused: too much waits, or the engine failed.
    """
    rows, what = rows_of(model, given)
    model.check_rows(server, rows, what)
    served = model.served

    def call(report: Report) -> dict[str, Array]:
        if served.manifest.latent is None:
            return _autoregressive(model, given)
        return _latent(server, served.latent(), model.name, given, report)

    if model.name == "sample" and served.manifest.latent is None:
        found = await _samples(server, model, given, scope)
    else:
        found = await served.calls.run(call)
    served.metrics.events(model.name, rows)
    return found


async def _samples(server: Server, model: Model, given: Arrays, scope: str) -> dict[str, Array]:
    """Draw samples of an autoregressive model in slots."""
    seed = _seed(given)
    settings = await run_in_threadpool(_sampling, given)
    wanted = Draw(
        n=_number(given, "n", 1),
        labels=_labels(given),
        seed=seed,
        first_index=_number(given, "first_index", 0),
        sampling=settings,
        observed=given.get("observed"),
    )
    engine = model.served.autoregressive()
    rows = await run_in_threadpool(SlotDraw.checked, engine, wanted, scope)
    found = (await rows.run(server, model.served)).samples
    outputs: dict[str, Array] = {"x": found.x, "log_prob": found.log_prob, "log_q": found.log_q}
    return outputs | {"seed": np.array([seed], np.uint64)}


def _autoregressive(model: Model, given: Arrays) -> dict[str, Array]:
    engine = model.served.autoregressive()
    if model.name == "log_prob":
        return {"log_prob": engine.log_prob(given["x"], _labels(given))}
    found = engine.classify(given["x"])
    return {
        "log_posterior": found.log_posterior,
        "log_joint": found.log_joint,
        "label": found.label,
    }


def _latent(
    server: Server, engine: LatentEngine, name: str, given: Arrays, report: Report
) -> dict[str, Array]:
    match name:
        case "encode":
            return engine.encode(given["x"])
        case "decode":
            parameters, mean = engine.decode(given["z"])
            return {"parameters": parameters, "mean": mean}
        case "reconstruct":
            return {"mean": engine.reconstruct(given["x"])}
        case "bound":
            return _bound(server, engine, given, report)
        case _:
            return _latent_samples(engine, given)


def _bound(server: Server, engine: LatentEngine, given: Arrays, report: Report) -> dict[str, Array]:
    seed, k, prior = _seed(given), _number(given, "k", 64), engine.prior
    server.check_latents(k)
    if prior is not None:
        check_graphs(prior, "log_prob")
    found = engine.bound(
        given["x"],
        k,
        seed,
        labels=_labels(given),
        first_index=_number(given, "first_index", 0),
        progress=report,
    )
    arrays = {name: value for name, value in asdict(found).items() if name != "k"}
    return arrays | {"unreliable": found.unreliable, "seed": np.array([seed], np.uint64)}


def _latent_samples(engine: LatentEngine, given: Arrays) -> dict[str, Array]:
    seed, settings, prior = _seed(given), _sampling(given), engine.prior
    if prior is not None:
        check_sampling(prior, settings)
    found = engine.sample(
        _number(given, "n", 1),
        _labels(given),
        seed,
        _number(given, "first_index", 0),
        settings,
    )
    assert found.log_likelihood is not None
    return {
        "x": found.x,
        "z": found.z,
        "log_prior": found.log_prior,
        "log_likelihood": found.log_likelihood,
        "seed": np.array([seed], np.uint64),
    }


def _number(given: Arrays, name: str, default: int) -> int:
    return int(given[name][0]) if name in given else default


def _seed(given: Arrays) -> int:
    """Return the seed of a request, or a new one.

    Raises:
        InvalidInput: it is negative.
    """
    return whole("seed", _number(given, "seed", new_seed()), 0, 2**64 - 1)


def _labels(given: Arrays) -> Array | int | None:
    """Return one label for all rows, one for each, or None."""
    labels = given.get("labels")
    if labels is None:
        return None
    return int(labels[0]) if labels.shape == (1,) else labels


def _sampling(given: Arrays) -> Sampling:
    """Return the settings of a draw.

    Raises:
        InvalidInput: one is out of range.
    """
    names = ("temperature", "top_p", "min_p")
    penalties = ("repetition_penalty", "presence_penalty", "frequency_penalty")
    found: dict[str, Any] = {
        name: float(given[name][0]) for name in (*names, *penalties) if name in given
    }
    if "top_k" in given:
        found["top_k"] = int(given["top_k"][0])
    if "logit_bias" in given:
        bias = given["logit_bias"]
        if np.isnan(bias).any():
            raise InvalidInput("logit_bias: expected numbers, got nan")
        some = np.flatnonzero(bias)
        found["logit_bias"] = list(zip(some.tolist(), bias[some].tolist(), strict=True))
    return Sampling(**found)
