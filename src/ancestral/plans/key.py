"""What decides the bytes of a compiled plan, and which plan a run can use."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ancestral.bundles.bundle import Bundle
from ancestral.bundles.manifest import seal
from ancestral.plans.modules import Module

FORM = "tensorrt"
"""In which a graph is compiled, where a bundle has it in this form."""
LOWERING = 2
"""Version of how a graph becomes a plan here; another one makes every plan anew."""

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
    "lowering": "how this ancestral lowers graphs",
    "kernels": "our kernels inside",
}
"""What each part of a key is called."""
_NEEDED = [part for part in _WORDS if part not in {"form", "profiles", "memory", "kernels"}]
"""Parts in which a plan has to be what a run needs."""
_HASHES = {"graph_sha256", "weights_sha256", "kernels"}


class PlanKey(BaseModel):
    """All that decides the bytes of a plan: TensorRT makes the same bytes of the same key.

    Attributes:
        graph: its name in the bundle.
        form: in which it is read.
        graph_sha256: of the ONNX file.
        weights_sha256: of the weights file that it points into.
        module: the library that compiles; its types are those of the graph and TF32 is off, always.
        version: of that library, in full.
        targets: sm_80, say; of `tensorrt` the GPU itself, its capability and its driver.
        profiles: sizes of the named axes that the plan serves; one is active at a time. None in
            the key of what a run needs.
        memory: bytes that a layer may use as scratch; 0 where the library decides.
        lowering: LOWERING of the ancestral that compiled it.
        kernels: SHA-256 of each of our kernels that are inside.
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
        """SHA-256 of the key in one canonical spelling: the name of the plan."""
        return seal(self.model_dump(mode="json"))

    @classmethod
    def of_graph(cls, bundle: Bundle, graph: str, **others: Any) -> "PlanKey":
        """The key of a graph of a bundle.

        Args:
            bundle: holds the graph.
            graph: its name.
            others: parts that the bundle does not say.

        Raises:
            BundleError: there is no such graph.
        """
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
        """Which parts differ in another key: part -> a sentence."""
        return {
            part: self._difference(part, other, "asked for")
            for part in _WORDS
            if getattr(self, part) != getattr(other, part)
        }

    def refusals(self, other: "PlanKey") -> dict[str, str]:
        """Why a plan of another key does not serve what needs this one: part -> a sentence.

        Plans that differ in sizes, or in how they were made, may serve; so may those for more GPUs.
        """
        return {
            part: self._difference(part, other, "here")
            for part in _NEEDED
            if getattr(self, part) != getattr(other, part)
            and not (part == "targets" and set(self.targets) <= set(other.targets))
        }

    def _difference(self, part: str, other: "PlanKey", where: str) -> str:
        """A sentence on a part that is another one in the key of a plan."""
        if part in _HASHES:
            return f"{_WORDS[part]}: changed"
        ours, theirs = (_spelled(getattr(key, part)) for key in (self, other))
        return f"{_WORDS[part]}: {where} {ours}, that plan has {theirs}"


def serving_profile(key: PlanKey, sizes: Mapping[str, int]) -> int | None:
    """The first profile of a plan that holds these sizes of the named axes; None without one."""
    found = (index for index, profile in enumerate(key.profiles) if holds(profile, sizes))
    return next(found, None)


def holds(profile: Mapping[str, Range], sizes: Mapping[str, int]) -> bool:
    """Whether a profile holds these sizes of the named axes; it may have others."""
    return all(
        axis in profile and profile[axis][0] <= size <= profile[axis][2]
        for axis, size in sizes.items()
    )


def sizes_text(sizes: Mapping[str, int | Range]) -> str:
    """Sizes, or the least, best and largest sizes of a profile, for people: b=1:16:64 s=1."""
    each = (
        f"{axis}={':'.join(map(str, size)) if isinstance(size, tuple) else size}"
        for axis, size in sorted(sizes.items())
    )
    return " ".join(each) or "fixed sizes"


def _spelled(value: object) -> str:
    """A part of a key for people."""
    if isinstance(value, tuple):
        return ", ".join(map(_spelled, value)) or "none"
    return sizes_text(value) if isinstance(value, dict) else str(value)
