"""Word problems of SVAMP (Patel et al., arXiv 2103.07191), each with the expression that solves it, for a calculator.

    user: Jesse has 18 square feet of carpet. If her room is 4 feet long and 20 feet wide. How much more carpet does she need …
    assistant: <think><calc>4*20-18</calc>…</think>62

Each row of the file (jsonl) has an `id`, a `question`, its answer (`answer_final`), the `equation` that leads there, `( ( 4.0 * 20.0 ) -
18.0 )`, and its `split`. SVAMP's own release (github.com/arkilpatel/SVAMP, MIT) calls them ID, Body and Question, Answer and Equation.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from rl.data.json_rows import jsonl
from rl.data.rows import check_columns, locate
from rl.types import Demonstration, Message, Prompt
from rollouts.environments.tools.calculator import calculator


def problems(split: str | None, path: str) -> Iterator[Prompt]:
    """Yield the problems of a split (train, validation or test, as the file's rows say). One whose equation does not lead to its
    answer is left out: the file has one such row."""
    for where, row in jsonl(locate(path, "problems.path")):
        check_columns(("id", "question", "answer_final", "equation", "split"), list(row), where)
        expression = shorten(row["equation"], where)
        if split not in (None, row["split"]) or calculator(expression) != row["answer_final"]:
            continue
        yield Prompt(
            id=f"svamp/{row['id']}",
            messages=(Message("user", f"{row['question']} Answer with the number only."),),
            answer=row["answer_final"],
            source="svamp",
            demonstration=Demonstration(f"<calc>{expression}</calc>", row["answer_final"]),
        )


def shorten(equation: str, where: str) -> str:
    """Return an equation without what it does not need: `( ( 4.0 * 20.0 ) - 18.0 )` becomes `4*20-18`. Raises ValueError, which
    begins with `where`, for what is no expression."""
    try:
        expression = ast.unparse(ast.parse(equation.strip(), mode="eval"))
    except SyntaxError:
        raise ValueError(f"{where}: equation {equation!r} is no expression; correct it") from None
    return re.sub(r"(?<=\d)\.0\b", "", expression).replace(" ", "")
