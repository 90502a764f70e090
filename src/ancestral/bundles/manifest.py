"""Manifest of a bundle: a description of its contents in JSON, checked field by field."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ancestral import limits
from ancestral.arrays import shown
from ancestral.bundles.cost import Cost
from ancestral.bundles.quantisation import Quantisation
from ancestral.dataspec import DataSpec, Shape
from ancestral.errors import InvalidInput
from ancestral.signature import FloatDtype, GraphSignature, Record

FORMAT_VERSION = 2
"""Newest version that is read and written; a bundle has the oldest one that has all its fields."""
_QUANTISED = 2
"""Oldest version that has quantised weights and their cost."""
MANIFEST = "manifest.json"
PRIOR = "prior"
"""Folder inside a bundle that has the bundle of its autoregressive prior."""
_OF_SUM = 1e-6
"""Largest difference between a sum of probabilities and 1; they were rounded when written."""
_IGNORED, _BETWEEN = "ignored fields", ", "
_LONGEST = 1000
"""Most characters in the names of all fields that the user ignored."""


def _probabilities(values: object) -> object:
    """Check class probabilities before pydantic does, which would report each on its own."""
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
    """Model in the bundle, with all that PyTorch needs to build it again."""

    family: Name
    config: dict[str, Any]
    parameters: int = Field(ge=0, le=limits.SIZE)


class GraphEntry(Record):
    """Graph in the bundle: its signature, and its file in each form."""

    signature: GraphSignature
    files: dict[Name, FileName] = Field(max_length=limits.GRAPHS)


class Latent(Record):
    """Properties of a latent variable model, in addition to its space of events.

    Attributes:
        shape: shape of z.
        posterior: q(z | x): parameters that `encode` returns, or codes that it chooses.
        prior: p(z); an autoregressive prior is a bundle inside this one.
        continuous: whether p(x | z) is a density. Then events are real, in units of levels, and
            level i covers the interval [i, i + 1). Its bounds are on log-densities of x + u; they
            bound log p(x) too, but are not comparable with exact bits/dim.
    """

    shape: Shape
    posterior: Literal["gaussian", "codes"]
    prior: Literal["standard", "mixture", "autoregressive"]
    continuous: bool


class Manifest(Record):
    """All that a reader must know before it opens another file of the bundle.

    Attributes:
        version: version of the format; a reader refuses a newer one.
        kind: kind of the model.
        dtype: dtype of weights, activations and the cache; log-probabilities are always float32.
        data: space of events.
        label_prior: p(y) in the training data, or `None` without labels.
        label_optional: whether the label num_classes means "no label", and p(x) is modelled too.
        first_position: 1 if x_0 must be observed (no start symbol), otherwise 0.
        latent: properties of a latent variable model, otherwise `None`.
        quantisation: weights of 4 or 8 bits; `None` if there are none.
        cost: likelihood that the bundle loses against its source; `None` if it was not measured.
        components: models by name; the graphs are those of `model`.
        graphs: graphs by name.
        weights: path of the weights file.
        known_answers: path of the known answers.
        files: every file except this one, by its path relative to the bundle.
        written_by: versions of the packages that wrote the bundle, and fields that a user ignored.
        sha256: hash of the manifest itself, as computed by `seal`.
    """

    version: int = Field(strict=True, ge=1)
    kind: Literal["autoregressive", "latent_variable"]
    dtype: FloatDtype
    data: DataSpec
    label_prior: Annotated[tuple[float, ...] | None, BeforeValidator(_probabilities)]
    label_optional: bool
    first_position: Literal[0, 1]
    latent: Latent | None
    quantisation: Quantisation | None = None
    cost: Cost | None = None
    components: dict[Name, Component] = Field(max_length=limits.COMPONENTS)
    graphs: dict[Name, GraphEntry] = Field(max_length=limits.GRAPHS)
    weights: FileName
    known_answers: FileName
    files: dict[FileName, FileEntry] = Field(max_length=limits.FILES)
    written_by: dict[Name, Name] = Field(max_length=limits.GRAPHS)
    sha256: str

    @property
    def has_prior(self) -> bool:
        """Whether the bundle has the bundle of an autoregressive prior inside it."""
        return self.latent is not None and self.latent.prior == "autoregressive"

    @property
    def used(self) -> set[str]:
        """Files that a bundle with this manifest needs, except the tokenizer's."""
        graphs = {file for entry in self.graphs.values() for file in entry.files.values()}
        prior = {f"{PRIOR}/{MANIFEST}"} if self.has_prior else set()
        return graphs | {self.weights, self.known_answers} | prior

    @model_validator(mode="after")
    def _agrees(self) -> "Manifest":
        """Check that the fields agree with each other."""
        if (self.latent is None) != (self.kind == "autoregressive"):
            raise ValueError(f"latent: does not fit kind {self.kind}, got {shown(self.latent)}")
        if self.cost is not None and self.quantisation is None:
            raise ValueError("cost: expected none in a bundle without quantised weights")
        if self.quantisation is not None and self.version < _QUANTISED:
            raise ValueError(
                f"version: expected {_QUANTISED} with quantised weights, got {self.version}"
            )
        if "model" not in self.components:
            raise ValueError(f"components: no 'model', only {shown(sorted(self.components))}")
        classes, prior = self.data.num_classes, self.label_prior
        if self.label_optional and classes is None:
            raise ValueError("label_optional: expected False without labels, got True")
        if (prior is None) != (classes is None):
            raise ValueError(
                f"label_prior: expected {classes or 'no'} probabilities, got {shown(prior)}"
            )
        if prior is not None and classes is not None:
            check_label_prior(prior, classes)
        for name, entry in self.graphs.items():
            wrong = [file for file in entry.files.values() if not file.endswith(".onnx")]
            if wrong or "portable" not in entry.files:
                raise ValueError(
                    f"graph {shown(name)}: expected .onnx files, one of them portable, got "
                    f"{shown(entry.files)}"
                )
        return self


