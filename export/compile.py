"""A bundle's graphs to TensorRT plans, which are kept: what was compiled before is not again."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ancestral.bundle import Bundle
from ancestral.errors import BackendUnavailable, ExportError, InvalidInput
from ancestral.export.profiles import BATCH, LATENTS, profiles
from ancestral.export.tensorrt import Request, installed, portable_targets, release
from ancestral.gpus import gpus
from ancestral.plan_key import Module, PlanKey, Range
from ancestral.plan_store import PlanRecord, PlanStore

Progress = Callable[[Mapping[str, Any]], None]
"""Told a document for each step: phase, the phase that it is within if it begins, step, of."""
_TAIL = 20
"""Lines of the library's errors that a message repeats."""
_START = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).personality(0x0040000)
os.execv(sys.executable, [sys.executable, "-m", "ancestral.export.tensorrt"])
"""
"""Starts a build with its memory at the same addresses each time (ADDR_NO_RANDOMIZE of Linux's
personality, where a sandbox allows it)."""
_KEPT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "CUDA_VISIBLE_DEVICES")
"""Variables that a build may need."""
FORM = "tensorrt"
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
    """

    module: str | None = None
    targets: tuple[str, ...] = ()
    batch: Range = BATCH
    latents: Range = LATENTS
    prefix: tuple[int, int] | None = None
    memory: int = 0
    seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class Compiler:
    """A TensorRT that is installed here, and what it is asked for."""

    options: Options
    module: Module
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
        targets = _targets(options, module)
        store = PlanStore() if store is None else store
        return cls(options, module, release(module), targets, store)

    def key(self, bundle: Bundle, graph: str) -> PlanKey:
        """What decides the plan of a graph of a bundle.

        Raises:
            BundleError: there is no such graph.
            InvalidInput: sizes that the graph cannot have.
        """
        manifest, options = bundle.manifest, self.options
        name = str(bundle.graph_file(graph, FORM).relative_to(bundle.path))
        return PlanKey(
            graph=graph,
            form=FORM if FORM in manifest.graphs[graph].files else "portable",
            graph_sha256=manifest.files[name].sha256,
            weights_sha256=manifest.files[manifest.weights].sha256,
            module=self.module,
            version=self.version,
            targets=self.targets,
            profiles=profiles(
                manifest.graphs[graph].signature,
                manifest.data.length,
                options.batch,
                options.latents,
                options.prefix,
            ),
            memory=options.memory,
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
        request = Request(
            module=self.module,
            file=bundle.graph_file(graph, FORM).resolve(),
            signature=bundle.manifest.graphs[graph].signature,
            profiles=key.profiles,
            targets=self.targets if portable_targets(self.module) else (),
            memory=self.options.memory,
        )
        return self.store.build(
            key, lambda folder: run(request, folder, progress, self.options.seconds), waiting
        )


def run(
    request: Request,
    folder: Path,
    progress: Progress = lambda step: None,
    seconds: float = 3600.0,
) -> tuple[str, ...]:
    """Compile in a process of its own, which may crash or hang without harm.

    Args:
        request: what.
        folder: where the plan and the log go.
        progress: told what the builder is at.
        seconds: after which the build is given up.

    Returns:
        the caches that are appended in place.

    Raises:
        ExportError: no plan was made; the message says why, by the end of what the library said.
    """
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=folder,
            env=_environment(),
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        done: tuple[str, ...] | None = None
        try:
            with process:
                process.stdin.write(request.model_dump_json())
                process.stdin.close()
                for line in process.stdout:
                    document = json.loads(line)
                    if "in_place" in document:
                        done = tuple(document["in_place"])
                    else:
                        progress(document)
        finally:
            late = not timer.is_alive()
            timer.cancel()
            process.kill()
        if process.returncode != 0 or done is None:
            errors.seek(0)
            told = "".join(f"\n  {line}" for line in errors.read().splitlines()[-_TAIL:])
            how = _ending(process.returncode, seconds if late else None)
            raise ExportError(f"{request.file}: {request.module} built no plan ({how}){told}")
        return done


def _environment() -> dict[str, str]:
    """What a build is started with: the same each time.

    The builder orders some of what it writes by where it lies in memory, and that depends on all
    that the process did before: on its variables, on names of files, on the seed of Python's hashes.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "PYTHONHASHSEED": "0"}


def _ending(status: int, seconds: float | None) -> str:
    if seconds is not None:
        return f"given up after {seconds:g} s"
    return f"it crashed, signal {-status}" if status < 0 else f"exit status {status}"


def _targets(options: Options, module: Module) -> tuple[str, ...]:
    """The GPUs to compile for.

    Raises:
        BackendUnavailable: the module does not serve one, or there is no GPU to compile on.
        InvalidInput: one is no GPU's.
    """
    for target in options.targets:
        if not (target.startswith("sm_") and target[3:].isdecimal()):
            raise InvalidInput(f"--target: expected a GPU's capability, sm_89 say, got {target!r}")
    known = portable_targets(module)
    if not known:
        return _this_gpu(options, module)
    others = [target for target in options.targets if target not in known]
    if others:
        raise BackendUnavailable(
            f"--target {others[0]}: {module} compiles for {', '.join(known)}: for another GPU, "
            f"compile on that GPU, with `tensorrt`: pip install 'ancestral[tensorrt]'"
        )
    return options.targets or tuple(target for target in known if target != _NO_FLOAT32)


def _this_gpu(options: Options, module: Module) -> tuple[str, ...]:
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
