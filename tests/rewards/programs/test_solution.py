"""The program that a response stands by."""

from __future__ import annotations

import pytest

from rewards.programs.solution import find_solution

FENCE = "```"
PROGRAM = "a, b = map(int, input().split())\nprint(a + b)"
INDENTED = PROGRAM.replace("\n", "\n   ")
FUNCTION = "def add(a, b):\n    return a + b"
BLOCK = f"{FENCE}python\n{PROGRAM}\n{FENCE}"
FUNCTION_BLOCK = f"{FENCE}python\n{FUNCTION}\n{FENCE}"

FENCES = {
    "no fence": PROGRAM,
    "plain": BLOCK,
    "untagged": f"{FENCE}\n{PROGRAM}\n{FENCE}",
    "an item of a list": f"1. Code:\n   {FENCE}python\n   {INDENTED}\n   {FENCE}",
    "beside an item's number": f"1. {FENCE}python\n   {INDENTED}\n   {FENCE}",
    "indented by a tab": f"- Code\n\t{FENCE}python\n\t{INDENTED.replace('   ', chr(9))}\n\t{FENCE}",
    "quoted": f"> {FENCE}python\n> {INDENTED.replace('   ', '> ')}\n> {FENCE}",
    "CRLF": BLOCK.replace("\n", "\r\n"),
    "tildes": f"~~~python\n{PROGRAM}\n~~~",
    "five tildes": f"~~~~~\n{PROGRAM}\n~~~~~",
    "four backticks": f"{FENCE}`python\n{PROGRAM}\n{FENCE}`",
    "in the middle of a line": f"Solution: {FENCE}python\n{PROGRAM}\n{FENCE}",
    "never closed": f"{FENCE}python\n{PROGRAM}",
    "never closed, with a tag": f"<answer>\n{FENCE}python\n{PROGRAM}\n</answer>",
    "never closed, with prose": f"{FENCE}python\n{PROGRAM}\n\nThis reads two numbers and prints their sum.",
    "closed beside a tag": f"<answer>{FENCE}python\n{PROGRAM}\n{FENCE}</answer>",
    "closed at the end of a line": f"{FENCE}python\n{PROGRAM}{FENCE}\nDone.",
    "closed beside prose": f"{FENCE}python\n{PROGRAM}\n{FENCE} This prints the sum.",
    "closed by a shorter fence": f"{FENCE}`python\n{PROGRAM}\n{FENCE}\nDone.",
    "closed by another fence": f"~~~python\n{PROGRAM}\n{FENCE}\nDone.",
    "closed by a longer fence": f"{FENCE}python\n{PROGRAM}\n{FENCE}``\nDone.",
    "an attribute": f'{FENCE}python title="a.py"\n{PROGRAM}\n{FENCE}',
    "lines to mark": f"{FENCE}python {{1,2}}\n{PROGRAM}\n{FENCE}",
    "a file's name": f"{FENCE}python:main.py\n{PROGRAM}\n{FENCE}",
    "pandoc": f"{FENCE}{{.python .numberLines}}\n{PROGRAM}\n{FENCE}",
    "a space": f"{FENCE} Python3 \n{PROGRAM}\n{FENCE}",
    "a version": f"{FENCE}python3.11\n{PROGRAM}\n{FENCE}",
    "mentions a fence": f"Use {FENCE} to open a block.\n{BLOCK}",
    "after another block without its end": f"Input:\n{FENCE}\n1 2\n{BLOCK}",
}


@pytest.mark.parametrize("response", FENCES.values(), ids=FENCES.keys())
def test_a_block_is_found_however_it_is_fenced(response: str):
    assert find_solution(response) == PROGRAM