def check_label_prior(prior: Sequence[float], num_classes: int) -> None:
    """Check that `prior` is a distribution over the classes.

    Raises:
        InvalidInput: the number of probabilities is not `num_classes`, one is negative or not
            finite, or their sum is not 1.
    """
    if len(prior) != num_classes or not all(0 <= each < math.inf for each in prior):
        raise InvalidInput(
            f"label_prior: expected {num_classes} probabilities, got {len(prior)}: {shown(prior)}"
        )
    if not abs(sum(prior) - 1) <= _OF_SUM:
        raise InvalidInput(f"label_prior: expected a sum of 1, got {sum(prior)}")


def seal(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest's values, without that hash, in a canonical form."""
    rest = {key: value for key, value in values.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def noted(fields: Sequence[str]) -> dict[str, str]:
    """Return the entry of `written_by` for fields of a config.json that the user ignored, if any.

    They are provenance and do not affect how a reader uses the bundle (docs/decisions/0020).

    Raises:
        InvalidInput: the names have more than 1000 characters in total.

    >>> noted(["my_note", "stage"])
    {'ignored fields': 'my_note, stage'}
    """
    names = _BETWEEN.join(fields)
    if len(names) > _LONGEST:
        raise InvalidInput(
            f"ignored fields: expected at most {_LONGEST} characters of names, got {len(names)}; "
            f"remove the fields from config.json"
        )
    return {_IGNORED: names} if fields else {}


def ignored_fields(written_by: Mapping[str, str]) -> list[str]:
    """Return the ignored fields that `written_by` lists.

    >>> ignored_fields({"torch": "2.9", "ignored fields": "my_note, stage"})
    ['my_note', 'stage']
    """
    return written_by[_IGNORED].split(_BETWEEN) if _IGNORED in written_by else []


def versions(written_by: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of packages in `written_by`, without the ignored fields."""
    return {name: value for name, value in written_by.items() if name != _IGNORED}
