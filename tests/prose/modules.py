"""Python files as syntax trees: what a name may mean, what is assigned, what a call passes."""

import ast
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Function = ast.FunctionDef | ast.AsyncFunctionDef
T = TypeVar("T")
_BUILTIN = {name for kind in (dict, list, set, str) for name in dir(kind)}
"""Names of methods that are probably not the product's own."""


@dataclass(frozen=True, eq=False)
class Module:
    """The syntax tree of a file.

    Attributes:
        file: path from the root of the repository.
        tree: root of the tree.
        nodes: all nodes, the root first.
        parents: parent of each node except the root.
        imports: module from which a name is imported, by name.
    """

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
        source = self.imports.get(name, "").rpartition(".")[2]
        imported = [each for each in found if Path(each[0].file).stem == source]
        return here or imported or found

    def function(self, node: ast.AST) -> Function | None:
        """Return the innermost function around a node, or None."""
        while node in self.parents:
            node = self.parents[node]
            if isinstance(node, Function):
                return node
        return None


@functools.cache
def variables(function: Function) -> tuple[tuple[str, ast.expr], ...]:
    """Return the names and the values that a function assigns, as in `assignments`."""
    return tuple(assignments(ast.walk(function)))


def assignments(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    """Yield names and their assigned values; the name of `x += value` is "x+="."""
    for node in nodes:
        match node:
            case (
                ast.Assign(targets=[target], value=value)
                | ast.AnnAssign(target=target, value=value)
                | ast.NamedExpr(target=target, value=value)
            ) if value is not None:
                yield from _pairs(target, value)
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


def parameters(function: Function) -> list[str]:
    """Return the names of a function's parameters, positional ones first."""
    return [each.arg for each in (*function.args.args, *function.args.kwonlyargs)]


def _is_method(function: Function) -> bool:
    return parameters(function)[:1] in (["self"], ["cls"])


def passed(function: Function, call: ast.Call) -> dict[str, ast.expr]:
    """Return the arguments of a call by the names of the function's parameters."""
    names = parameters(function)[_is_method(function) :]
    named = {each.arg: each.value for each in call.keywords if each.arg is not None}
    return dict(zip(names, call.args, strict=False)) | named


def may_call(called: ast.expr, function: Function, module: Module) -> bool:
    """Return whether an expression may be a function: a method of an object, or by its module."""
    match called:
        case ast.Attribute(value=ast.Name(id=name)) if not _is_method(function):
            return name == Path(module.file).stem
    return isinstance(called, ast.Attribute) == _is_method(function)


def last_name(node: ast.expr) -> str:
    """Return the last name of `a.b.c`, or an empty text."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def own_name(node: ast.expr) -> str:
    """Return the last name of a called function; an empty text for methods of builtin types."""
    name = last_name(node)
    return "" if isinstance(node, ast.Attribute) and name in _BUILTIN else name
