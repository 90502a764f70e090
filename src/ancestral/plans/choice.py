"""Which kept plan a graph runs by; where none serves, why not, and the command that makes one."""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ancestral.errors import PlanError
from ancestral.plans.key import PlanKey, Range, holds, serving_profile, sizes_text
from ancestral.plans.record import PlanRecord

_TOLD = 3
"""Plans whose refusal an error repeats, those that lack least first."""
_USUAL = {"b": (16, 64), "k": (16, 64)}
"""Best and largest size that a command asks for, where less is needed."""
_OPTIONS = {"b": "--batch", "k": "--latents"}


@dataclass(frozen=True, slots=True)
class PlanChoice:
    """The plans of one graph that a run can use, and those that it cannot.

    Attributes:
        wanted: what the run needs of a plan, but for its sizes.
        records: every plan that is kept.
        path: the bundle, for the command that would compile it.
    """

    wanted: PlanKey
    records: tuple[PlanRecord, ...]
    path: Path

    def serving(self, sizes: Mapping[str, int]) -> tuple[PlanRecord, int]:
        """The plan that runs at these sizes of the named axes, and which of its profiles.

        Of several the one whose best sizes are nearest; then the newest. The same plans give the
        same choice.

        Raises:
            PlanError: none does; the message says why the nearest do not, and what makes one.
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
        """The plan that takes most at once, of those that can run here at all.

        Raises:
            PlanError: there is none.
        """
        fitting = tuple(self._fitting())
        if not fitting:
            raise PlanError(self._refusal({}))
        return min(fitting, key=lambda each: (-_most(each.key), -each.built, each.key.digest))

    def pieces(self, sizes: Mapping[str, int], axes: Sequence[str]) -> dict[str, int]:
        """The largest piece that runs at once: sizes of those axes, none above what is asked for.

        Args:
            sizes: of all named axes.
            axes: those along which the run may be cut.

        Raises:
            PlanError: no plan serves the sizes of the other axes.
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
        """Why no plan serves, in words."""
        wanted = self.wanted
        same = [record for record in self.records if record.key.graph == wanted.graph]
        reasons = [(self._against(record.key, sizes), record) for record in same]
        reasons.sort(key=lambda each: (len(each[0]), -each[1].built, each[1].key.digest))
        told = "; ".join(
            f"plan {record.key.digest[:12]} does not: {', '.join(words)}"
            for words, record in reasons[:_TOLD]
        )
        at = f" at {sizes_text(sizes)}" if sizes else ""
        by = f"by {wanted.module} {wanted.version} on {wanted.targets[0]}"
        return (
            f"{self.path}: no plan serves graph {wanted.graph!r}{at} {by}: "
            f"{told or 'none of this graph is kept here'}: make one: {self._command(sizes)}"
        )

    def _against(self, key: PlanKey, sizes: Mapping[str, int]) -> list[str]:
        reasons = list(self.wanted.refusals(key).values())
        if serving_profile(key, sizes) is None:
            there = ", ".join(map(sizes_text, key.profiles))
            reasons.append(f"sizes: here {sizes_text(sizes)}, that plan has {there}")
        return reasons

    def _command(self, sizes: Mapping[str, int]) -> str:
        """What compiles a plan that would serve."""
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
    """How much a plan takes at once: the product of the largest sizes of a profile."""
    return max(math.prod(sizes[2] for sizes in profile.values()) for profile in key.profiles)


def _distance(profile: Mapping[str, Range], sizes: Mapping[str, int]) -> float:
    """How far sizes are from a profile's best ones, as logarithms of their ratios."""
    return sum(abs(math.log(size / profile[axis][1])) for axis, size in sizes.items())
