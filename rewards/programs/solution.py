"""Finds the program that a response stands by, among all code that it shows."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rewards.programs.blocks import is_active, parse, read_blocks


@dataclass(frozen=True, slots=True)
class Names:
    """Names at the top level of a program."""

    bound: frozenset[str]
    """Names that it defines, imports or assigns."""
    imported: frozenset[str]
    """The bound names that it imports."""
    methods: frozenset[str]
    """Methods of its classes."""
    free: frozenset[str]
    """Names that it reads and neither it nor Python defines."""


def find_solution(response: str, wanted: Iterable[str] = (), *, accepts_body: bool = False) -> str | None:
    """Return the last block of Python that is a program, the whole response where it has no blocks, or None where it has
    only others: sample output, tests, another language.

    A block that defines more of the `wanted` names comes first; then, if `accepts_body`, the body of a function; then a
    program that needs no other block; then one whose fence says that it is Python.
    """
    blocks, before = read_blocks(response)
    if before is response:  # no fence at all
        return response
    best: tuple[tuple[object, ...], str] | None = None
    for block in blocks:
        tree = parse(block.code)
        if not block.is_tagged and not is_active(tree):
            continue
        rank = (*_rank(tree, frozenset(wanted), accepts_body), block.is_tagged)
        if best is None or rank >= best[0]:  # of blocks with the same rank the last
            best = rank, block.code
    if best is None and is_active(parse(before)):
        return before  # the prompt had opened a block, which the response continues
    return best and best[1]


def _rank(tree: ast.Module | None, wanted: frozenset[str], accepts_body: bool) -> tuple[int, bool, bool]:
    """Return (how many of the `wanted` names a block defines, whether it is a function's body, whether it is a program)."""
    if tree is None:
        return 0, False, False
    names = read_names(tree)
    is_body = accepts_body and any(isinstance(node, ast.Return) for node in _own_statements(tree))
    is_program = is_active(tree) and not _is_test(tree) and not names.free
    if (
        not wanted and not accepts_body
    ):  # the program is judged by its output, so a block that prints nothing is only an explanation
        is_program = is_program and _prints(tree)
    # A test may import the solution by its name.
    return len(wanted & (names.bound - names.imported | names.methods)), is_body, is_program


def _is_test(tree: ast.Module) -> bool:
    """Return whether a program only asserts."""
    return all(isinstance(node, ast.Assert | ast.Import | ast.ImportFrom) for node in tree.body)


def _prints(tree: ast.Module) -> bool:
    """Return whether a program writes any output."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return bool(names & {"print", "stdout"} or attributes & {"stdout", "write", "writelines"})


def _own_statements(tree: ast.Module) -> list[ast.AST]:
    """Return the nodes of a program outside its functions and classes."""
    nodes: list[ast.AST] = list(tree.body)
    for node in nodes:  # the list grows while the loop reads it
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            nodes += ast.iter_child_nodes(node)
    return nodes


def read_names(tree: ast.Module) -> Names:
    """Return the names of a program. Scopes are not told apart: a name bound anywhere is not free."""
    bound, imported, methods, read, bound_anywhere = set[str](), set[str](), set[str](), set[str](), set[str]()
    has_star = False
    for node in _own_statements(tree):
        bound |= set(_names_bound(node))
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported |= set(_names_bound(node))
        if isinstance(node, ast.ClassDef):
            methods |= {item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in ast.walk(tree):
        bound_anywhere |= set(_names_bound(node))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            read.add(node.id)
        # `from x import *` may bind any name: none is known to be free then.
        has_star = has_star or (isinstance(node, ast.ImportFrom) and node.names[0].name == "*")
    free = {name for name in read - bound_anywhere if not hasattr(builtins, name) and not name.startswith("__")}
    return Names(
        bound=frozenset(bound),
        imported=frozenset(imported),
        methods=frozenset(methods),
        free=frozenset[str]() if has_star else frozenset(free),
    )


def _names_bound(node: ast.AST) -> Sequence[str]:
    """Return the names that this node itself binds."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
            return [name]
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            return [alias.asname or alias.name.partition(".")[0] for alias in aliases]
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return [name]
        case ast.MatchMapping(rest=str(name)):
            return [name]
        case _:
            return []
