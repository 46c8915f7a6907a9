"""Sources of the program, parsed once in a process for all tests that look through them."""

import ast
from functools import cache
from pathlib import Path

import cryodrgn

PACKAGE = Path(cryodrgn.__file__).parent
PATHS = sorted(PACKAGE.rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    """The tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a file."""
    return tuple(ast.walk(tree_of(path)))
