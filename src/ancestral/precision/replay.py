"""Forwards of a model with one changed weight, which reuse what the change cannot reach.

A stage is a part of a module's list, for example a block of a Transformer. A stage whose calls have
all ended before the changed weight is first used has the same outputs as before: they are kept from
a forward of the unchanged model, and returned without computing them. The first use of a weight is
the first call of its module or, if that is never called, of the next module around it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from torch import nn

T = TypeVar("T")
_LISTS = (nn.ModuleList, nn.Sequential)


class Recording:
    """Outputs of the stages in one forward, and when each module ran."""

    def __init__(self, model: nn.Module) -> None:
        """Find the stages of a model."""
        self._modules = dict(model.named_modules())
        self._stages = {
            f"{path}.{name}" if path else name: stage
            for path, module in self._modules.items()
            if isinstance(module, _LISTS)
            for name, stage in module.named_children()
            if not isinstance(stage, _LISTS)
        }
        self._clock = 0
        self._first: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._outputs: dict[str, list[Any]] = defaultdict(list)

    def record(self, forward: Callable[[], T]) -> T:
        """Run a forward of the unchanged model, and keep the outputs of its stages."""
        self._clock = 0
        for kept in (self._first, self._last, self._outputs):
            kept.clear()
        with ExitStack() as hooks:
            for path, module in self._modules.items():
                if path:
                    self._hook(hooks, path, module)
            return forward()

    def _hook(self, hooks: ExitStack, path: str, module: nn.Module) -> None:
        def begin(*_: object) -> None:
            self._clock += 1
            self._first.setdefault(path, self._clock)

        def end(module: nn.Module, given: object, output: Any) -> None:
            self._clock += 1
            self._last[path] = self._clock
            if path in self._stages:
                self._outputs[path].append(output)

        hooks.callback(module.register_forward_pre_hook(begin).remove)
        hooks.callback(module.register_forward_hook(end).remove)

    def kept(self, weight: str) -> list[str]:
        """Return the stages that a change of a weight cannot reach, by name.

        Args:
            weight: name of the weight in the model.
        """
        path = weight.rpartition(".")[0]
        while path and path not in self._first:
            path = path.rpartition(".")[0]
        use = self._first.get(path, 0)
        return [name for name in self._stages if self._last.get(name, use) < use]

    @contextmanager
    def replayed(self, weight: str) -> Iterator[None]:
        """Let the stages that a change of a weight cannot reach return their kept outputs.

        The context is for one forward with the same inputs as the recorded one.

        Args:
            weight: name of the weight that has changed.
        """
        names = self.kept(weight)
        for name in names:
            outputs = iter(self._outputs[name])
            self._stages[name].forward = lambda *_, outputs=outputs, **__: next(outputs)
        try:
            yield
        finally:
            for name in names:
                del self._stages[name].forward
