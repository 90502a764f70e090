"""ONNX graphs of one operator."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime as ort
import torch
from torch import Tensor

from ancestral.export.operators import Form, translations

# Sums over at most a dozen terms of size 1 in float32: a few units in the last place, 1e-7 each.
ROUNDING = 2e-6


class Call(torch.nn.Module):
    """A module that calls one operator, for the exporter."""

    def __init__(self, operator: Callable[..., Any], *settings: object) -> None:
        super().__init__()
        self.operator, self.settings = operator, settings

    def forward(self, *tensors: Tensor) -> Any:
        return self.operator(*tensors, *self.settings)


def exported(
    module: torch.nn.Module, inputs: tuple[Tensor, ...], form: Form, dynamic: tuple
) -> ort.InferenceSession:
    """Export one operator in a form, into ONNX Runtime; `dynamic` is as in torch.export."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations in the exporter itself
        program = torch.onnx.export(
            module,
            inputs,
            dynamo=True,
            opset_version=24,
            custom_translation_table=translations(form),
            dynamic_shapes=dynamic,
            input_names=[f"in_{i}" for i in range(len(inputs))],
            verbose=False,
        )
    data = onnx_ir.to_proto(program.model).SerializeToString()
    return ort.InferenceSession(data, providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, inputs: tuple[Tensor, ...]) -> list[np.ndarray]:
    return session.run(None, {f"in_{i}": x.numpy() for i, x in enumerate(inputs)})
