"""What decides the bytes of a compiled plan, and which plan a run can use."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ancestral.bundles.manifest import seal
from ancestral.plans.modules import Module

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
_HASHES = {"graph_sha256", "weights_sha256", "kernels"}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlanKey(_Record):
    """All that decides the bytes of a plan: TensorRT makes the same bytes of the same key.

    Attributes:
        graph: its name in the bundle.
        form: in which it is read.
        graph_sha256: of the ONNX file.
        weights_sha256: of the weights file that it points into.
        module: the library that compiles; its types are those of the graph and TF32 is off, always.
        version: of that library, in full.
        targets: sm_80, say; of `tensorrt` the GPU itself, its capability and its driver.
        profiles: sizes of the named axes that the plan serves; one is active at a time.
        memory: bytes that a layer may use as scratch; 0 where the library decides.
        lowering: LOWERING of the ancestral that compiled it.
        kernels: SHA-256 of each of our kernels that are inside.
    """

    graph: str
    form: str
    graph_sha256: Sha256
    weights_sha256: Sha256
    module: Module
    version: str
    targets: tuple[str, ...]
    profiles: tuple[dict[str, Range], ...]
    memory: int = Field(default=0, ge=0)
    lowering: int = LOWERING
    kernels: dict[str, Sha256] = Field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the key in one canonical spelling: the name of the plan."""
        return seal(self.model_dump(mode="json"))

    def changed(self, other: "PlanKey") -> dict[str, str]:
        """Which parts differ in another key: part -> a sentence."""
        return {
            part: _difference(part, "asked for", getattr(self, part), getattr(other, part))
            for part in _WORDS
            if getattr(self, part) != getattr(other, part)
        }


class Wanted(_Record):
    """What a run needs of a plan.

    Attributes:
        graph: its name in the bundle.
        graph_sha256: of the ONNX file, in any of the forms that may be compiled.
        weights_sha256: of the weights file.
        module: the library that would run it.
        version: of that library: a plan serves the release that made it alone.
        target: what this machine has, as in `PlanKey.targets`.
    """

    graph: str
    graph_sha256: tuple[Sha256, ...]
    weights_sha256: Sha256
    module: Module
    version: str
    target: str

    def refusals(self, key: PlanKey) -> dict[str, str]:
        """Why a plan of that key does not serve: part -> a sentence; none where it does."""
        asked = {**dict(self), "targets": self.target, "lowering": LOWERING}
        serves = {
            "graph": key.graph == self.graph,
            "graph_sha256": key.graph_sha256 in self.graph_sha256,
            "weights_sha256": key.weights_sha256 == self.weights_sha256,
            "module": key.module == self.module,
            "version": key.version == self.version,
            "targets": self.target in key.targets,
            "lowering": key.lowering == LOWERING,
        }
        return {
            part: _difference(part, "here", asked[part], getattr(key, part))
            for part in serves
            if not serves[part]
        }


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


def _difference(part: str, where: str, ours: object, theirs: object) -> str:
    """A sentence on a part of a key that is another one in a plan."""
    if part in _HASHES:
        return f"{_WORDS[part]}: changed"
    return f"{_WORDS[part]}: {where} {_spelled(ours)}, that plan has {_spelled(theirs)}"


def _spelled(value: object) -> str:
    """A part of a key for people."""
    if isinstance(value, tuple):
        return ", ".join(map(_spelled, value)) or "none"
    return sizes_text(value) if isinstance(value, dict) else str(value)
