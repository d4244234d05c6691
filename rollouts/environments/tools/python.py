"""Python in the sandbox (docs/sandbox.md): prints what the program prints, and the value of its last line."""

from __future__ import annotations

from rewards.sandbox import sandbox
from rewards.sandbox.bubblewrap import Limits

TAG = "python"
MOST_CHARACTERS = 2000
"""Characters of the output that the policy is shown."""
_HARNESS = """\
import ast, sys, traceback
source = {source!r}
try:
    tree = ast.parse(source, "program.py")
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    names = {{"__name__": "__main__"}}
    exec(compile(tree, "program.py", "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), "program.py", "eval"), names)
        if value is not None:
            print(repr(value))
except SystemExit:
    pass
except BaseException as error:
    print("".join(traceback.format_exception_only(error)).strip())
"""


def python(code: str, *, seconds: float = 5.0) -> str:
    """Run a Python program and return what it prints, and the value of its last line."""
    outcome = sandbox.execute(_HARNESS.format(source=code), b"", Limits(wall_s=seconds, cpu_s=seconds))
    text = outcome.output.decode(errors="replace").strip()
    if len(text) > MOST_CHARACTERS:
        text = f"{text[:MOST_CHARACTERS]} … ({len(text):,} characters in all)"
    if outcome.stop_reason:
        raise ValueError(f"{outcome.stop_reason}{f'; printed: {text}' if text else ''}")
    return text or "(printed nothing)"


def require(**_: object) -> None:
    """Raise ValueError where no program can be sandboxed."""
    sandbox.require()
