"""Exceptions that ancestral raises.

    AncestralError
    ├── InvalidInput (ValueError)            an argument or a file has an invalid value
    ├── BundleError (ValueError)             a bundle is missing, damaged, invalid or too new
    ├── CheckpointError (ValueError)         a checkpoint is missing, damaged or another model's
    ├── TrainingError (RuntimeError)         training cannot continue: gradients are not finite
    ├── ExportError (RuntimeError)           a model cannot be exported
    ├── NotADistribution (ArithmeticError)   a model's predictions are not probabilities: NaN
    ├── PlanError (ValueError)               a TensorRT plan is missing, damaged or unsuitable
    ├── ParityError (AssertionError)         a backend's probabilities differ from the reference
    └── BackendUnavailable (ImportError)     a backend cannot run on this machine

Each class below the root is also a subclass of the builtin in parentheses; either can be caught.

Messages say what is wrong and what to do about it. The same kind of fault has the same form:

    argument       name: expected WHAT, got VALUE
    file           path: what is wrong; what to do
    missing        path: no such file, path: no graph 'step'; export the model again
    package        backend 'x' needs the y package: pip install ...
    limit          name: NEED needed, LIMIT available; what to do
    data           sample 3: logits are NaN at position 4; the weights may contain NaN

The command line names its options as `--option: expected WHAT, got VALUE`.
"""


class AncestralError(Exception):
    """Base class of all exceptions of ancestral."""


class InvalidInput(AncestralError, ValueError):
    """An argument or a file has a value of the wrong type, shape or range."""


class BundleError(AncestralError, ValueError):
    """A bundle is missing, damaged, invalid, or of a newer format version."""


class CheckpointError(AncestralError, ValueError):
    """A checkpoint is missing, damaged, or belongs to another model."""


class TrainingError(AncestralError, RuntimeError):
    """Training cannot continue, for example because gradients are not finite."""


class ExportError(AncestralError, RuntimeError):
    """A model cannot be exported, or its graph breaks a rule of the bundle format."""


class NotADistribution(AncestralError, ArithmeticError):
    """A model's predictions are not probabilities."""


class PlanError(AncestralError, ValueError):
    """A TensorRT plan is missing, damaged, outdated, or cannot run here."""


class ParityError(AncestralError, AssertionError):
    """A backend's probabilities differ from the float64 reference by more than the tolerance."""


class BackendUnavailable(AncestralError, ImportError):
    """A backend cannot run on this machine; the message says what to install."""
