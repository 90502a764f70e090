"""Write the files of a bundle: weights, graphs, known answers and, last, the manifest."""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx_ir
import torch

import ancestral
from ancestral.bundles.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    PRIOR,
    Component,
    FileEntry,
    GraphEntry,
    Latent,
    Manifest,
    noted,
    seal,
)
from ancestral.bundles.manifest_file import BOUNDS
from ancestral.bundles.quantisation import Quantisation
from ancestral.errors import ExportError
from ancestral.export.known_answers import known_answers
from ancestral.export.latent_answers import latent_answers
from ancestral.export.lint import lint
from ancestral.export.memory.freed import give_back
from ancestral.export.operators import Form
from ancestral.export.passes.half_scales import widen_scales
from ancestral.export.passes.sixteen_bits import narrow as narrow_graph
from ancestral.export.passes.tied_embedding import multiply_in_place
from ancestral.export.programs import Graphs, Progress
from ancestral.export.weights import point_into, small_numbers, tensors_file, to_bytes, weights_file
from ancestral.files.atomic import sha256, write_atomically
from ancestral.signature import FloatDtype, GraphSignature
from ancestral.strict_json import parse
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import Model, family_of, model_config
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.posteriors import Codes
from ancestral.train.models.precision import narrowed_tensors

WEIGHTS = "graphs/weights.safetensors"
"""In the folder of the graphs: runtimes refuse external data outside the ONNX file's folder."""
KNOWN_ANSWERS = "known_answers.safetensors"


