"""Which session prefills prompts whose log-probabilities are not asked for."""

from ancestral.engine.runner import Runner
from ancestral.engine.session import Session
from ancestral.step_tensors import fills_caches

_GRAPH = "prefill"


def session_of(runner: Runner, *, prompt_log_p: bool) -> Session | None:
    """Return the session that fills caches without predictions, or None for the step graph.

    The step graph prefills if log-probabilities are asked for, or if the bundle or the backend
    cannot do without predictions: the values that are drawn then are the same.

    Args:
        runner: the engine.
        prompt_log_p: whether log-probabilities of prompts are asked for.

    Raises:
        BundleError: files have changed since the bundle was opened.
    """
    entry = runner.bundle.manifest.graphs.get(_GRAPH)
    if prompt_log_p or entry is None or not fills_caches(entry.signature):
        return None
    return runner.session(_GRAPH) if runner.backend.fills else None
