"""The manifest of a bundle: what it holds, in JSON, checked field by field."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ancestral import limits
from ancestral.arrays import shown
from ancestral.dataspec import DataSpec, Shape
from ancestral.errors import InvalidInput
from ancestral.signature import FloatDtype, GraphSignature, Record

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
PRIOR = "prior"
"""Folder, inside a bundle, of the bundle of its autoregressive prior."""
_OF_SUM = 1e-6
"""By which a sum of probabilities may differ from 1: they were rounded when they were written."""
_IGNORED, _BETWEEN = "ignored fields", ", "
_LONGEST = 1000
"""Characters of the names of all fields that a user had ignored."""


def _probabilities(values: object) -> object:
    """Those of the classes, looked at before each is validated: one sentence for all."""
    if isinstance(values, list | tuple):
        wrong = [each for each in values if isinstance(each, bool) or not isinstance(each, Real)]
        if wrong or len(values) > limits.CLASSES:
            got = shown(wrong[0]) if wrong else f"{len(values):,} of them"
            raise ValueError(f"expected at most {limits.CLASSES:,} probabilities, got {got}")
    return values


Name = Annotated[str, Field(max_length=limits.NAME)]
FileName = Annotated[str, Field(max_length=limits.FILE_NAME)]


class FileEntry(Record):
    """Size and hash of one file of the bundle."""

    size: int = Field(ge=0, le=limits.SIZE)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Component(Record):
    """One model of the bundle: enough to build it again in PyTorch."""

    family: Name
    config: dict[str, Any]
    parameters: int = Field(ge=0, le=limits.SIZE)


class GraphEntry(Record):
    """One graph: its signature, and its file in each form."""

    signature: GraphSignature
    files: dict[Name, FileName] = Field(max_length=limits.GRAPHS)


class Latent(Record):
    """What a latent variable model is, beside its space of events.

    Attributes:
        shape: of z.
        posterior: q(z | x): parameters of `encode`, or codes that it chooses.
        prior: p(z); an autoregressive one is a bundle of its own inside this one.
        continuous: whether p(x | z) is a density: events are real, in units of levels, and a level
            i stands for the interval [i, i + 1). Its bounds are of log-densities of x + u, bounds
            on log p(x) too, and not comparable with exact bits/dim.
    """

    shape: Shape
    posterior: Literal["gaussian", "codes"]
    prior: Literal["standard", "mixture", "autoregressive"]
    continuous: bool


class Manifest(Record):
    """Everything that a reader must know before it opens another file.

    Attributes:
        version: of the format; a reader refuses a newer one.
        kind: which contract the model keeps.
        dtype: of weights, activations and the cache; log-probabilities are float32 in every dtype.
        data: the space of events.
        label_prior: p(y) in the training data, or None without labels.
        label_optional: whether the label num_classes stands for none, so that p(x) is modelled too.
        first_position: 1 where x_0 must be observed (no start symbol), else 0.
        latent: of a latent variable model, else None.
        components: the models; `model` is the one that the graphs are of.
        graphs: by name.
        weights: path of the weights file.
        known_answers: path of the reference answers.
        files: every file but this one, by its path relative to the bundle.
        written_by: versions of the packages that wrote the bundle, and what its user had ignored.
        sha256: of the manifest itself, as `seal` computes it.
    """

    version: int = Field(strict=True, ge=1)
    kind: Literal["autoregressive", "latent_variable"]
    dtype: FloatDtype
    data: DataSpec
    label_prior: Annotated[tuple[float, ...] | None, BeforeValidator(_probabilities)]
    label_optional: bool
    first_position: Literal[0, 1]
    latent: Latent | None
    components: dict[Name, Component] = Field(max_length=limits.COMPONENTS)
    graphs: dict[Name, GraphEntry] = Field(max_length=limits.GRAPHS)
    weights: FileName
    known_answers: FileName
    files: dict[FileName, FileEntry] = Field(max_length=limits.FILES)
    written_by: dict[Name, Name] = Field(max_length=limits.GRAPHS)
    sha256: str

    @property
    def has_prior(self) -> bool:
        """Whether the bundle of an autoregressive prior is inside this one."""
        return self.latent is not None and self.latent.prior == "autoregressive"

    @property
    def used(self) -> set[str]:
        """The files that every bundle of this manifest needs, but for its tokenizer's."""
        graphs = {file for entry in self.graphs.values() for file in entry.files.values()}
        prior = {f"{PRIOR}/{MANIFEST}"} if self.has_prior else set()
        return graphs | {self.weights, self.known_answers} | prior

    @model_validator(mode="after")
    def _agrees(self) -> "Manifest":
        """Fields that say the same thing twice say the same."""
        if (self.latent is None) != (self.kind == "autoregressive"):
            raise ValueError(f"latent: does not suit kind {self.kind}, got {shown(self.latent)}")
        if "model" not in self.components:
            raise ValueError(f"components: expected 'model' in {shown(sorted(self.components))}")
        classes, prior = self.data.num_classes, self.label_prior
        if self.label_optional and classes is None:
            raise ValueError("label_optional: there are no labels")
        if (prior is None) != (classes is None):
            raise ValueError(f"label_prior: expected {classes} probabilities, got {shown(prior)}")
        if prior is not None and classes is not None:
            check_label_prior(prior, classes)
        for name, entry in self.graphs.items():
            wrong = [file for file in entry.files.values() if not file.endswith(".onnx")]
            if wrong or "portable" not in entry.files:
                raise ValueError(
                    f"graph {shown(name)}: expected .onnx files, one portable: {shown(entry.files)}"
                )
        return self


def check_label_prior(prior: Sequence[float], num_classes: int) -> None:
    """Refuse what is not a distribution over the classes.

    Raises:
        InvalidInput: another number of them, one that is negative or not finite, or another sum
            than 1.
    """
    if len(prior) != num_classes or not all(0 <= each < math.inf for each in prior):
        raise InvalidInput(
            f"label_prior: expected {num_classes} probabilities, got {len(prior)}: {shown(prior)}"
        )
    if not abs(sum(prior) - 1) <= _OF_SUM:
        raise InvalidInput(f"label_prior: expected a sum of 1, got {sum(prior)}")


def seal(values: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest's values, but for that sum itself, in one canonical spelling."""
    rest = {key: value for key, value in values.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def noted(fields: Sequence[str]) -> dict[str, str]:
    """What `written_by` says of the fields of a config.json that a user had ignored, if any.

    They are provenance and change nothing that a reader does (docs/decisions/0020).

    Raises:
        InvalidInput: their names are too long together.

    >>> noted(["my_note", "stage"])
    {'ignored fields': 'my_note, stage'}
    """
    names = _BETWEEN.join(fields)
    if len(names) > _LONGEST:
        raise InvalidInput(
            f"ignored fields: expected at most {_LONGEST} characters of names, got {len(names)}: "
            f"take the fields out of config.json"
        )
    return {_IGNORED: names} if fields else {}


def ignored_fields(written_by: Mapping[str, str]) -> list[str]:
    """The fields that `written_by` names.

    >>> ignored_fields({"torch": "2.9", "ignored fields": "my_note, stage"})
    ['my_note', 'stage']
    """
    return written_by[_IGNORED].split(_BETWEEN) if _IGNORED in written_by else []


def versions(written_by: Mapping[str, str]) -> dict[str, str]:
    """The rest of `written_by`: versions of packages."""
    return {name: value for name, value in written_by.items() if name != _IGNORED}
