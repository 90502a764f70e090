"""Run the known inputs of a latent variable model on a backend, and measure errors in nats."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from ancestral.engine import comparison, verify
from ancestral.engine.comparison import Draws, Events, Floats, Limits, difference, worst
from ancestral.engine.runner import LatentRunner
from ancestral.engine.session import Array
from ancestral.latent_parity import LatentEventsParity, LatentParityReport
from ancestral.step_tensors import U, X
from ancestral.units import bits_per_dim

_TERMS = ("log_likelihood", "log_prior", "log_posterior")


def compare(runner: LatentRunner) -> LatentParityReport:
    """Compare log-weights, decoded means and draws with float64 PyTorch.

    `verify` does the same after rehashing the files. Every graph of the bundle takes part. The
    events that the model draws and the events of noise have separate limits.

    Args:
        runner: the engine.

    Returns:
        A `LatentParityReport`, with errors in nats (of E[x | z], in levels) and bits/dim by the
        reference, for each kind of events; `prior` is the report of the prior over codes.

    Raises:
        BundleError: a graph or the known answers are missing, or a file has changed.
    """
    answers = runner.bundle.known_answers()
    sampled, noise = comparison.halves(answers)
    limits, beyond = comparison.limits(runner, answers)
    terms, codes = _terms(runner, answers)
    draws = Draws()
    if codes is not None:
        for events, limit in ((sampled, limits.distance), (noise, beyond.distance)):
            expected, margin = answers["codes"][events], answers["code_margin"][events]
            draws += Draws.of(codes[events], expected, margin, limit)
    drawn_terms, drawn = _draws(runner, answers, limits)
    decoded = runner.parallel("decode", z=answers["z"])
    draws += drawn + _parameters(decoded["parameters"], answers, limits)
    prior = runner.prior
    report = LatentParityReport(
        **comparison.ran_on(runner),
        latents=terms[0].shape[1],
        sampled=_half(runner, answers, terms, sampled, limits, drawn_terms),
        noise=_half(runner, answers, terms, noise, beyond),
        max_abs_mean=worst(difference(decoded["x_mean"], answers["x_mean"])),
        limit_mean=limits.mean,
        **asdict(draws),
        limit_cdf=limits.cdf,
        prior=None if prior is None else verify.compare(prior),
    )
    runner.check_files()
    return report


def _half(
    runner: LatentRunner,
    answers: dict[str, Array],
    terms: list[Array],
    events: Events,
    limits: Limits,
    drawn: Sequence[Floats] = (),
) -> LatentEventsParity:
    """Return the errors on the events of one kind.

    Args:
        runner: the engine.
        answers: known answers of the bundle.
        terms: terms of the log-weights of all events, by the backend, in nats.
        events: mask of the events of this kind.
        limits: limits of this kind.
        drawn: differences of the terms of what is drawn, in nats, to include.
    """
    exact = [answers[name].astype(np.float64)[events] for name in _TERMS if name in answers]
    each = [difference(got[events], wanted) for got, wanted in zip(terms, exact, strict=True)]
    log_w = _log_w(exact)
    bound = np.logaddexp.reduce(log_w, axis=1) - np.log(log_w.shape[1])
    sampled = bool(answers["is_sample"][events].all())
    return LatentEventsParity(
        **comparison.summary(_log_w(each), events, limits.nats),
        own_nats=comparison.own_error(answers, "log_weight", sampled),
        bits_per_dim=float(bits_per_dim(bound, runner.data.event_shape).mean()),
        max_abs_term_nats=worst(*each, *drawn),
    )


def _log_w(terms: list[Floats]) -> Floats:
    """Return log p(x | z) + log p(z) - log q(z | x), or only the first term for codes."""
    return terms[0] if len(terms) == 1 else terms[0] + terms[1] - terms[2]


def _terms(runner: LatentRunner, answers: dict[str, Array]) -> tuple[list[Array], Array | None]:
    """Compute the terms of the log-weights of all events.

    Returns:
        The three terms [n, k] by the encoder and log_weights, and None. For codes: log p(x | z) at
        the reference's codes, and the codes that the encoder chooses.
    """
    x = answers[X]
    encoded = runner.parallel("encode", x=x)
    if runner.codes:
        found = runner.parallel("log_likelihood", x=x, z=answers["codes"][:, None])
        return [found["log_likelihood"]], encoded["codes"]
    given = {name: values for name, values in encoded.items() if name != "kl"}
    found = runner.parallel("log_weights", x=x, **given, noise=answers["noise"])
    return [found[name] for name in _TERMS], None


def _parameters(got: Array, answers: dict[str, Array], limits: Limits) -> Draws:
    """Compare the parameters of p(x | z), which users get from `decode`, of a few latents."""
    expected = answers["parameters"]
    largest = max(1.0, float(np.abs(expected).max()))
    return Draws.real(got[: len(expected)] / largest, expected / largest, limits.parameters)


def _draws(
    runner: LatentRunner, answers: dict[str, Array], limits: Limits
) -> tuple[list[Floats], Draws]:
    """Compare the draws of the graphs prior and draw.

    Returns:
        Differences of log p of the drawn values, in nats, and the comparison of the values.
    """
    differences, latents = [], Draws()
    if "prior_noise" in answers:
        given = {"noise": answers["prior_noise"]}
        if "prior_u" in answers:
            given[U] = answers["prior_u"]
        one = np.ones(len(answers["prior_noise"]), np.float32)
        found = runner.parallel("prior", **given, temperature=one)
        differences.append(difference(found["log_prior"], answers["log_prior_z"]))
        latents = Draws.real(found["z"], answers["z"], limits.latent)
    continuous = runner.latent.continuous
    noise = {"noise" if continuous else U: answers["draw_noise"]}
    drawn = runner.parallel("draw", z=answers["z"], **noise)
    got, expected, log_likelihood = drawn[X], answers["drawn"], drawn["log_likelihood"]
    if continuous:
        choices = Draws.real(got, expected, limits.drawn)
    else:
        choices = Draws.of(got, expected, _pixel_margin(runner, answers["margin"]), limits.cdf)
        # If a near tie makes another event, compare log p of the reference's own draw.
        z = answers["z"][:, None]
        again = runner.parallel("log_likelihood", x=expected, z=z)["log_likelihood"][:, 0]
        same = (got == expected).all(axis=1)
        log_likelihood = np.where(same, log_likelihood, again)
    differences.append(difference(log_likelihood, answers["drawn_log_likelihood"]))
    return differences, choices + latents


def _pixel_margin(runner: LatentRunner, margin: Array) -> Array:
    """Return the least margin of a value and the earlier channels of its pixel."""
    shape = runner.data.event_shape
    if len(shape) != 3:
        return margin
    axis = 3 if shape[2] in (1, 3) else 1
    events = margin.reshape(-1, *shape)
    return np.asarray(np.minimum.accumulate(events, axis=axis).reshape(margin.shape))
