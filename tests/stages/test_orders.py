"""Letters dealt anew: what a policy that likes a letter shows, and one that knows the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from rewards.contract import Case
from rewards.verifiers.choice import verify
from rl.config import ConfigError
from rl.stages.evaluate import Config
from rl.stages.orders import deal, has_options, order_metrics
from rl.types import Message, Prompt, Scored

ANIMALS = ["a dog", "a cat", "a bird", "an otter"]


def asked(id: str, options: object = None, answer: str = "a cat", form: str = "{}. {}") -> Prompt:
    texts = list(options.values()) if isinstance(options, dict) else list(options or ANIMALS)  # type: ignore[call-overload]
    lines = "\n".join(form.format("ABCDEFGH"[i], text) for i, text in enumerate(texts))
    turns = (Message("system", "Listen."), Message("user", f"What is heard?\n{lines}\nOne letter."))
    return Prompt(id, turns, answer, "s", fields={"options": options or ANIMALS, "row": 1})


PROMPTS = [asked(f"item-{i}", answer=ANIMALS[i % 4]) for i in range(60)]


def answer(prompt: Prompt, policy: Callable[[Prompt], str]) -> Scored:
    rollout = replace(Case(policy(prompt), None).rollout(), prompt=prompt)
    return Scored(rollout, verify(prompt, rollout))


def measured(policy: Callable[[Prompt], str], orders: int = 4) -> dict[str, float]:
    metrics = order_metrics([[answer(deal(p, order), policy) for p in PROMPTS] for order in range(orders)])
    return {name: round(value, 3) for name, value in metrics.items() if "/" not in name}


def letter(prompt: Prompt) -> str:
    options: list[str] = prompt.fields["options"]  # type: ignore[assignment]
    return "ABCD"[options.index(str(prompt.answer))]


def test_a_policy_that_always_says_a() -> None:
    assert measured(lambda _: "A") == {"accuracy_over_orders": 0.25, "right_in_all_orders": 0.0, "text_changes": 1.0}


@pytest.mark.parametrize("policy", [letter, lambda prompt: str(prompt.answer)])
def test_a_policy_that_knows(policy: Callable[[Prompt], str]) -> None:
    assert measured(policy) == {"accuracy_over_orders": 1.0, "right_in_all_orders": 1.0, "text_changes": 0.0}


def test_a_policy_that_always_chooses_the_same_wrong_text() -> None:
    wrong = {p.id: next(text for text in ANIMALS if text != p.answer) for p in PROMPTS}
    figures = measured(lambda prompt: wrong[prompt.id])
    assert figures == {"accuracy_over_orders": 0.0, "right_in_all_orders": 0.0, "text_changes": 0.0}


def test_a_policy_that_knows_unless_the_gold_is_at_d() -> None:
    figures = measured(lambda prompt: "A" if letter(prompt) == "D" else letter(prompt))
    assert figures == {"accuracy_over_orders": 0.75, "right_in_all_orders": 0.0, "text_changes": 1.0}


@pytest.mark.parametrize("orders", [4, 8])
def test_every_gold_stands_at_every_letter_as_often(orders: int) -> None:
    for prompt in PROMPTS:
        assert {*Counter(letter(deal(prompt, order)) for order in range(orders)).values()} == {orders // 4}
    first = Counter(letter(deal(prompt, 0)) for prompt in PROMPTS)
    assert len(first) == 4, "not the order of the data set, nor the same for all items"


def test_an_order_depends_on_the_id_alone() -> None:
    assert [deal(p, 2) for p in PROMPTS] == [deal(p, 2) for p in reversed(PROMPTS)][::-1]
    assert deal(PROMPTS[0], 1).id == PROMPTS[0].id


@pytest.mark.parametrize("form", ["{}. {}", "({}) {}", "{}) {}", "{}: {}"])
@pytest.mark.parametrize("gold", ["a cat", "B", "(B)", "1"])
def test_the_question_and_the_gold_follow(form: str, gold: str) -> None:
    prompt = asked("x", answer=gold, form=form)
    dealt = deal(prompt, 1)
    assert dealt.answer == "a cat"
    assert dealt.fields["row"] == 1
    shown = [form.format("ABCD"[i], text) for i, text in enumerate(dealt.fields["options"])]  # type: ignore[arg-type]
    assert dealt.question == "What is heard?\n" + "\n".join(shown) + "\nOne letter."
    assert sorted(dealt.fields["options"]) == sorted(ANIMALS)  # type: ignore[call-overload]
    assert dealt.messages[0] == prompt.messages[0]


@pytest.mark.parametrize("options", [["yes", "no"], {"A": "yes", "B": "no"}, [1, 2, 3], list("tuvwxyz")])
def test_any_number_of_options(options: object) -> None:
    texts = [str(text) for text in (options.values() if isinstance(options, dict) else options)]  # type: ignore[attr-defined]
    prompt = asked("y", options, texts[0])
    golds = [deal(prompt, order).fields["options"].index(texts[0]) for order in range(len(texts))]  # type: ignore[attr-defined]
    assert sorted(golds) == list(range(len(texts)))


def test_free_answers_have_nothing_to_deal() -> None:
    assert not has_options(Prompt("z", (Message("user", "2 + 2?"),), "4"))
    assert not has_options(Prompt("z", (Message("user", "A or B?"),), "A", fields={"options": {"A": "", "B": ""}}))


def test_options_that_are_not_shown_are_a_mistake() -> None:
    prompt = Prompt("z", (Message("user", "Dog, cat?"),), "cat", fields={"options": ["dog", "cat"]})
    with pytest.raises(ValueError, match="prompt 'z' does not show its options"):
        deal(prompt, 0)


def test_an_error_in_one_order_leaves_the_item_out() -> None:
    by_order = [[answer(deal(p, order), letter) for p in PROMPTS[:2]] for order in range(4)]
    broken = by_order[3][0]
    by_order[3][0] = Scored(broken.rollout, replace(broken.verdict, error="crashed"))
    assert order_metrics(by_order)["accuracy_over_orders"] == 1.0


@pytest.mark.parametrize("orders", [1, -2])
def test_one_order_is_none(orders: int) -> None:
    with pytest.raises(ConfigError, match=r"x\.orders: one order"):
        Config("d", orders=orders).validate("x")
