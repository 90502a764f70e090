"""The models of the protocol that a server has: one for each method of each bundle."""

from collections.abc import Iterator
from dataclasses import dataclass

from ancestral.excerpts import quoted
from ancestral.serve.inference.answer import bytes_of
from ancestral.serve.inference.described import Method, methods_of
from ancestral.serve.inference.protocol import ModelMetadata, ModelState, TensorMetadata
from ancestral.serve.inference.tensors import Tensor
from ancestral.serve.refused import Refused
from ancestral.serve.served import Served
from ancestral.serve.server import Server

VERSION = "1"
"""The only version of each model."""
LARGEST = 2**28
"""Most bytes of all outputs of one request."""
_LISTED = 20


@dataclass(frozen=True, slots=True)
class Model:
    """A method of a bundle.

    Attributes:
        served: the bundle.
        name: name of the method.
        method: what it does, and its inputs and outputs.
    """

    served: Served
    name: str
    method: Method

    @property
    def full_name(self) -> str:
        """Name of the model in requests: `bundle.method`."""
        return f"{self.served.name}.{self.name}"

    @property
    def metadata(self) -> ModelMetadata:
        """Description of the model for clients."""
        return ModelMetadata(
            name=self.full_name,
            versions=[VERSION],
            platform="ancestral",
            inputs=[_metadata(each, given=True) for each in self.method.inputs],
            outputs=[_metadata(each, given=False) for each in self.method.outputs],
            parameters={
                "about": self.method.about,
                "kind": self.served.manifest.kind,
                "sha256": self.served.sha256,
            },
        )

    @property
    def state(self) -> ModelState:
        """Whether the model is ready, for the list of models."""
        thread = self.served.thread
        state = "READY" if thread.ready else "UNAVAILABLE"
        reason = "" if thread.ready else thread.state
        return ModelState(name=self.full_name, version=VERSION, state=state, reason=reason)

    def check_rows(self, server: Server, rows: int, what: str) -> None:
        """Check the number of rows of a request before they are computed.

        Args:
            server: the server.
            rows: number of rows.
            what: what gives their number, for errors.

        Raises:
            Refused: there are too many, or their outputs would be too large.
        """
        server.check_rows(rows, what)
        size = bytes_of(self.method.outputs, rows)
        if size > LARGEST:
            raise Refused(
                400,
                f"{what}: expected at most {LARGEST:,} bytes of outputs, got {rows} rows of "
                f"{size // rows:,} bytes; send fewer rows at a time",
            )


def models_of(server: Server) -> Iterator[Model]:
    """Yield every model of a server."""
    for served in server.served.values():
        for name, method in methods_of(served.manifest).items():
            yield Model(served, name, method)


def find(server: Server, name: str, version: str | None = None) -> Model:
    """Return a model by its name.

    Raises:
        Refused: the model or the version does not exist; the error names those that do.
    """
    bundle, _, method = name.rpartition(".")
    served = server.served.get(bundle)
    methods = {} if served is None else methods_of(served.manifest)
    if served is None or method not in methods:
        every = [each.full_name for each in models_of(server)]
        raise Refused(
            404,
            f"model: expected one of {', '.join(every[:_LISTED])}, got {quoted(name)}",
            code="model_not_found",
        )
    if version not in {None, VERSION}:
        raise Refused(404, f"version: expected {VERSION}, got {quoted(str(version))}")
    return Model(served, method, methods[method])


def _metadata(tensor: Tensor, *, given: bool) -> TensorMetadata:
    parameters: dict[str, str | bool] = {"about": tensor.about}
    if tensor.unit:
        parameters["unit"] = tensor.unit
    if given:
        parameters["optional"] = tensor.optional
    return TensorMetadata(
        name=tensor.name,
        datatype=tensor.datatype,
        shape=list(tensor.shape),
        parameters=parameters,
    )
