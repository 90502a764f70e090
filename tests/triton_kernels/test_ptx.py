"""Parameters that Triton adds to a kernel are removed if the kernel never reads them."""

import pytest

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.tools.ptx import without_scratch

TYPES = ["*fp32", "i32", "*bf16"]
OWN = """\
	.param .u64 .ptr .global .align 1 kernel_param_0,
	.param .u32 kernel_param_1,
	.param .u64 .ptr .global .align 1 kernel_param_2"""
HIDDEN = """,
	.param .u64 .ptr .global .align 1 kernel_param_3,
	.param .u64 .ptr .global .align 1 kernel_param_4"""
BODY = """
)
.reqntid 128
{
	ld.param.b64 	%rd1, [kernel_param_2];
	ld.param.b64 	%rd2, [kernel_param_33];
	ret;
}
"""
HEAD = ".version 8.0\n.target sm_80\n\n.visible .entry kernel(\n"


@pytest.mark.parametrize("hidden", [HIDDEN, ""], ids=["hidden", "none"])
def test_removed(hidden: str) -> None:
    text, entry, parameters = without_scratch(HEAD + OWN + hidden + BODY, TYPES)
    assert text == HEAD + OWN + BODY
    assert entry == "kernel"
    assert parameters == ("u64", "u32", "u64")


@pytest.mark.parametrize("name", ["kernel_param_3", "kernel_param_4"])
def test_scratch_that_is_read(name: str) -> None:
    reading = BODY.replace("kernel_param_33", name)
    with pytest.raises(InvalidInput, match=rf"reads {name}, which is not one of its 3 arguments"):
        without_scratch(HEAD + OWN + HIDDEN + reading, TYPES)


@pytest.mark.parametrize(
    ("text", "types"),
    [
        (HEAD + OWN + HIDDEN + BODY, ["*fp32", "*fp32", "*bf16"]),
        (HEAD + OWN + BODY, [*TYPES, "i32"]),
        (HEAD + OWN + HIDDEN.replace(".u64", ".u32") + BODY, TYPES),
        (HEAD + OWN + HIDDEN + BODY, ["*fp32"]),
        ((HEAD + OWN + HIDDEN + BODY) * 2, TYPES),
        (".version 8.0\n", TYPES),
    ],
    ids=["type", "too few", "numbers behind", "too many", "two kernels", "none"],
)
def test_another_text(text: str, types: list[str]) -> None:
    with pytest.raises(RuntimeError, match="expected"):
        without_scratch(text, types)
