"""JSON documents of the inference protocol, as clients send and receive them."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from ancestral.limits import AXES
from ancestral.serve.body import Body

HEADER = "inference-header-content-length"
"""Header with the bytes of the JSON document that comes before binary tensors."""
BINARY_SIZE = "binary_data_size"
BINARY = "binary_data"
BINARY_OUTPUT = "binary_data_output"
_TENSORS = 64
"""Most inputs, and most outputs, that a request names; no model has as many."""


class InputTensor(BaseModel):
    """A tensor of a request.

    Attributes:
        name: its name in the model's metadata.
        shape: its shape, with the number of rows.
        datatype: type of its elements, for example "INT64".
        parameters: `binary_data_size`, the bytes of the tensor, if they come after the document.
        data: elements in row-major order, flat or nested; left out if they are binary.
    """

    name: str
    shape: list[Annotated[int, Field(strict=True, ge=0)]] = Field(max_length=AXES)
    datatype: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] | None = None


class RequestedOutput(BaseModel):
    """An output that a client asks for.

    Attributes:
        name: its name in the model's metadata.
        parameters: `binary_data`, whether its elements come after the document.
    """

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferenceRequest(Body):
    """Body of a request to run a model.

    Attributes:
        id: any text; it is in the response too.
        parameters: `binary_data_output`, whether outputs are binary if they do not say.
        inputs: input tensors.
        outputs: outputs to return; none means all.
    """

    id: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: list[InputTensor] = Field(default_factory=list, max_length=_TENSORS)
    outputs: list[RequestedOutput] = Field(default_factory=list, max_length=_TENSORS)


class RepositoryRequest(Body):
    """Body of a request for the list of models.

    Attributes:
        ready: whether to list only those that are ready.
    """

    ready: bool = False


class OutputTensor(BaseModel):
    """A tensor of a response; its attributes are those of an input."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] | None = None
    data: list[float | int | bool] | None = None


class InferenceResponse(BaseModel):
    """Response of a model.

    Attributes:
        model_name: name of the model.
        model_version: "1".
        id: the text of the request.
        outputs: output tensors.
    """

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class TensorMetadata(BaseModel):
    """An input or output of a model.

    Attributes:
        name: its name.
        datatype: type of its elements. Other types of numbers are accepted in inputs.
        shape: its shape; -1 is any length from 1.
        parameters: what it holds, its unit, and whether it may be left out.
    """

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, str | bool]


class ModelMetadata(BaseModel):
    """Inputs and outputs of a model.

    Attributes:
        name: name of the model.
        versions: its versions, ["1"].
        platform: "ancestral".
        inputs: inputs.
        outputs: outputs.
        parameters: kind and hash of the bundle, and what the model does.
    """

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, str]


class ServerMetadata(BaseModel):
    """The server, and the extensions of the protocol that it has."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """Whether the server runs."""

    live: bool


class Ready(BaseModel):
    """Whether the server, or one of its models, is ready."""

    ready: bool


class ModelState(BaseModel):
    """A model of the list of models.

    Attributes:
        name: its name.
        version: "1".
        state: "READY" or "UNAVAILABLE".
        reason: what its engine does if it is not ready: "opening", "failed" or "stopping".
    """

    name: str
    version: str
    state: str
    reason: str
