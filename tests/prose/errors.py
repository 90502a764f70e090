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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from ancestral import errors

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
_BUILTIN = {name for kind in (dict, list, set, str) for name in dir(kind)}
"""Names of methods that are probably not the product's own."""
_PROBLEMS = re.compile(r"problems|reasons|failures")
_PROSE = re.compile(r"[a-z]{2},? [a-z]")
_DEEPEST = 8
_MOST = 200
Function = ast.FunctionDef | ast.AsyncFunctionDef
T = TypeVar("T")
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


@dataclass(frozen=True, eq=False)
class Module:
    """The syntax tree of a file."""

    file: str
    tree: ast.Module
    nodes: Sequence[ast.AST]
    parents: Mapping[ast.AST, ast.AST]
    imports: Mapping[str, str]

    @classmethod
    def of(cls, file: str, text: str) -> "Module":
        tree = ast.parse(text)
        nodes, parents = [tree], {}
        for node in nodes:
            children = [*ast.iter_child_nodes(node)]
            parents |= dict.fromkeys(children, node)
            nodes += children
        imports = {
            each.asname or each.name: node.module or ""
            for node in nodes
            if isinstance(node, ast.ImportFrom)
            for each in node.names
        }
        return cls(file, tree, nodes, parents, imports)

    def visible(self, name: str, found: "list[tuple[Module, T]]") -> "list[tuple[Module, T]]":
        """Return what a name means here: what is defined here, imported by name, or unique."""
        here = [each for each in found if each[0] is self]
        source = Path(self.imports.get(name, "").replace(".", "/"))
        imported = [
            each
            for each in found
            if Path(each[0].file).with_suffix("").parts[-1:] == source.parts[-1:]
        ]
        return here or imported or found

    def function(self, node: ast.AST) -> Function | None:
        """Return the function that has a node in its body."""
        while (above := self.parents.get(node)) is not None:
            if isinstance(above, Function) and node in above.body:
                return above
            node = above
        return None


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

    def deeper(self, **changes: object) -> "_Scope":
        return replace(self, depth=self.depth + 1, **changes)  # type: ignore[arg-type]


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
    return sorted(set(_Reader(modules).templates()))


