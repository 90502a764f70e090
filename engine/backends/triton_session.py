"""One graph of a bundle on our kernels."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ancestral.engine.backends.host_arrays import to_host
from ancestral.engine.backends.triton_loop import TritonBinding
from ancestral.engine.session import Array
from ancestral.signature import GraphSignature, TensorSpec
from ancestral.train.models.graphs import AutoregressiveProgram
from ancestral.train.models.precision import DTYPES
from ancestral.train.models.program import Program
from ancestral.triton_kernels.interpreter import turn
from ancestral.triton_kernels.operators import table
from ancestral.triton_kernels.overridable import Kernels


@dataclass(frozen=True, slots=True)
class TritonSession:
    """One program over the model.

    Attributes:
        program: run as it is.
        signature: of the graph in the bundle, whose dtypes are what users see.
        device: cuda with an index, or cpu.
        dtype: of weights, activations and floating caches.
        batch_invariant: as the backend has it.
    """

    program: Program
    signature: GraphSignature
    device: str
    dtype: torch.dtype
    batch_invariant: bool

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        # Copies: what is a cache is written in place.
        tensors = [
            torch.tensor(inputs[spec.name], device=self.device, dtype=self.stored(spec))
            for spec in self.signature.inputs
        ]
        kernels = Kernels(table(batch_invariant=self.batch_invariant))
        with torch.no_grad(), turn(self.device), kernels:
            outputs = self.program(*tensors)
        return {
            spec.name: to_host(tensor, spec)
            for spec, tensor in zip(self.signature.outputs, outputs, strict=True)
        }

    def bind(self, sizes: Mapping[str, int]) -> TritonBinding:
        return TritonBinding(self, sizes)

    def stored(self, spec: TensorSpec) -> torch.dtype:
        """The dtype of an input on the device: that of the model for what it caches."""
        cached = isinstance(self.program, AutoregressiveProgram) and (
            spec.name in self.program.cache_names
        )
        if cached and spec.dtype in DTYPES:
            return self.dtype
        found: torch.dtype = getattr(torch, spec.dtype)
        return found
