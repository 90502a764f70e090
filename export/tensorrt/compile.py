"""A bundle's graphs to TensorRT plans, which are kept: what was compiled before is not again."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ancestral.bundles.bundle import Bundle
from ancestral.errors import BackendUnavailable, InvalidInput
from ancestral.export.tensorrt.build_process import Progress, run
from ancestral.export.tensorrt.builder import Request
from ancestral.export.tensorrt.profiles import BATCH, LATENTS, profiles
from ancestral.plans import modules
from ancestral.plans.gpus import gpus
from ancestral.plans.key import FORM, PlanKey, Range
from ancestral.plans.record import PlanRecord
from ancestral.plans.store import PlanStore

_NO_FLOAT32 = "sm_75"
"""Turing, for which tensorrt_rtx refuses float32 products: it must be asked for."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to compile.

    Attributes:
        module: tensorrt or tensorrt_rtx; the first that is installed where None.
        targets: sm_80, say; all that the module compiles for where empty.
        batch: least, best and largest number of rows.
        latents: the same of the latents of an event.
        prefix: shortest and longest block of observed positions; up to the event where None.
        memory: bytes that a layer may use as scratch; the library's own limit where 0.
        seconds: after which a build is given up; some graphs keep the builder busy for ever.
        plugin: whether causal attention is our own kernel, where a graph has such attention; of
            `tensorrt` alone.
    """

    module: str | None = None
    targets: tuple[str, ...] = ()
    batch: Range = BATCH
    latents: Range = LATENTS
    prefix: tuple[int, int] | None = None
    memory: int = 0
    seconds: float = 3600.0
    plugin: bool = False


@dataclass(frozen=True, slots=True)
class Compiler:
    """A TensorRT that is installed here, and what it is asked for."""

    options: Options
    module: modules.Module
    version: str
    targets: tuple[str, ...]
    store: PlanStore = field(default_factory=PlanStore)

    @classmethod
    def open(cls, options: Options, store: PlanStore | None = None) -> "Compiler":
        """Find the library, and check that it serves the GPUs that are asked for.

        Raises:
            BackendUnavailable: no TensorRT is installed, or it serves no such GPU.
            InvalidInput: a target that is no GPU's.
        """
        module = installed(options.module)
        if options.plugin and module != "tensorrt":
            raise BackendUnavailable(
                f"--plugin: {module} takes no kernels of ours; `tensorrt` does, on a data-center "
                f"GPU: leave it out"
            )
        targets = _targets(options, module)
        store = PlanStore() if store is None else store
        return cls(options, module, str(modules.imported(module).__version__), targets, store)

    def key(self, bundle: Bundle, graph: str) -> PlanKey:
        """What decides the plan of a graph of a bundle.

        Raises:
            BundleError: there is no such graph.
            InvalidInput: sizes that the graph cannot have.
        """
        options, file = self.options, bundle.graph_file(graph, FORM)
        signature, length = bundle.manifest.graphs[graph].signature, bundle.manifest.data.length
        return PlanKey.of_graph(
            bundle,
            graph,
            module=self.module,
            version=self.version,
            targets=self.targets,
            profiles=profiles(signature, length, options.batch, options.latents, options.prefix),
            memory=options.memory,
            kernels=_kernels(file) if options.plugin else {},
        )

    def request(self, bundle: Bundle, key: PlanKey) -> Request:
        """What is built for a key: a graph of that bundle."""
        return Request(
            module=self.module,
            file=bundle.graph_file(key.graph, FORM).resolve(),
            signature=bundle.manifest.graphs[key.graph].signature,
            profiles=key.profiles,
            targets=self.targets if modules.portable_targets(modules.imported(self.module)) else (),
            memory=key.memory,
            # 80 for sm_80 to sm_89, and so on.
            plugin=int(gpus()[0].target.removeprefix("sm_")) // 10 * 10 if key.kernels else 0,
        )

    def compile(
        self,
        bundle: Bundle,
        graph: str,
        progress: Progress = lambda step: None,
        waiting: Callable[[], None] = lambda: None,
    ) -> tuple[PlanRecord, bool]:
        """The plan of a graph: the one that is kept, or one that is built now.

        Args:
            bundle: holds the graph.
            graph: its name.
            progress: told what the builder is at.
            waiting: told once, if another process builds the same plan.

        Returns:
            its record, and whether it was built now.

        Raises:
            ExportError: the graph cannot be built; the message holds the end of the log.
            BundleError: there is no such graph.
            PlanError: the store cannot be trusted.
        """
        key = self.key(bundle, graph)
        request = self.request(bundle, key)

        def make(folder: Path) -> tuple[str, ...]:
            with bundle.reading(bundle.graph_name(graph, FORM), bundle.manifest.weights):
                return run(request, folder, progress, self.options.seconds)

        return self.store.build(key, make, waiting)


def _kernels(file: Path) -> dict[str, str]:
    """The hash of each of our kernels that a plan of a graph would hold."""
    from ancestral.export.tensorrt.plugin_form import NAME, takes_plugin
    from ancestral.triton_kernels.masked_attention.dense import fingerprint

    if not takes_plugin(file):
        return {}
    return {NAME: hashlib.sha256(fingerprint().encode()).hexdigest()}


def installed(module: str | None = None) -> modules.Module:
    """The module that is to be used: the one asked for, or the first that is installed.

    Raises:
        BackendUnavailable: it is not installed.
        InvalidInput: it is not a module of TensorRT.
    """
    if module is not None and module not in modules.MODULES:
        raise InvalidInput(f"--module: expected one of {list(modules.MODULES)}, got {module!r}")
    for name in modules.installed_modules():
        if module in (None, name):
            return name
    raise BackendUnavailable(f"compiling needs {module or 'TensorRT'}: {modules.INSTALL}")


def _targets(options: Options, module: modules.Module) -> tuple[str, ...]:
    """The GPUs to compile for.

    Raises:
        BackendUnavailable: the module does not serve one, or there is no GPU to compile on.
        InvalidInput: one is no GPU's.
    """
    for target in options.targets:
        if not (target.startswith("sm_") and target[3:].isdecimal()):
            raise InvalidInput(f"--target: expected a GPU's capability, sm_89 say, got {target!r}")
    known = modules.portable_targets(modules.imported(module))
    if not known:
        return _this_gpu(options, module)
    others = [target for target in options.targets if target not in known]
    if others:
        raise BackendUnavailable(
            f"--target {others[0]}: {module} compiles for {', '.join(known)}: for another GPU, "
            f"compile on that GPU, with `tensorrt`: pip install 'ancestral[tensorrt]'"
        )
    return options.targets or tuple(target for target in known if target != _NO_FLOAT32)


def _this_gpu(options: Options, module: modules.Module) -> tuple[str, ...]:
    """The GPU of this machine, which `tensorrt` compiles for and measures on.

    Raises:
        BackendUnavailable: there is none, or another one was asked for.
    """
    here = gpus()
    if not here:
        raise BackendUnavailable(
            f"{module} compiles on the GPU that a plan is for, and nvidia-smi finds none here: "
            f"compile there, or for a GeForce or RTX GPU by `tensorrt_rtx`, anywhere: "
            f"pip install 'ancestral[tensorrt-rtx]'"
        )
    if any(target != here[0].target for target in options.targets):
        raise BackendUnavailable(
            f"--target {', '.join(options.targets)}: {module} compiles for the GPU that it runs "
            f"on, here {here[0].name} ({here[0].target}): leave --target out, or compile there"
        )
    return (here[0].itself,)
