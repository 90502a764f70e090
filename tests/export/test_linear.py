"""An exported nn.Linear uses its weight as it is stored, without a transposed copy."""

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

from ancestral.export.graphs import OPSET, _quiet
from ancestral.export.operators import translations


class Maps(nn.Module):
    """Linear maps of inputs with three axes and with two, with and without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 7), nn.Linear(7, 6, bias=False)
        self.third, self.fourth = nn.Linear(6, 4), nn.Linear(4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.second(self.first(x).relu()).relu()
        flat = self.fourth(self.third(h.flatten(0, 1)).relu())
        return flat.unflatten(0, h.shape[:2])


def test_linear() -> None:
    torch.manual_seed(0)
    maps = Maps().eval()
    for parameter in maps.parameters():
        parameter.data = torch.randint(-3, 4, parameter.shape).float()  # their sums are exact
    sizes = {0: torch.export.Dim("b", max=9), 1: torch.export.Dim("s", max=9)}
    traced = torch.export.export(maps, (torch.zeros(2, 3, 5),), dynamic_shapes=(sizes,))
    with _quiet():
        exported = torch.onnx.export(
            traced,
            dynamo=True,
            opset_version=OPSET,
            custom_translation_table=translations("portable"),
            verbose=False,
        )
    assert exported is not None
    assert not [node for node in exported.model.graph if node.op_type == "Transpose"]
    weights = {name: list(tensor.shape) for name, tensor in maps.state_dict().items()}
    for name, value in exported.model.graph.initializers.items():
        if name in weights:
            assert list(value.shape) == weights.pop(name)
    assert weights == {}
    session = ort.InferenceSession(exported.model_proto.SerializeToString())
    for shape in ((4, 1, 5), (1, 6, 5)):
        x = torch.randint(-3, 4, shape).float()
        (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        np.testing.assert_array_equal(got, maps(x).detach().numpy())
