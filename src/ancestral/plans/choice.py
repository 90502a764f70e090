"""Choose the stored plan that runs a graph; without one, say why and which command compiles one."""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ancestral.errors import PlanError
from ancestral.plans.key import PlanKey, Range, holds, serving_profile, sizes_text
from ancestral.plans.record import PlanRecord

_REPORTED = 3
"""Most plans whose mismatch an error lists, those with the fewest differences first."""
_USUAL = {"b": (16, 64), "k": (16, 64)}
"""Best and largest size in the suggested command, unless a larger one is needed."""
_OPTIONS = {"b": "--batch", "k": "--latents"}


@dataclass(frozen=True, slots=True)
class PlanChoice:
    """Choice among the stored plans for one graph.

    Attributes:
        wanted: key that the run needs, except for its sizes.
        records: records of all stored plans.
        path: path of the bundle, for the command that compiles a plan.
    """

    wanted: PlanKey
    records: tuple[PlanRecord, ...]
    path: Path

    def serving(self, sizes: Mapping[str, int]) -> tuple[PlanRecord, int]:
        """Return the plan that runs at these sizes of the named axes, and the index of its profile.

        Among several plans, it is the one with the nearest best sizes, then the newest. The choice
        is deterministic.

        Raises:
            PlanError: no plan fits; the message says why, and which command compiles one.
        """
        found = [
            (_distance(record.key.profiles[profile], sizes), record, profile)
            for record in self._fitting()
            if (profile := serving_profile(record.key, sizes)) is not None
        ]
        if not found:
            raise PlanError(self._refusal(sizes))
        _, record, profile = min(
            found, key=lambda each: (each[0], -each[1].built, each[1].key.digest)
        )
        return record, profile

    def widest(self) -> PlanRecord:
        """Return the plan with the largest sizes among those that can run here.

        Raises:
            PlanError: no plan can run here.
        """
        fitting = tuple(self._fitting())
        if not fitting:
            raise PlanError(self._refusal({}))
        return min(fitting, key=lambda each: (-_most(each.key), -each.built, each.key.digest))

    def pieces(self, sizes: Mapping[str, int], axes: Sequence[str]) -> dict[str, int]:
        """Return the sizes along some axes of the largest piece that runs in one call.

        Args:
            sizes: requested sizes of all named axes; the piece is not larger.
            axes: axes along which the run may be cut.

        Raises:
            PlanError: no plan fits the sizes of the other axes.
        """
        fixed = {axis: size for axis, size in sizes.items() if axis not in axes}
        found = [
            {axis: min(sizes[axis], profile[axis][2]) for axis in axes}
            for record in self._fitting()
            for profile in record.key.profiles
            if set(axes) <= set(profile) and holds(profile, fixed)
        ]
        if not found:
            raise PlanError(self._refusal(sizes))
        return max(found, key=lambda piece: math.prod(piece.values()))

    def _fitting(self) -> Iterator[PlanRecord]:
        return (record for record in self.records if not self.wanted.refusals(record.key))

    def _refusal(self, sizes: Mapping[str, int]) -> str:
        """Return the error message when no plan fits."""
        wanted = self.wanted
        same = [record for record in self.records if record.key.graph == wanted.graph]
        reasons = [(self._against(record.key, sizes), record) for record in same]
        reasons.sort(key=lambda each: (len(each[0]), -each[1].built, each[1].key.digest))
        reported = "; ".join(
            f"plan {record.key.digest[:12]}: {', '.join(words)}"
            for words, record in reasons[:_REPORTED]
        )
        at = f" at {sizes_text(sizes)}" if sizes else ""
        by = f"with {wanted.module} {wanted.version} on {wanted.targets[0]}"
        return (
            f"{self.path}: no plan for graph {wanted.graph!r}{at} {by} "
            f"({reported or 'the graph has no plans'}); compile one: {self._command(sizes)}"
        )

    def _against(self, key: PlanKey, sizes: Mapping[str, int]) -> list[str]:
        reasons = list(self.wanted.refusals(key).values())
        if serving_profile(key, sizes) is None:
            there = ", ".join(map(sizes_text, key.profiles))
            reasons.append(f"sizes: {sizes_text(sizes)} needed, the plan has {there}")
        return reasons

    def _command(self, sizes: Mapping[str, int]) -> str:
        """Return the command that compiles a fitting plan."""
        words = ["ancestral", "compile", str(self.path), "--graph", self.wanted.graph]
        words += ["--module", self.wanted.module]
        if self.wanted.module == "tensorrt_rtx":
            words += ["--target", *self.wanted.targets]
        for axis, (best, most) in _USUAL.items():
            if sizes.get(axis, 0) > most:
                words += [_OPTIONS[axis], f"1,{sizes[axis]},{sizes[axis]}"]
            elif axis in sizes:
                words += [_OPTIONS[axis], f"1,{best},{most}"]
        if sizes.get("s", 1) > 1:
            words += ["--prefix", f"1..{sizes['s']}"]
        return f"`{shlex.join(words)}`"


def _most(key: PlanKey) -> int:
    """Return the largest product, over a plan's profiles, of the largest sizes of its axes."""
    return max(math.prod(sizes[2] for sizes in profile.values()) for profile in key.profiles)


def _distance(profile: Mapping[str, Range], sizes: Mapping[str, int]) -> float:
    """Return how far sizes are from a profile's best ones: the sum of |log ratio| over the axes."""
    return sum(abs(math.log(size / profile[axis][1])) for axis, size in sizes.items())
