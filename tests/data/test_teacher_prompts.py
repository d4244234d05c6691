"""The teacher's prompt in the place of the policy's, before the very same answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.tokenizer import byte_tokenizer
from rl.data.chat import Chat
from rl.data.collate import collate
from rl.data.tasks.sounds import sounds
from rl.data.teacher_prompts import reread, teacher_prompt
from rl.messages import Exchange
from rl.types import AUDIO_PATCH, Clip, Message, Prompt, Reply, Rollout, Scored, Verdict

CLIPS = (Clip(data=b"one"), Clip(data=b"two"))
HEARD = Prompt(
    "row",
    (Message("system", "Be brief."), Message("user", f"{AUDIO_PATCH}{AUDIO_PATCH} which is higher?")),
    answer="first",
    clips=CLIPS,
    fields={"description": "a 311Hz, b 185Hz", "options": ["first", "second"], "score": 0.5, "labels": {"a": 1}},
)


def contents(template: str, prompt: Prompt = HEARD) -> list[str]:
    return [message.content for message in teacher_prompt(prompt, template).messages]


def test_a_description_stands_in_place_of_the_clips() -> None:
    assert contents("{description}: {question}") == ["Be brief.", "a 311Hz, b 185Hz: which is higher?"]
    assert teacher_prompt(HEARD, "{description}").clips == ()
    assert contents("{question}\n{options}")[1] == "which is higher?\nA. first\nB. second"
    assert contents("{question} ({answer}, {score})")[1] == "which is higher? (first, 0.5)", "a teacher that was told"


@pytest.mark.parametrize("roles", [(), ("system",), ("assistant",), ("system", "assistant", "tool")])
def test_a_prompt_without_a_user_turn_is_named(roles: tuple[str, ...]) -> None:
    prompt = Prompt("row", tuple(Message(role, "Be brief.") for role in roles), fields={"description": "a"})
    with pytest.raises(
        ValueError, match=r"^prompt 'row': teacher_template: has no user turn to stand in the place of; add"
    ):
        teacher_prompt(prompt, "{description}")


def test_audio_keeps_the_clips_at_its_place() -> None:
    told = teacher_prompt(HEARD, "{audio} {question} Hint: {answer}")
    assert told.clips == CLIPS
    assert told.messages[1].content == f"{AUDIO_PATCH}{AUDIO_PATCH} which is higher? Hint: first"


def test_marks_of_earlier_turns_do_not_wait_for_clips() -> None:
    turns = (Message("user", f"{AUDIO_PATCH}one"), Message("assistant", "ok"), Message("user", f"{AUDIO_PATCH}two"))
    prompt = Prompt("row", turns, clips=CLIPS, fields={"description": "both"})
    assert contents("{description} {question}", prompt) == ["one", "ok", "both two"]
    assert contents("{audio}{question}", prompt) == ["one", "ok", f"{AUDIO_PATCH}{AUDIO_PATCH}two"]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (
            "{descripton}",
            r"prompt 'row': teacher_template: the template's {descripton} is no column; did you mean 'descri",
        ),
        ("{labels}", r"prompt 'row': teacher_template: .*labels.* is mapping"),
        ("  ", "prompt 'row': teacher_template: renders nothing"),
    ],
)
def test_a_prompt_that_cannot_be_written_is_named(template: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        teacher_prompt(HEARD, template)


def sample(prompt: Prompt, chat: Chat, wrote: list[int], between: list[int]) -> Scored:
    """A sample that wrote two pieces, with a tool's tokens between them."""
    opening = chat.prompt(prompt.messages, prompt.clips, expand=True)
    tokens = np.array([*opening, *wrote, *between, *wrote], dtype=np.int64)
    mask = [False] * len(opening) + [True] * len(wrote) + [False] * len(between) + [True] * len(wrote)
    logprobs = np.linspace(-1, 0, 2 * len(wrote), dtype=np.float32)
    return Scored(Rollout(prompt, 0, tokens, np.array(mask), logprobs, "stop", 0, ""), Verdict(1.0))


def test_the_same_actions_stand_behind_another_prompt() -> None:
    chat = Chat(byte_tokenizer(), count_audio_tokens=lambda _: 7)
    heard = sample(HEARD, chat, [65, 66], between=[99] * 5)
    other = sample(Prompt("text", (Message("user", "?"),), fields={"description": "none"}), chat, [67], between=[])
    batch, read = collate([heard, other]), collate(reread([heard, other], "{description} {question}", chat))
    assert read.actions_N.tolist() == batch.actions_N.tolist() == [4, 2]
    assert read.tokens_T[read.action_mask_T].tolist() == batch.tokens_T[batch.action_mask_T].tolist()
    assert read.groups_N.tolist() == batch.groups_N.tolist()
    assert read.rollout_logprobs_A.tolist() == batch.rollout_logprobs_A.tolist()
    assert read.clips_N == ((), ())
    assert batch.lengths_N[0] - read.lengths_N[0] == 2 * (7 + 2) - len("a 311Hz, b 185Hz ") + 1
    first = chat.prompt(teacher_prompt(HEARD, "{description} {question}").messages)
    assert read.tokens_T[: len(first)].tolist() == first
    assert read.tokens_T[len(first) : int(read.lengths_N[0])].tolist() == [65, 66, *[99] * 5, 65, 66]


@pytest.mark.parametrize("kind", ["direction", "beats", "pattern", "sound", "louder", "faster"])
def test_made_sounds_are_described_as_the_same_data_in_text(kind: str) -> None:
    """A teacher that was trained on `described` rows reads in the student's template just what it was trained on."""
    heard, read = ([*sounds("train", kinds=[kind], size=30, described=d)] for d in (False, True))
    for one, other in zip(heard, read, strict=True):
        assert (one.id, one.demonstration) == (other.id, other.demonstration)
        assert (len(one.clips) > 0, len(other.clips)) == (True, 0)
        assert teacher_prompt(one, "{description} {question}").messages == other.messages


def test_a_tools_clips_stay() -> None:
    """What a tool added is heard by the teacher too: only the prompt is another."""
    chat = Chat(byte_tokenizer(), count_audio_tokens=lambda _: 1)
    heard = sample(HEARD, chat, [65], between=[99, 98])
    start = int(heard.rollout.action_mask.argmax()) + 1
    exchange = Exchange("call", Reply(clips=(CLIPS[0],)), start, start + 2)
    called = replace(heard, rollout=replace(heard.rollout, exchanges=(exchange,)))
    (read,) = reread([called], "{description}", chat)
    assert collate([read]).clips_N == ((CLIPS[0],),)
    (moved,) = read.rollout.exchanges
    assert read.rollout.tokens[moved.start : moved.end].tolist() == [99, 98]