AFTER = {
    "sample output": f"{FENCE}\n3\n{FENCE}",
    "sample output, tagged": f"{FENCE}text\nprint(4)\n{FENCE}",
    "sample output, tagged as Python": f"{FENCE}python\n3\n{FENCE}",
    "words": f"{FENCE}\nYes\n{FENCE}",
    "a value that looks like a call": f"{FENCE}\nPoint(1, 2)\n{FENCE}",
    "a case": f"{FENCE}\nCase #1: 3\n{FENCE}",
    "a line of it, explained": f"{FENCE}python\nmap(int, input().split())\n{FENCE}",
    "a part of it": f"{FENCE}python\nprint(a + b)\n{FENCE}",
    "C++": f"{FENCE}cpp\nint main() {{}}\n{FENCE}",
    "a shell": f"{FENCE}bash\npython a.py\n{FENCE}",
    "JSON": f'{FENCE}json\n{{"a": 1}}\n{FENCE}',
    "assertions": f"{FENCE}python\nassert 1 + 2 == 3\n{FENCE}",
    "what is no Python": f"{FENCE}python\na, b = map(int\n{FENCE}",
    "a session": f"{FENCE}python\n>>> add(1, 2)\n3\n{FENCE}",
    "a session of its own": f"{FENCE}pycon\n>>> 1 + 2\n3\n{FENCE}",
    "output that never ends": f"{FENCE}\n3",
}


@pytest.mark.parametrize("block", AFTER.values(), ids=AFTER.keys())
def test_a_block_that_is_no_program_replaces_none(block: str):
    assert find_solution(f"{BLOCK}\nNote:\n{block}") == PROGRAM
    assert find_solution(f"{block}\nNote:\n{BLOCK}") == PROGRAM
    if block.startswith((FENCE + "\n", FENCE + "text")):
        assert find_solution(f"{FENCE}\n{PROGRAM}\n{FENCE}\nNote:\n{block}") == PROGRAM
    assert find_solution(f"{FUNCTION_BLOCK}\nNote:\n{block}", ["add"]) == FUNCTION


@pytest.mark.parametrize(
    "block",
    [
        "print(add(1, 2))",
        "assert add(1, 2) == 3\nprint('all tests passed')",
        "def test_add():\n    assert add(1, 2) == 3",
        "from solution import add\nimport unittest\nclass T(unittest.TestCase):\n    def test(self): pass",
    ],
)
def test_an_example_of_use_does_not_replace_the_solution(block: str):
    after = f"{FENCE}python\n{block}\n{FENCE}"
    assert find_solution(f"{FUNCTION_BLOCK}\n{after}", ["add"]) == FUNCTION
    assert find_solution(f"{FENCE}\n{FUNCTION}\n{FENCE}\n{after}", ["add"]) == FUNCTION


def test_the_last_program_counts():
    better = FUNCTION.replace("a + b", "sum((a, b))")
    assert find_solution(f"{FUNCTION_BLOCK}\nSimpler:\n{FENCE}python\n{better}\n{FENCE}", ["add"]) == better
    assert find_solution(f"{BLOCK}\nOr:\n{FENCE}py\nprint(1)\n{FENCE}") == "print(1)"
    # a method of a class is a definition too
    method = "class Solution:\n    def add(self, a, b):\n        return a + b"
    assert find_solution(f"{FENCE}python\n{method}\n{FENCE}\n{FENCE}python\nprint(1)\n{FENCE}", ["add"]) == method


def test_the_body_of_a_function_is_a_program_where_the_prompt_begins_it():
    response = f"{FENCE}python\n    return a + b\n{FENCE}\n{FENCE}python\nprint(add(1, 2))\n{FENCE}"
    assert find_solution(response, ["add"], accepts_body=True) == "return a + b"


@pytest.mark.parametrize("tag", ["", "python"])
def test_a_docstring_may_hold_fences(tag: str):
    program = f'def add(a, b):\n    """Add.\n\n    {FENCE}{tag}\n    add(1, 2)\n    {FENCE}\n    """\n    return a + b'
    assert find_solution(f"{FENCE}python\n{program}\n{FENCE}\nDone.", ["add"]) == program


def test_a_response_that_continues_the_prompts_block():
    assert find_solution(f"{FUNCTION}\n{FENCE}\nThis adds.", ["add"]) == f"{FUNCTION}"


def test_other_languages_alone_are_no_program():
    assert find_solution(f"{FENCE}cpp\nint main() {{}}\n{FENCE}") is None
    assert find_solution(f"{FENCE}\n3\n{FENCE}") is None


def test_a_program_beside_its_fence():
    assert find_solution(f"{FENCE}python import sys\nprint(sys.stdin.read())\n{FENCE}").startswith("import sys\nprint")
    assert find_solution(f"Use {FENCE}python print(1){FENCE}.") == "print(1)"
