"""Every error that ancestral raises on purpose.

    AncestralError
    ├── InvalidInput (ValueError)            a value is wrong: expected, got, what to do
    ├── BundleError (ValueError)             a bundle is missing, altered, foreign or too new
    ├── CheckpointError (ValueError)         a checkpoint is missing, altered or of another model
    ├── TrainingError (RuntimeError)         training cannot go on: gradients are not finite
    ├── ExportError (RuntimeError)           a graph could not be made, or breaks one of its laws
    ├── NotADistribution (ArithmeticError)   what a model predicts are no probabilities: NaN
    ├── PlanError (ValueError)               a compiled plan is missing, altered or not ours
    ├── ParityError (AssertionError)         a backend does not keep the probabilities
    └── BackendUnavailable (ImportError)     a backend cannot run here, with what to install

Each is also the builtin that a caller would catch.
"""


class AncestralError(Exception):
    """Root of the errors that ancestral raises on purpose."""


class InvalidInput(AncestralError, ValueError):
    """A value is of the wrong type, shape or range."""


class BundleError(AncestralError, ValueError):
    """A bundle is missing, truncated, altered, foreign or too new."""


class CheckpointError(AncestralError, ValueError):
    """A checkpoint is missing, altered, or belongs to another model."""


class TrainingError(AncestralError, RuntimeError):
    """Training cannot go on."""


class ExportError(AncestralError, RuntimeError):
    """A graph could not be made, or breaks a rule that it must keep."""


class NotADistribution(AncestralError, ArithmeticError):
    """What a model predicts are no probabilities."""


class PlanError(AncestralError, ValueError):
    """A compiled plan is missing, altered, outdated or not ours."""


class ParityError(AncestralError, AssertionError):
    """A backend does not keep the probabilities of the reference."""


class BackendUnavailable(AncestralError, ImportError):
    """A backend cannot run on this machine; the message says what to install."""