class _Reader:
    """Reads the messages of modules that call each other."""

    def __init__(self, modules: list[Module]) -> None:
        self._modules = modules
        self._functions: dict[str, list[tuple[Module, Function]]] = defaultdict(list)
        self._constants: dict[str, list[tuple[Module, ast.expr]]] = defaultdict(list)
        self._calls: dict[str, list[tuple[Module, ast.Call]]] = defaultdict(list)
        self._asked: set[str] = set()
        for module in modules:
            for node in module.nodes:
                if isinstance(node, Function):
                    self._functions[node.name].append((module, node))
                elif isinstance(node, ast.Call) and _own_name(node.func):
                    self._calls[_own_name(node.func)].append((module, node))
            for name, value in _assignments(module.tree.body):
                self._constants[name].append((module, value))

    def templates(self) -> Iterator[Template]:
        for module in self._modules:
            for node in module.nodes:
                for kind, text in _messages(module, node):
                    yield from self._read(module, kind, text)

    def _read(self, module: Module, kind: str, node: ast.expr) -> Iterator[Template]:
        """Yield the templates of one message: one for each call that gives words to it."""
        scope = _Scope(module, module.function(node))
        self._asked = set()
        found = self._piece(node, scope)
        asked, general = frozenset(self._asked), True
        if scope.function is not None and asked:
            calls = self._calls_of(module, scope.function)
            general = not calls
            for place, call in calls:
                known = self._arguments(scope.function, call, place, asked)
                if any(_PROSE.search(text) for texts in known.values() for text in texts):
                    texts = self._piece(node, replace(scope, known=known))
                    yield from _all(place.file, call.lineno, kind, texts)
                else:
                    general = True
        if general:
            yield from _all(module.file, node.lineno, kind, found)

    @functools.cache  # noqa: B019 - a reader is used once
    def _calls_of(self, module: Module, function: Function) -> tuple[tuple[Module, ast.Call], ...]:
        named = self._functions[function.name]
        return tuple(
            (place, call)
            for place, call in self._calls[function.name]
            if function in (each for _, each in place.visible(function.name, named))
            and _could_call(call.func, function, module)
        )

    def _arguments(
        self, function: Function, call: ast.Call, place: Module, names: Iterable[str]
    ) -> dict[str, Texts]:
        """Return the texts that a call passes for some parameters; `{expression}` otherwise."""
        scope = _Scope(place, place.function(call), depth=1)
        passed = _bound(function, call)
        return {name: self._piece(passed[name], scope) for name in names if name in passed}

    def _piece(self, node: ast.expr, scope: _Scope) -> Texts:
        """Return the alternatives of a piece of a message: texts, or `{expression}`."""
        return self._texts(node, scope) or (f"{{{ast.unparse(node)}}}",)

    def _texts(self, node: ast.expr, scope: _Scope) -> Texts:
        """Return the texts that an expression may be; none if the source does not have them."""
        if scope.depth > _DEEPEST:
            return ()
        match node:
            case ast.Constant(value=str(text)):
                return (text,)
            case ast.JoinedStr(values=parts):
                return _joined(self._part(part, scope) for part in parts)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._several((left, right), scope, _joined)
            case ast.IfExp() | ast.BoolOp(op=ast.Or()):
                return self._several(_alternatives(node), scope, _either)
            case ast.NamedExpr(value=value):
                return self._texts(value, scope)
            case ast.Name(id=name):
                return self._variable(name, scope)
            case ast.Attribute(attr=name) if name.isupper():
                return self._constant(name, scope)
            case ast.Call():
                return self._result(node, scope)
        return ()

    def _several(self, nodes: Iterable[ast.expr], scope: _Scope, combine: "Combine") -> Texts:
        found = [(node, self._texts(node, scope)) for node in nodes if not _is_none(node)]
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
        assigned = _variables(scope.function)
        inside = scope.deeper(open=scope.open | {name})
        texts = self._several([value for each, value in assigned if each == name], inside, _either)
        for each, value in assigned:
            if each == f"{name}+=" and texts:
                texts = _either((texts, _joined((texts, self._piece(value, inside)))))
        if any(each == name for each, _ in assigned):
            return texts
        if name not in _parameters(scope.function):
            return self._constant(name, scope)
        if scope.depth == 0:
            self._asked.add(name)
            return ()
        return self._passed(name, scope)

    def _passed(self, name: str, scope: _Scope) -> Texts:
        """Return the sentences that calls pass as a parameter."""
        assert scope.function is not None
        found: list[str] = []
        for place, call in self._calls_of(scope.module, scope.function):
            argument = _bound(scope.function, call).get(name)
            if argument is not None:
                inside = scope.deeper(
                    module=place, function=place.function(call), known={}, open=frozenset()
                )
                found += filter(_PROSE.search, self._texts(argument, inside))
        return tuple(dict.fromkeys(found))

    def _constant(self, name: str, scope: _Scope) -> Texts:
        found = scope.module.visible(name, self._constants[name])
        if len({module.file for module, _ in found}) != 1:
            return ()
        module = found[0][0]
        inside = scope.deeper(module=module, function=None, known={}, open=frozenset())
        return self._several([value for _, value in found], inside, _either)

    def _result(self, call: ast.Call, scope: _Scope) -> Texts:
        """Return the sentences that a called function returns."""
        name = _own_name(call.func)
        if name in {"str", "cut"} and call.args:
            return self._texts(call.args[0], scope)
        if _name(call.func) == "format" and isinstance(call.func, ast.Attribute):
            return self._texts(call.func.value, scope)
        found = scope.module.visible(name, self._functions[name])
        if len(found) != 1 or name in _VALUES:
            return ()
        module, function = found[0]
        known = {
            each: self._piece(value, scope.deeper())
            for each, value in _bound(function, call).items()
        }
        inside = scope.deeper(module=module, function=function, known=known, open=frozenset())
        returned = [
            node.value
            for node in _own(function)
            if isinstance(node, ast.Return) and node.value is not None
        ]
        texts = self._several(returned, inside, _either)
        return texts if any(map(_PROSE.search, texts)) else ()


class Combine:
    """Type of a function that combines the alternatives of several pieces."""

    def __call__(self, parts: Iterable[Texts]) -> Texts: ...


def _alternatives(node: ast.IfExp | ast.BoolOp) -> list[ast.expr]:
    return node.values if isinstance(node, ast.BoolOp) else [node.body, node.orelse]


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _joined(parts: Iterable[Texts]) -> Texts:
    return tuple("".join(each) for each in itertools.islice(itertools.product(*parts), _MOST))


def _either(parts: Iterable[Texts]) -> Texts:
    return tuple(dict.fromkeys(itertools.chain.from_iterable(parts)))


def _all(file: str, line: int, kind: str, texts: Texts) -> Iterator[Template]:
    return (Template(file, line, kind, text) for text in texts)


