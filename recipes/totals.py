"""Sums of several numbers, worked out one addition at a time.

    user: What is 17+45+28? Answer with the number only.     assistant: <think>17+45=62 62+28=90</think>90

`smollm2_reasoning` asks them: a pretrained model has seen such equations, which a chain of bare totals (`17 62 90`, as the
`reasoning_gym` source writes it) does not resemble.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from random import Random

from rl.data.rows import split_of
from rl.types import Demonstration, Message, Prompt


def sums(split: str | None, size: int = 20000, terms: int = 3, digits: int = 2, bare: float = 0.0) -> Iterator[Prompt]:
    """Yield sums of `terms` numbers of at most `digits` digits, from 1 on. `size` are drawn for all splits together (80 % train,
    10 % validation, 10 % test, by a hash of the sum) and repeated ones dropped. The share `bare` of the demonstrations has no
    chain."""
    random, seen = Random(f"totals/{terms}/{digits}"), set[str]()
    for _ in range(size):
        numbers = [random.randint(1, 10**digits - 1) for _ in range(terms)]
        question = "+".join(map(str, numbers))
        if question in seen or split not in (None, split_of(question)):
            continue
        seen.add(question)
        is_bare = Random(f"bare/{question}").random() < bare
        chain = "" if is_bare else write_chain(numbers)
        yield Prompt(
            id=f"totals/{question}",
            messages=(Message("user", f"What is {question}? Answer with the number only."),),
            answer=str(sum(numbers)),
            source="totals",
            demonstration=Demonstration(chain, str(sum(numbers))),
        )


def write_chain(numbers: Sequence[int]) -> str:
    """Return one equation for each addition: 17, 45, 28 become `17+45=62 62+28=90`."""
    totals = list(accumulate(numbers))
    # `totals` is longer by its last one, which nothing is added to.
    return " ".join(
        f"{left}+{term}={total}" for left, term, total in zip(totals, numbers[1:], totals[1:], strict=False)
    )
