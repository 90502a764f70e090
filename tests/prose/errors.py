"""The texts of all errors of the product, collected from its source.

A template is a message in which each computed piece is `{expression}`. Where a piece is a text that
the source itself has (a constant, a variable, an argument at a call, the result of a function), the
text is in the template. A piece with alternatives makes one template for each.
"""

import ast
import functools
import itertools
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from ancestral import errors

from .modules import (
    Function,
    Module,
    assignments,
    last_name,
    may_call,
    own_name,
    parameters,
    passed,
    variables,
)

FOLDERS = ("src/ancestral", "train", "export", "engine", "triton_kernels", "benchmarks")
OURS = {name for name, each in vars(errors).items() if isinstance(each, type)}
USAGE = {"BadParameter", "ClickException", "UsageError"}
"""Errors of typer and click, with which a command could refuse an option."""
PARTS = {"ValueError", "TypeError", "RuntimeError", "NotImplementedError", "SystemExit"}
"""Builtin errors: most become part of the message of one of ours."""
PROBLEM = "problem"
"""Kind of a text in a list of problems, which a message reports together."""

_VALUES = {"shown", "quoted", "size_text", "described"}
"""Functions that return the text of a value."""
_PROBLEMS = re.compile(r"problems|reasons|failures")
_PROSE = re.compile(r"[a-z]{2},? [a-z]")
_DEEPEST = 8
_MOST = 200
Texts = tuple[str, ...]


class Template(NamedTuple):
    """A message.

    Attributes:
        file: path from the root of the repository.
        line: number of the line that raises it, or of the call that gives its words.
        kind: class of the error, or `PROBLEM`.
        text: the message, with `{expression}` for what is computed.
    """

    file: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.kind}: {self.text}".replace("\n", "\\n")


def templates(root: Path) -> list[Template]:
    """Return the templates of the product's tracked files, each text of a line once."""
    listed = subprocess.run(
        ["git", "ls-files", "--", *FOLDERS], cwd=root, capture_output=True, text=True, check=True
    )
    files = [file for file in listed.stdout.splitlines() if file.endswith(".py")]
    return templates_of({file: (root / file).read_text("utf-8") for file in files})


def templates_of(sources: Mapping[str, str]) -> list[Template]:
    """Return the templates of some files, by the names of the files."""
    modules = [Module.of(file, text) for file, text in sources.items()]
    reader = _Reader(modules)
    return sorted(
        {
            template
            for module in modules
            for node in module.nodes
            for kind, text in _messages(module, node)
            for template in reader.read(module, kind, text)
        }
    )


