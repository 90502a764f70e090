"""Compile a bundle's graphs to TensorRT plans, and cache the plans."""

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
"""Turing, which is compiled for only on request: tensorrt_rtx 1.7.1 refuses float32 products."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a compilation.

    Attributes:
        module: "tensorrt" or "tensorrt_rtx"; None for the first that is installed.
        targets: GPUs by compute capability, for example "sm_89". Empty: for `tensorrt_rtx` all
            that it compiles for, except sm_75; for `tensorrt` the GPU of this machine.
        batch: least, best and largest number of rows.
        latents: least, best and largest number of latents of an event.
        prefix: shortest and longest block of observed positions; None for 1 up to the whole event.
        memory: scratch memory of a layer, in bytes; 0 for the library's own limit.
        seconds: time limit of a build, in seconds; some builds never end.
        plugin: whether causal attention is computed by our plugin; with `tensorrt` only.
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
    """Compiles graphs with an installed TensorRT module.

    Attributes:
        options: options of the compilation.
        module: TensorRT module that compiles.
        version: version of the module.
        targets: GPUs to compile for.
        store: cache of compiled plans.
    """

    options: Options
    module: modules.Module
    version: str
    targets: tuple[str, ...]
    store: PlanStore = field(default_factory=PlanStore)

    @classmethod
    def open(cls, options: Options, store: PlanStore | None = None) -> "Compiler":
        """Find the TensorRT module, and check that it can compile with the options.

        Args:
            options: options of the compilation.
            store: cache of compiled plans; None for the one in the user's cache folder.

        Raises:
            BackendUnavailable: TensorRT is not installed, cannot compile for a target, or does not
                support the plugin.
            InvalidInput: the module is unknown, or a target is not a compute capability.
        """
        module = installed(options.module)
        if options.plugin and module != "tensorrt":
            raise BackendUnavailable(
                f"--plugin: {module} does not support plugins; leave the option out, or compile "
                f"with `tensorrt` on a data-center GPU"
            )
        targets = _targets(options, module)
        store = PlanStore() if store is None else store
        return cls(options, module, str(modules.imported(module).__version__), targets, store)

    def key(self, bundle: Bundle, graph: str) -> PlanKey:
        """Return the key of a graph's plan: everything that decides its bytes.

        Args:
            bundle: bundle with the graph.
            graph: name of the graph.

        Raises:
            BundleError: the bundle has no such graph.
            InvalidInput: a range of sizes is not valid for the graph.
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
        """Return the request that builds the plan of a key.

        Args:
            bundle: bundle with the graph.
            key: key of the plan, from `key`.
        """
        return Request(
            module=self.module,
            file=bundle.graph_file(key.graph, FORM).resolve(),
            signature=bundle.manifest.graphs[key.graph].signature,
            profiles=key.profiles,
            targets=self.targets if modules.portable_targets(modules.imported(self.module)) else (),
            memory=key.memory,
            # The kernels are compiled per major version: 80 for sm_80 to sm_89.
            plugin=int(gpus()[0].target.removeprefix("sm_")) // 10 * 10 if key.kernels else 0,
        )

    def compile(
        self,
        bundle: Bundle,
        graph: str,
        progress: Progress = lambda step: None,
        waiting: Callable[[], None] = lambda: None,
    ) -> tuple[PlanRecord, bool]:
        """Return the plan of a graph from the cache, or build it.

        Args:
            bundle: bundle with the graph.
            graph: name of the graph.
            progress: called for each step of a build, see `build_process.Progress`.
            waiting: called once if another process is building the same plan.

        Returns:
            Record of the plan, and whether it was built now.

        Raises:
            ExportError: the graph cannot be built; the message has the end of the library's errors.
            BundleError: the bundle has no such graph.
            InvalidInput: a range of sizes is not valid for the graph.
            PlanError: the folder of plans is not private to the user.
        """
        key = self.key(bundle, graph)
        request = self.request(bundle, key)

        def make(folder: Path) -> tuple[str, ...]:
            with bundle.reading(bundle.graph_name(graph, FORM), bundle.manifest.weights):
                return run(request, folder, progress, self.options.seconds)

        return self.store.build(key, make, waiting)


def _kernels(file: Path) -> dict[str, str]:
    """Return the SHA-256 of each of our kernels that the graph's plan would contain, by name."""
    from ancestral.export.tensorrt.plugin_form import NAME, takes_plugin
    from ancestral.triton_kernels.masked_attention.dense import fingerprint

    if not takes_plugin(file):
        return {}
    return {NAME: hashlib.sha256(fingerprint().encode()).hexdigest()}


def installed(module: str | None = None) -> modules.Module:
    """Return the TensorRT module to use: `module`, or the first that is installed.

    Args:
        module: "tensorrt", "tensorrt_rtx" or None.

    Raises:
        BackendUnavailable: the module, or any if None, is not installed.
        InvalidInput: there is no TensorRT module of that name.
    """
    if module is not None and module not in modules.MODULES:
        raise InvalidInput(f"--module: expected one of {list(modules.MODULES)}, got {module!r}")
    for name in modules.installed_modules():
        if module in (None, name):
            return name
    raise BackendUnavailable(
        f"compiling needs the {module or 'tensorrt or tensorrt_rtx'} package: {modules.INSTALL}"
    )


def _targets(options: Options, module: modules.Module) -> tuple[str, ...]:
    """Return the GPUs to compile for.

    Raises:
        BackendUnavailable: the module cannot compile for a target, or needs a GPU and finds none.
        InvalidInput: a target is not a compute capability.
    """
    for target in options.targets:
        if not (target.startswith("sm_") and target[3:].isdecimal()):
            raise InvalidInput(
                f"--target: expected a compute capability, for example sm_89, got {target!r}"
            )
    known = modules.portable_targets(modules.imported(module))
    if not known:
        return _this_gpu(options, module)
    others = [target for target in options.targets if target not in known]
    if others:
        raise BackendUnavailable(
            f"--target: {module} compiles for {', '.join(known)}, got {others[0]}; for another GPU "
            f"compile on that GPU with `tensorrt`: pip install 'ancestral[tensorrt]'"
        )
    return options.targets or tuple(target for target in known if target != _NO_FLOAT32)


def _this_gpu(options: Options, module: modules.Module) -> tuple[str, ...]:
    """Return the GPU of this machine, the only one that `tensorrt` compiles for.

    Raises:
        BackendUnavailable: this machine has no GPU, or a target is another GPU.
    """
    here = gpus()
    if not here:
        raise BackendUnavailable(
            f"{module} compiles only on the GPU that a plan is for, and nvidia-smi finds no GPU "
            f"here; compile there, or for a GeForce or RTX GPU use `tensorrt_rtx`, which needs no "
            f"GPU: pip install 'ancestral[tensorrt-rtx]'"
        )
    if any(target != here[0].target for target in options.targets):
        raise BackendUnavailable(
            f"--target: {module} compiles only for the GPU of this machine, {here[0].name} "
            f"({here[0].target}), got {', '.join(options.targets)}; leave the option out, or "
            f"compile on the other GPU"
        )
    return (here[0].itself,)