@dataclass(frozen=True, slots=True)
class Extras:
    """Contents of a bundle that do not come from its model.

    Attributes:
        files: content of further files, by name.
        ignored_fields: names of the fields of config.json that were ignored.
        quantisation: what is quantised in the model.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    ignored_fields: Sequence[str] = ()
    quantisation: Quantisation | None = None


def write_bundle(
    model: Model,
    folder: Path,
    label_prior: tuple[float, ...] | None,
    dtype: FloatDtype,
    graphs: Graphs,
    progress: Progress,
    extras: Extras,
) -> None:
    """Write the bundle of a model into a folder.

    Args:
        model: model in float32, its weights rounded to `dtype`.
        folder: folder of the bundle. If the model needs a prior, the prior's bundle is in it.
        label_prior: p(y), shape [num_classes]; None without labels.
        dtype: type of the bundle.
        graphs: graphs of the model, in float32.
        progress: called with a short text before each stage.
        extras: further files, and the names of ignored fields.

    Raises:
        ExportError: a graph could not be made or breaks a rule.
        OSError: a file could not be written.
    """
    writer = _Writer(folder, model, dtype, progress, extras.quantisation)
    for name, data in extras.files.items():
        writer.write(name, [data])
    give_back()
    for name, signature, forms in graphs:
        writer.graph(name, signature, forms)
    if isinstance(model, LatentVariableModel) and model.prior is None:
        writer.adopt(f"{PRIOR}/{MANIFEST}")
    writer.known_answers()
    writer.manifest(label_prior, _versions() | noted(extras.ignored_fields))


class _Writer:
    """Writes the files of a bundle and collects their manifest entries."""

    def __init__(
        self,
        folder: Path,
        model: Model,
        dtype: FloatDtype,
        progress: Progress,
        plan: Quantisation | None,
    ) -> None:
        """Write the weights."""
        self.folder, self.model, self.dtype, self.progress = folder, model, dtype, progress
        self._plan = plan
        self._files: dict[str, FileEntry] = {}
        self._graphs: dict[str, GraphEntry] = {}
        self._caches = (
            frozenset(entry.name for entry in model.cache_spec if entry.dtype == "float32")
            if isinstance(model, AutoregressiveModel)
            else frozenset()
        )
        progress("weights")
        weights = weights_file(model, dtype, plan)
        self._slots = weights.slots
        narrowed = narrowed_tensors(model) if dtype != "float32" else ()
        self._numbers = small_numbers(tensor for _, tensor in narrowed)
        self.write(WEIGHTS, weights.parts())

    def graph(self, name: str, signature: GraphSignature, forms: dict[Form, onnx_ir.Model]) -> None:
        """Convert the forms of a float32 graph to the type of the bundle, and write them.

        Raises:
            ExportError: the graph breaks a rule.
        """
        names: dict[str, str] = {}
        signature = signature.with_dtype(self._caches, self.dtype)
        for form, graph in forms.items():
            if form == "onnxruntime" and self.dtype == "bfloat16":
                # ONNX Runtime 1.31 has no bfloat16 kernels on a CPU: it could not load this form.
                continue
            if self.dtype != "float32":
                narrow_graph(graph, signature, self.dtype, self._slots, self._numbers)
            if self._plan is not None:
                widen_scales(graph.graph, self._slots)
            problems = lint(graph, form, signature)
            if problems:
                raise ExportError(
                    f"graph {name!r} in form {form}: breaks the rules of the bundle format; write "
                    f"these parts with other operators of PyTorch:\n  " + "\n  ".join(problems)
                )
            point_into(graph.graph, self._slots, Path(WEIGHTS).name)
            if form == "onnxruntime":
                multiply_in_place(graph.graph)
            suffix = "" if form == "portable" else f".{form}"
            names[form] = f"graphs/{name}{suffix}.onnx"
            self.write(names[form], [to_bytes(graph)])
        give_back()
        self._graphs[name] = GraphEntry(signature=signature, files=names)

    def known_answers(self) -> None:
        """Compute and write the known answers."""
        self.progress("known answers")
        give_back()
        if isinstance(self.model, AutoregressiveModel):
            answers = known_answers(self.model)
        else:
            answers = latent_answers(self.model)
        tensors = {name: torch.from_numpy(np.asarray(array)) for name, array in answers.items()}
        self.write(KNOWN_ANSWERS, tensors_file(tensors).parts())

    def manifest(self, label_prior: tuple[float, ...] | None, written_by: dict[str, str]) -> None:
        """Write the manifest for all files written so far.

        Args:
            label_prior: p(y), shape [num_classes], or None.
            written_by: versions of packages, and the names of ignored fields.

        Raises:
            ExportError: the manifest exceeds the limits for opening a bundle.
        """
        own = self.model if isinstance(self.model, AutoregressiveModel) else None
        model = Component(
            family=family_of(self.model),
            config=model_config(self.model),
            parameters=_parameters(self.model, self._plan),
        )
        manifest = Manifest(
            version=1 if self._plan is None else FORMAT_VERSION,
            kind="latent_variable" if own is None else "autoregressive",
            dtype=self.dtype,
            data=self.model.data,
            label_prior=label_prior,
            label_optional=own is not None and own.label_optional,
            first_position=1 if own is not None and own.first_position else 0,
            latent=_latent(self.model),
            quantisation=self._plan,
            components={"model": model},
            graphs=self._graphs,
            weights=WEIGHTS,
            known_answers=KNOWN_ANSWERS,
            files=self._files,
            written_by=written_by,
            sha256="",
        )
        write_manifest(manifest, self.folder)

    def adopt(self, name: str) -> None:
        """Add a file that is already in the folder to the manifest."""
        file = self.folder / name
        self._files[name] = FileEntry(size=file.stat().st_size, sha256=sha256(file))

    def write(self, name: str, parts: Iterable[bytes | memoryview]) -> None:
        """Write a file part by part, and add it to the manifest."""
        digest, size = hashlib.sha256(), 0

        def write(file: BinaryIO) -> None:
            nonlocal size
            for part in parts:
                digest.update(part)
                size += file.write(part)

        write_atomically(self.folder / name, write)
        self._files[name] = FileEntry(size=size, sha256=digest.hexdigest())


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write a manifest with its own hash; fields that only newer formats have are left out.

    Raises:
        ExportError: the manifest exceeds the limits for opening a bundle.
        OSError: the file could not be written.
    """
    newer = {"quantisation", "cost"} if manifest.version == 1 else set()
    values = manifest.model_dump(mode="json", exclude=newer)
    values["sha256"] = seal(values)
    content = json.dumps(values, indent=1).encode()
    try:
        parse(content, BOUNDS)
    except ValueError as error:
        raise ExportError(
            f"{MANIFEST}: over a limit of the bundle format ({error}); make the configuration "
            f"or the data description of the model smaller"
        ) from error
    write_atomically(folder / MANIFEST, content)


def _parameters(model: Model, plan: Quantisation | None) -> int:
    """Return the number of parameters, whose codes count as the numbers that they stand for."""
    numbers = sum(parameter.numel() for parameter in model.parameters())
    for name in () if plan is None else plan.tensors:
        path, _, attribute = name.rpartition(".")
        numbers += getattr(model.get_submodule(path), attribute).numel()
    return numbers


def _latent(model: Model) -> Latent | None:
    """Return the manifest's description of the latents; None for an autoregressive model."""
    if isinstance(model, AutoregressiveModel):
        return None
    prior = model.prior
    return Latent(
        shape=model.latent_shape,
        posterior="codes" if isinstance(model.posterior, Codes) else "gaussian",
        prior="autoregressive" if prior is None else "mixture" if prior.chooses else "standard",
        continuous=model.observation.continuous,
    )


def _versions() -> dict[str, str]:
    """Return the versions of Python, ancestral and the packages that write a bundle."""
    packages = ("torch", "onnx", "onnxscript", "safetensors", "numpy")
    return {
        "ancestral": ancestral.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
