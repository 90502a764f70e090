"""Check that two bundles are models of the same data, before one is used with the other."""

from ancestral.arrays import shown
from ancestral.engine.runner import Runner
from ancestral.errors import InvalidInput

_FIELDS = ("event_shape", "levels", "ordering", "num_classes", "tokenizer")


def check_same_data(name: str, runner: Runner, expected: Runner, whose: str) -> None:
    """Check that a model has the events, the classes and the tokenizer of another one.

    Args:
        name: name of the argument that gave the model, for errors.
        runner: its engine.
        expected: the engine of the other model.
        whose: what errors call the other model's values, for example "the bundle's".

    Raises:
        InvalidInput: shape, levels, ordering, number of classes or tokenizer differ.
    """
    ours, theirs = runner.data, expected.data
    for field in _FIELDS:
        here, there = getattr(ours, field), getattr(theirs, field)
        if here != there:
            raise InvalidInput(
                f"{name}: expected {field} {shown(there)}, {whose}, got {shown(here)}"
            )
    if _tokenizer(runner) != _tokenizer(expected):
        raise InvalidInput(f"{name}: expected {whose} tokenizer, got another one")


def _tokenizer(runner: Runner) -> str | None:
    """Return the hash of the tokenizer's file; None if the model needs none."""
    manifest = runner.bundle.manifest
    name = runner.data.tokenizer_file
    return None if name is None else manifest.files[name].sha256