def _messages(module: Module, node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield the kind and the text of each message that a node makes."""
    match node:
        case ast.Call(func=func, args=[text, *_]):
            name, raised = last_name(func), isinstance(module.parents[node], ast.Raise)
            function = module.function(node)
            if name in OURS | USAGE or (raised and name in PARTS):
                yield name, text
            elif (
                raised and isinstance(func, ast.Name) and function and name in parameters(function)
            ):
                yield "AncestralError", text
            elif name == "append" and _PROBLEMS.search(ast.unparse(func)):
                yield PROBLEM, text
        case ast.Yield(value=value) if value is not None:
            function = module.function(node)
            returns = function and function.returns and ast.unparse(function.returns)
            if returns in {"Iterator[str]", "Generator[str]"}:
                yield PROBLEM, value
        case ast.Return(value=value):
            function = module.function(node)
            if function and _PROBLEMS.search(function.name):
                yield from _elements(value)
        case (
            ast.Assign(targets=[target], value=value) | ast.AugAssign(target=target, value=value)
        ) if _PROBLEMS.search(ast.unparse(target)):
            yield from _elements(value)


def _elements(node: ast.expr | None) -> list[tuple[str, ast.expr]]:
    """Return the messages in a list or a comprehension of problems."""
    match node:
        case ast.List(elts=elements):
            return [(PROBLEM, each) for each in elements if isinstance(each, ast.JoinedStr)]
        case ast.ListComp(elt=element) | ast.GeneratorExp(elt=element):
            return [(PROBLEM, element)]
    return []


@dataclass(frozen=True)
class _Scope:
    """Where an expression is.

    Attributes:
        module: module of the expression.
        function: function of the expression.
        known: known values of the function's parameters.
        open: variables whose values are being read.
        depth: number of variables and calls that were followed.
    """

    module: Module
    function: Function | None
    known: Mapping[str, Texts] = field(default_factory=dict)
    open: frozenset[str] = frozenset()
    depth: int = 0


class _Reader:
    """Reads the messages of modules that call each other."""

    def __init__(self, modules: list[Module]) -> None:
        self._functions: dict[str, list[tuple[Module, Function]]] = defaultdict(list)
        self._constants: dict[str, list[tuple[Module, ast.expr]]] = defaultdict(list)
        self._calls: dict[str, list[tuple[Module, ast.Call]]] = defaultdict(list)
        self._asked: set[str] = set()
        for module in modules:
            for node in module.nodes:
                if isinstance(node, Function):
                    self._functions[node.name].append((module, node))
                elif isinstance(node, ast.Call) and own_name(node.func):
                    self._calls[own_name(node.func)].append((module, node))
            for name, value in assignments(module.tree.body):
                self._constants[name].append((module, value))

    def read(self, module: Module, kind: str, node: ast.expr) -> list[Template]:
        """Return the templates of one message: one for each call that gives words to it."""
        scope = _Scope(module, module.function(node))
        self._asked = set()
        general = (module.file, node.lineno, self._piece(node, scope))
        asked, found = self._asked, []
        calls = self._calls_of(module, scope.function) if scope.function and asked else ()
        for place, call in calls:
            given = passed(scope.function, call)
            outside = _Scope(place, place.function(call), depth=1)
            known = {name: self._piece(given[name], outside) for name in asked if name in given}
            if any(_PROSE.search(text) for texts in known.values() for text in texts):
                texts = self._piece(node, replace(scope, known=known))
                found.append((place.file, call.lineno, texts))
        if not calls or len(found) < len(calls):
            found.append(general)
        return [Template(file, line, kind, text) for file, line, texts in found for text in texts]

    @functools.cache  # noqa: B019 - a reader is used once
    def _calls_of(self, module: Module, function: Function) -> tuple[tuple[Module, ast.Call], ...]:
        named = self._functions[function.name]
        return tuple(
            (place, call)
            for place, call in self._calls[function.name]
            if function in (each for _, each in place.visible(function.name, named))
            and may_call(call.func, function, module)
        )

    def _piece(self, node: ast.expr, scope: _Scope) -> Texts:
        """Return the alternatives of a piece of a message: texts, or `{expression}`."""
        return self._texts(node, scope) or (f"{{{ast.unparse(node)}}}",)

    def _texts(self, node: ast.expr, scope: _Scope) -> Texts:
        """Return the texts that an expression may have, or () if the source does not have them."""
        if scope.depth > _DEEPEST:
            return ()
        match node:
            case ast.Constant(value=str(text)):
                return (text,)
            case ast.JoinedStr(values=parts):
                return _joined(self._part(part, scope) for part in parts)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._several((left, right), scope, _joined)
            case ast.IfExp(body=body, orelse=orelse):
                return self._several((body, orelse), scope, _either)
            case ast.BoolOp(op=ast.Or(), values=values):
                return self._several(values, scope, _either)
            case ast.Name(id=name):
                return self._variable(name, scope)
            case ast.Attribute(attr=name) if name.isupper():
                return self._constant(name, scope)
            case ast.Call():
                return self._result(node, scope)
        return ()

    def _several(self, nodes: Iterable[ast.expr], scope: _Scope, combine: "Combine") -> Texts:
        """Combine the texts of several expressions; () if no expression has texts."""
        found = [(each, self._texts(each, scope)) for each in nodes if ast.unparse(each) != "None"]
        if not any(texts for _, texts in found):
            return ()
        return combine(texts or (f"{{{ast.unparse(node)}}}",) for node, texts in found)

    def _part(self, node: ast.expr, scope: _Scope) -> Texts:
        """Return the texts of a part of an f-string."""
        match node:
            case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
                return self._piece(value, scope)
            case ast.FormattedValue():
                return (ast.unparse(ast.JoinedStr([node]))[2:-1],)
        return self._texts(node, scope)

    def _variable(self, name: str, scope: _Scope) -> Texts:
        """Return the texts of a variable, a parameter or a constant."""
        if name in scope.known:
            return scope.known[name]
        if name in scope.open:
            return ()
        if scope.function is None:
            return self._constant(name, scope)
        assigned = variables(scope.function)
        inside = replace(scope, open=scope.open | {name}, depth=scope.depth + 1)
        texts = self._several([value for each, value in assigned if each == name], inside, _either)
        for each, value in assigned:
            if each == f"{name}+=" and texts:
                texts = _either((texts, _joined((texts, self._piece(value, inside)))))
        if any(each == name for each, _ in assigned):
            return texts
        if name not in parameters(scope.function):
            return self._constant(name, scope)
        if scope.depth == 0:
            self._asked.add(name)
            return ()
        return self._passed(name, scope)

    def _passed(self, name: str, scope: _Scope) -> Texts:
        """Return the sentences that calls pass as a parameter."""
        found: list[str] = []
        for place, call in self._calls_of(scope.module, scope.function):
            argument = passed(scope.function, call).get(name)
            if argument is not None:
                outside = _Scope(place, place.function(call), depth=scope.depth + 1)
                found += filter(_PROSE.search, self._texts(argument, outside))
        return tuple(dict.fromkeys(found))

    def _constant(self, name: str, scope: _Scope) -> Texts:
        found = scope.module.visible(name, self._constants[name])
        if len({module for module, _ in found}) != 1:
            return ()
        inside = _Scope(found[0][0], None, depth=scope.depth + 1)
        return self._several([value for _, value in found], inside, _either)

    def _result(self, call: ast.Call, scope: _Scope) -> Texts:
        """Return the sentences that a called function returns."""
        name, deeper = own_name(call.func), scope.depth + 1
        if name in {"str", "cut"} and call.args:
            return self._texts(call.args[0], scope)
        if last_name(call.func) == "format" and isinstance(call.func, ast.Attribute):
            return self._texts(call.func.value, scope)
        found = scope.module.visible(name, self._functions[name])
        if len(found) != 1 or name in _VALUES:
            return ()
        module, function = found[0]
        outside = replace(scope, depth=deeper)
        known = {
            each: self._piece(value, outside) for each, value in passed(function, call).items()
        }
        returned = [
            node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Return) and node.value is not None
        ]
        inside = _Scope(module, function, known, depth=deeper)
        texts = self._several(returned, inside, _either)
        return texts if any(map(_PROSE.search, texts)) else ()


Combine = Callable[[Iterable[Texts]], Texts]


def _joined(parts: Iterable[Texts]) -> Texts:
    return tuple("".join(each) for each in itertools.islice(itertools.product(*parts), _MOST))


def _either(parts: Iterable[Texts]) -> Texts:
    return tuple(dict.fromkeys(itertools.chain.from_iterable(parts)))
