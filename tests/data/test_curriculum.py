from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from rl.data.curriculum import Curriculum
from rl.types import Message, Prompt


def prompts(count: int) -> list[Prompt]:
    return [Prompt(str(i), (Message("user", str(i)),)) for i in range(count)]


def ids(draw: list[Prompt]) -> list[str]:
    return [prompt.id for prompt in draw]


@given(count=st.integers(1, 40), epochs=st.integers(1, 5), seed=st.integers(0, 99), data=st.data())
def test_every_prompt_comes_once_per_epoch(count: int, epochs: int, seed: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, -(-count // 2)))
    curriculum = Curriculum(prompts(count), seed)
    stream: list[str] = []
    while len(stream) < count * epochs:
        draw = ids(curriculum.draw(size))
        assert len(set(draw)) == size, "no prompt twice in one draw"
        stream += draw
    assert curriculum.position == len(stream)
    for epoch in range(epochs):
        assert Counter(stream[epoch * count : (epoch + 1) * count]).most_common(1)[0][1] == 1


@given(st.lists(st.integers(1, 12), min_size=1, max_size=20), st.integers(0, 19))
def test_how_many_were_drawn_is_the_whole_state(sizes: list[int], stop: int) -> None:
    """Draws of any sizes up to all prompts, stopped anywhere and taken up again, epochs later too."""
    whole, before, after = (Curriculum(prompts(12), seed=4) for _ in range(3))
    stop = min(stop, len(sizes))
    expected = [ids(whole.draw(size)) for size in sizes]
    assert all(len(set(draw)) == len(draw) for draw in expected)
    first = [ids(before.draw(size)) for size in sizes[:stop]]
    after.position = before.position
    assert first + [ids(after.draw(size)) for size in sizes[stop:]] == expected
    after.position = 0
    assert ids(after.draw(sizes[0])) == expected[0], "back to an earlier epoch"


def test_the_seed_and_the_epoch_make_the_order() -> None:
    first, second = (Curriculum(prompts(100), seed) for seed in (0, 1))
    orders = [tuple(ids(c.draw(100))) for c in (first, first, first, second)]
    assert len(set(orders)) == 4
    moved = [abs(orders[0].index(i) - orders[1].index(i)) for i in orders[0]]
    assert max(moved) <= 50, "a prompt comes again after half the prompts at the earliest"
    assert sum(moved) / 100 > 5, "and the order is shuffled, not kept"


def test_a_draw_of_more_than_all_repeats() -> None:
    draw = ids(Curriculum(prompts(3), seed=0).draw(7))
    assert sorted(Counter(draw).values()) == [2, 2, 3]


def test_prompts_that_share_an_id_count_as_one() -> None:
    """A draw of more than there are different ones repeats; it had waited for another one for ever."""
    assert ids(Curriculum([*prompts(1), *prompts(1)], seed=0).draw(3)) == ["0"] * 3