def _messages(module: Module, node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield the kind and the text of each message that a node makes."""
    match node:
        case ast.Call(func=func, args=[text, *_]):
            name = _name(func)
            raised = isinstance(module.parents[node], ast.Raise)
            if name in OURS | USAGE or (raised and name in PARTS):
                yield name, text
            elif raised and isinstance(func, ast.Name) and name in _parameters_at(module, node):
                yield "AncestralError", text
            elif name == "append" and _PROBLEMS.search(ast.unparse(func)):
                yield PROBLEM, text
        case ast.Yield(value=value) if value is not None and _yields_text(module, node):
            yield PROBLEM, value
        case ast.Assign() | ast.AugAssign() | ast.Return() if node.value is not None:
            target = module.function(node) if isinstance(node, ast.Return) else node
            if target is not None and _PROBLEMS.search(_title(target)):
                yield from ((PROBLEM, each) for each in _elements(node.value))


def _title(node: ast.AST) -> str:
    match node:
        case ast.FunctionDef(name=name):
            return name
        case ast.Assign(targets=[target]) | ast.AugAssign(target=target):
            return ast.unparse(target)
    return ""


def _elements(node: ast.expr) -> Iterator[ast.expr]:
    """Yield the elements of a list, a generator or a sum of lists that are texts."""
    match node:
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            yield from (each for each in elements if isinstance(each, ast.JoinedStr))
        case ast.ListComp(elt=element) | ast.GeneratorExp(elt=element):
            yield element
        case ast.BinOp(left=left, right=right):
            yield from _elements(left)
            yield from _elements(right)


def _yields_text(module: Module, node: ast.AST) -> bool:
    function = module.function(node)
    return (
        function is not None
        and function.returns is not None
        and ast.unparse(function.returns) in {"Iterator[str]", "Generator[str]"}
    )


def _parameters_at(module: Module, node: ast.AST) -> set[str]:
    function = module.function(node)
    return set() if function is None else _parameters(function)


def _own(function: Function) -> Iterator[ast.AST]:
    """Yield the nodes of a function without those of functions inside it."""
    left: list[ast.AST] = [*function.body]
    while left:
        node = left.pop(0)
        yield node
        if not isinstance(node, Function):
            left += ast.iter_child_nodes(node)


@functools.cache
def _variables(function: Function) -> tuple[tuple[str, ast.expr], ...]:
    """Return the names and the values that a function assigns."""
    return tuple(_assignments(_own(function)))


def _assignments(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names and the values that statements assign, where each name has its own value."""
    for node in nodes:
        match node:
            case ast.Assign(targets=[target]):
                yield from _pairs(target, node.value)
            case ast.AnnAssign(target=target, value=value) if value is not None:
                yield from _pairs(target, value)
            case ast.NamedExpr(target=target):
                yield from _pairs(target, node.value)
            case ast.AugAssign(target=ast.Name(id=name), op=ast.Add()):
                yield f"{name}+=", node.value
            case ast.For(target=ast.Tuple() as target, iter=ast.Tuple(elts=values)):
                for value in values:
                    yield from _pairs(target, value)


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    match target, value:
        case ast.Name(id=name), _:
            yield name, value
        case ast.Tuple(elts=names), ast.Tuple(elts=values) if len(names) == len(values):
            for one, other in zip(names, values, strict=True):
                yield from _pairs(one, other)
        case ast.Tuple(), ast.IfExp(body=body, orelse=orelse):
            yield from _pairs(target, body)
            yield from _pairs(target, orelse)


def _parameters(function: Function) -> set[str]:
    given = function.args
    return {each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)}


def _bound(function: Function, call: ast.Call) -> dict[str, ast.expr]:
    """Return the arguments of a call by the names of the function's parameters."""
    names = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
    if names[:1] in (["self"], ["cls"]):
        del names[0]
    passed = dict(zip(names, call.args, strict=False))
    passed |= {each.arg: each.value for each in call.keywords if each.arg is not None}
    return {name: value for name, value in passed.items() if not isinstance(value, ast.Starred)}


def _could_call(called: ast.expr, function: Function, module: Module) -> bool:
    """Return whether an expression may be a function: a method of an object, or by its module."""
    method = [each.arg for each in function.args.args[:1]] in (["self"], ["cls"])
    match called:
        case ast.Attribute(value=ast.Name(id=name)) if not method:
            return name == Path(module.file).stem
        case ast.Attribute():
            return method
    return not method


def _own_name(node: ast.expr) -> str:
    """Return the last name of a called function; an empty text for methods of builtin types."""
    name = _name(node)
    return "" if isinstance(node, ast.Attribute) and name in _BUILTIN else name


def _name(node: ast.expr) -> str:
    """Return the last name of `a.b.c`, or an empty text."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""
