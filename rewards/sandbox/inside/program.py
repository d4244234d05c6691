"""Runs a program whose output is judged."""

from __future__ import annotations

import builtins
import sys
from types import ModuleType


def main() -> None:
    """Run /program.py as Python would: in a module of its own, which sees nothing that was imported before it."""
    add_exit()
    module = sys.modules["__main__"] = ModuleType("__main__")
    with open("/program.py", "rb") as file:
        program = compile(file.read(), "program.py", "exec", dont_inherit=True)
    exec(program, vars(module))


def add_exit() -> None:
    """Define `exit` and `quit`, which Python's `site` defines where it is loaded."""
    for name in ("exit", "quit"):
        setattr(builtins, name, sys.exit)
