"""The choice of a plan is always the same; without one, the error has the reason and a command."""

import re
import shlex
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from ancestral.cli.compile import compile as compile_command
from ancestral.errors import PlanError
from ancestral.plans.choice import PlanChoice
from ancestral.plans.key import PlanKey
from ancestral.plans.record import PlanRecord

WANTED = PlanKey(
    graph="step",
    form="portable",
    graph_sha256="a" * 64,
    weights_sha256="b" * 64,
    module="tensorrt_rtx",
    version="1.2.3",
    targets=("sm_89",),
)
SINGLE, BLOCK = {"b": (1, 16, 64), "s": (1, 1, 1)}, {"b": (1, 16, 64), "s": (1, 9, 9)}


def record(built: float = 0.0, profiles: Any = (SINGLE, BLOCK), **changed: Any) -> PlanRecord:
    values = {
        "graph": "step",
        "form": "tensorrt",
        "graph_sha256": "a" * 64,
        "weights_sha256": "b" * 64,
        "module": "tensorrt_rtx",
        "version": "1.2.3",
        "targets": ("sm_80", "sm_89"),
        "profiles": profiles,
    }
    key = PlanKey(**(values | changed))
    return PlanRecord(key=key, plan_sha256="d" * 64, size=1, seconds=0, built=built)


def choice(*records: PlanRecord) -> PlanChoice:
    return PlanChoice(WANTED, records, Path("my bundles/digits"))


def wide(most: int, best: int = 16) -> Any:
    return ({"b": (1, best, most), "s": (1, 1, 1)},)


def test_the_profile_that_serves() -> None:
    one = record()
    assert choice(one).serving({"b": 3, "s": 1}) == (one, 0)
    assert choice(one).serving({"b": 64, "s": 2}) == (one, 1)


def test_the_nearest_best_sizes_then_the_newest() -> None:
    small, large = record(9, wide(64, 4)), record(0, wide(256, 128))
    older, newer = record(1, wide(64), memory=1), record(2, wide(64), memory=2)
    for order in ([small, large, older, newer], [newer, older, large, small]):
        chosen = [choice(*order).serving({"b": b, "s": 1})[0] for b in (2, 100, 64, 16)]
        assert chosen == [small, large, large, newer]


def test_pieces_and_the_widest() -> None:
    small, large = record(9, wide(64)), record(0, wide(256))
    both = choice(small, large, record(5, wide(512), version="9"))
    assert both.pieces({"b": 1000, "s": 1}, ("b",)) == {"b": 256}
    assert both.pieces({"b": 100, "s": 1}, ("b",)) == {"b": 100}
    assert both.widest() == large
    latent = record(profiles=({"b": (1, 2, 3), "k": (1, 1, 2)},))
    assert choice(latent).pieces({"b": 9, "k": 9}, ("b", "k")) == {"b": 3, "k": 2}
    with pytest.raises(PlanError, match=r"at b=9 s=5"):
        both.pieces({"b": 9, "s": 5}, ("b",))


@pytest.mark.parametrize(
    ("records", "sizes", "message"),
    [
        ([], {"b": 1}, "at b=1 with tensorrt_rtx 1.2.3 on sm_89 (the graph has no plans)"),
        ([record(graph="prefill")], {"b": 1}, "the graph has no plans"),
        ([record(version="1.2.2")], {}, "release of the library: 1.2.3 needed, the plan has 1.2.2"),
        ([record(module="tensorrt")], {}, "library: tensorrt_rtx needed, the plan has tensorrt"),
        ([record(targets=("sm_80",))], {}, "GPUs: sm_89 needed, the plan has sm_80"),
        ([record(graph_sha256="1" * 64)], {}, "the graph (its ONNX file): changed"),
        (
            [record()],
            {"b": 65, "s": 1},
            "sizes: b=65 s=1 needed, the plan has b=1:16:64 s=1:1:1, b=1:16:64 s=1:9:9",
        ),
    ],
    ids=["none", "other graph", "release", "module", "GPU", "graph", "sizes"],
)
def test_why_none_serves(records: list[PlanRecord], sizes: dict[str, int], message: str) -> None:
    with pytest.raises(PlanError, match=re.escape(message)):
        choice(*records).serving(sizes) if sizes else choice(*records).widest()


def test_the_nearest_are_reported_first() -> None:
    far = [record(i, version="9", targets=("sm_80",), memory=i) for i in range(3)]
    near = record(9, weights_sha256="1" * 64)
    with pytest.raises(PlanError) as error:
        choice(*far, near).widest()
    message = str(error.value)
    assert message.index(near.key.digest[:12]) < message.index(far[2].key.digest[:12])
    assert far[0].key.digest[:12] not in message


@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        ({"b": 3, "s": 1}, "--batch 1,16,64"),
        ({"b": 65, "s": 7}, "--batch 1,65,65 --prefix 1..7"),
        ({"b": 1, "k": 500}, "--batch 1,16,64 --latents 1,500,500"),
    ],
)
def test_the_command_is_valid(sizes: dict[str, int], options: str) -> None:
    with pytest.raises(PlanError) as error:
        choice().serving(sizes)
    command = str(error.value).rpartition("compile one: ")[2].strip("`")
    expected = "ancestral compile 'my bundles/digits' --graph step --module tensorrt_rtx"
    assert command == f"{expected} --target sm_89 {options}"
    assert shlex.split(command)[:3] == ["ancestral", "compile", "my bundles/digits"]
    assert set(re.findall(r"--(\w+)", command)) <= set(signature(compile_command).parameters)
