"""Key of a compiled plan: all that determines its bytes, and which plans a run can use."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ancestral.bundles.bundle import Bundle
from ancestral.bundles.manifest import seal
from ancestral.errors import InvalidInput
from ancestral.plans.modules import Module

FORM = "tensorrt"
"""Form of a graph that is compiled if the bundle has it; otherwise the portable form."""
LOWERING = 2
"""Version of the lowering from graph to plan; after a change, every plan is compiled again."""

Range = Annotated[
    tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]],
    Field(description="least, best and largest size of an axis"),
]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_WORDS = {
    "graph": "graph",
    "form": "form of the graph",
    "graph_sha256": "the graph (its ONNX file)",
    "weights_sha256": "the weights",
    "module": "library",
    "version": "release of the library",
    "targets": "GPUs",
    "profiles": "sizes",
    "memory": "memory limit of the build",
    "lowering": "version of the lowering in ancestral",
    "kernels": "ancestral's kernels in the plan",
}
"""Name of each part of a key, for messages."""
_NEEDED = [part for part in _WORDS if part not in {"form", "profiles", "memory", "kernels"}]
"""Parts that must be equal in a plan and in the key that a run needs."""
_HASHES = {"graph_sha256", "weights_sha256", "kernels"}


class PlanKey(BaseModel):
    """All that determines the bytes of a plan: TensorRT makes the same bytes from the same key.

    Attributes:
        graph: name of the graph in the bundle.
        form: form of the graph that is compiled.
        graph_sha256: hash of the ONNX file.
        weights_sha256: hash of the weights file that the ONNX file refers to.
        module: library that compiles; it keeps the dtypes of the graph, and TF32 is always off.
        version: full version of that library.
        targets: GPUs of the plan, such as "sm_80"; for `tensorrt`, name, capability and driver of
            one GPU.
        profiles: sizes of the named axes that the plan supports, with one profile active at a time;
            empty in a key that states what a run needs.
        memory: bytes that a layer may use as scratch; 0 lets the library decide.
        lowering: LOWERING of the ancestral that compiled the plan.
        kernels: hash of each of ancestral's kernels in the plan, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    graph: str
    form: str
    graph_sha256: Sha256
    weights_sha256: Sha256
    module: Module
    version: str
    targets: tuple[str, ...]
    profiles: tuple[dict[str, Range], ...] = ()
    memory: int = Field(default=0, ge=0)
    lowering: int = LOWERING
    kernels: dict[str, Sha256] = Field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the key in a canonical form, which is the name of the plan."""
        return seal(self.model_dump(mode="json"))

    @classmethod
    def of_graph(cls, bundle: Bundle, graph: str, **others: Any) -> "PlanKey":
        """Return the key of a graph of a bundle.

        Args:
            bundle: bundle that has the graph.
            graph: name of the graph.
            others: parts of the key that the bundle does not determine.

        Raises:
            BundleError: the bundle has no such graph.
            InvalidInput: the bundle has quantised weights.
        """
        check_weights(bundle)
        manifest, file = bundle.manifest, bundle.graph_name(graph, FORM)
        form = FORM if FORM in manifest.graphs[graph].files else "portable"
        return cls(
            graph=graph,
            form="plugin" if others.get("kernels") else form,
            graph_sha256=manifest.files[file].sha256,
            weights_sha256=manifest.files[manifest.weights].sha256,
            **others,
        )

    def changed(self, other: "PlanKey") -> dict[str, str]:
        """Return a sentence for each part that differs in the key of a plan."""
        return {
            part: self._difference(part, other, "requested")
            for part in _WORDS
            if getattr(self, part) != getattr(other, part)
        }

    def refusals(self, other: "PlanKey") -> dict[str, str]:
        """Return a sentence for each part that keeps a plan from running what needs this key.

        Plans with other sizes or build settings, or for additional GPUs, are not refused.
        """
        return {
            part: self._difference(part, other, "needed")
            for part in _NEEDED
            if getattr(self, part) != getattr(other, part)
            and not (part == "targets" and set(self.targets) <= set(other.targets))
        }

    def _difference(self, part: str, other: "PlanKey", where: str) -> str:
        """Return a sentence about a part that differs in the key of a plan."""
        if part in _HASHES:
            return f"{_WORDS[part]}: changed"
        ours, theirs = (_spelled(getattr(key, part)) for key in (self, other))
        return f"{_WORDS[part]}: {ours} {where}, the plan has {theirs}"


def check_weights(bundle: Bundle) -> None:
    """Check that TensorRT reads the weights of a bundle.

    Codes are unsigned numbers of 8 bits, and TensorRT (tensorrt_rtx 1.7.1) refuses
    DequantizeLinear of them. This check can go when it builds such a graph.

    Raises:
        InvalidInput: the bundle has quantised weights.
    """
    plan = bundle.manifest.quantisation
    if plan is not None:
        raise InvalidInput(
            f"{bundle.path}: expected a bundle without quantised weights, because TensorRT has no "
            f"unsigned 8-bit type for their codes, got {plan.weights}; use the bundle that it was "
            f"made from, in float32 or 16 bits, or run this one on backend 'onnxruntime', 'torch' "
            f"or 'triton'"
        )


def serving_profile(key: PlanKey, sizes: Mapping[str, int]) -> int | None:
    """Return the index of the first profile that includes these sizes of named axes, or None."""
    found = (index for index, profile in enumerate(key.profiles) if holds(profile, sizes))
    return next(found, None)


def holds(profile: Mapping[str, Range], sizes: Mapping[str, int]) -> bool:
    """Return whether a profile includes these sizes of the named axes; it may have more axes."""
    return all(
        axis in profile and profile[axis][0] <= size <= profile[axis][2]
        for axis, size in sizes.items()
    )


def sizes_text(sizes: Mapping[str, int | Range]) -> str:
    """Format sizes, or least, best and largest sizes of a profile, for display: b=1:16:64 s=1."""
    each = (
        f"{axis}={':'.join(map(str, size)) if isinstance(size, tuple) else size}"
        for axis, size in sorted(sizes.items())
    )
    return " ".join(each) or "fixed sizes"


def _spelled(value: object) -> str:
    """Format a part of a key for display."""
    if isinstance(value, tuple):
        return ", ".join(map(_spelled, value)) or "none"
    return sizes_text(value) if isinstance(value, dict) else str(value)
