from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tokenizer import ADDED_TOKENS, VOCABULARY, byte_tokenizer
from rl.data.chat import Chat
from rl.think import is_blank, split_think
from rl.types import Clip, Demonstration, Message

TOKENIZER = byte_tokenizer()
CHAT, PLAIN = Chat(TOKENIZER), Chat(TOKENIZER, think=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
TYPED = st.lists(st.sampled_from([*ADDED_TOKENS, "<", "think>", "user", "é", "\n", " "])).map("".join)
"""What looks like control tokens, whole and in pieces."""


def ids(*pieces: str | bytes) -> list[int]:
    """Control tokens by name, letters (and whatever is given as bytes) one by one."""
    named = [[VOCABULARY[p]] if p in VOCABULARY else p for p in pieces]
    return [i for p in named for i in (p.encode() if isinstance(p, str) else p)]


def user(text: str) -> list[Message]:
    return [Message("user", text)]


def test_a_prompt_ends_inside_the_chain() -> None:
    conversation = [Message("system", "Be brief."), *user("2+2?"), Message("assistant", "4"), *user("no")]
    assert CHAT.prompt(conversation) == ids(
        *("<|BOT|>", "system\n", "Be brief.", "<|EOT|>", "<|BOT|>", "user\n", "2+2?", "<|EOT|>"),
        *("<|BOT|>", "assistant\n", "4", "<|EOT|>", "<|BOT|>", "user\n", "no", "<|EOT|>"),
        *("<|BOT|>", "assistant\n", "<think>", "\n"),
    )
    assert PLAIN.prompt(user("a")) == ids("<|BOT|>", "user\n", "a", "<|EOT|>", "<|BOT|>", "assistant\n")


@given(TYPED | TEXT)
def test_what_a_user_types_is_never_a_control_token(text: str) -> None:
    expected = ids("<|BOT|>", "user\n", text.encode(), "<|EOT|>", "<|BOT|>", "assistant\n", "<think>", "\n")
    assert CHAT.prompt(user(text)) == expected
    demonstration = CHAT.demonstration(Demonstration(text, text))
    assert demonstration == ids(text.encode(), "\n", "</think>", "\n", text.encode(), "<|EOT|>")


def test_an_absent_chain_is_the_empty_chain() -> None:
    turn = CHAT.demonstration(Demonstration("", "yes"))
    assert CHAT.turn(turn) == "<think>\n\n</think>\nyes"
    assert turn == ids("\n", "</think>", "\n", "yes", "<|EOT|>")
    assert PLAIN.demonstration(Demonstration("", "yes")) == ids("yes", "<|EOT|>")
    assert PLAIN.turn(ids("yes", "<|EOT|>")) == "yes"


UNTAGGED = TEXT.map(str.strip).filter(lambda text: "think>" not in text)
"""What a data row may hold: `rl.data.prompts` refuses tags in a demonstration."""


@given(reasoning=UNTAGGED, response=UNTAGGED)
def test_a_demonstration_is_read_back_and_measured(reasoning: str, response: str) -> None:
    turn = CHAT.demonstration(Demonstration(reasoning, response))
    text = CHAT.turn(turn)
    assert text == f"<think>\n{reasoning}\n</think>\n{response}"
    assert split_think(text) == tuple("" if is_blank(part) else part for part in (reasoning, response))
    assert CHAT.chain_length(turn) == len(reasoning.encode()) + 1


def test_the_chain_is_what_the_text_says() -> None:
    assert CHAT.chain_length(ids("ab", "<|EOT|>")) == 3, "never closed: all of it"
    assert CHAT.chain_length(ids("ab", "</think>", "c", "</think>", "d")) == 4, "the last close counts"
    assert CHAT.chain_length(ids("ab", b"</think>", "c")) == 2, "closed letter by letter"
    assert CHAT.chain_length(ids("</think>")) == CHAT.chain_length([]) == PLAIN.chain_length(ids("ab", "</think>")) == 0


@given(reasoning=UNTAGGED, response=UNTAGGED)
def test_what_closes_a_chain_is_told_from_its_words(reasoning: str, response: str) -> None:
    turn = CHAT.demonstration(Demonstration(reasoning, response))
    place = CHAT.closing_in(turn)
    assert CHAT.written(turn[: place.start]) == reasoning.rstrip()
    assert CHAT.written(turn[place]).strip() == "</think>"
    assert CHAT.written(turn[place.stop :]) == f"\n{response}"
    assert turn[CHAT.closing_in(turn[:-1])] == turn[place]
    assert not ids("never", "closed")[CHAT.closing_in(ids("never", "closed"))]


def test_the_end_token_is_cut_off_once() -> None:
    assert CHAT.turn(ids("a", "<|EOT|>")) == "<think>\na"
    assert CHAT.turn(ids("a")) == "<think>\na"
    assert CHAT.turn(ids("a", "<|EOT|>", "<|EOT|>")) == "<think>\na<|EOT|>"
    assert CHAT.turn([]) == "<think>\n"


@pytest.fixture
def tokenizer() -> Any:
    return byte_tokenizer()


def test_a_template_without_think_gets_it_and_one_with_it_keeps_one(tokenizer: Any) -> None:
    tokenizer.chat_template = tokenizer.chat_template.replace("<think>\n", "")
    assert Chat(tokenizer, think=True).prompt(user("a")) == CHAT.prompt(user("a"))
    assert Chat(tokenizer).prompt(user("a")) == PLAIN.prompt(user("a")), "by default as the template does"
    assert Chat(tokenizer, think=False).prompt(user("a")) == PLAIN.prompt(user("a"))


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("{{ messages[-1]['content'] }}", "drops or reorders the turns system, user"),
        ("{% for m in messages | reverse %}{{ m['content'] }}{% endfor %}", "drops or reorders the turns system, user"),
        ("{{ raise_exception('no system role') }}", "refuses the turns system, user: no system role"),
    ],
)
def test_a_template_that_cannot_hold_the_turns_is_one_line(tokenizer: Any, template: str, line: str) -> None:
    tokenizer.chat_template = template
    with pytest.raises(ValueError, match=rf"^the chat template {line}"):
        Chat(tokenizer).prompt([Message("system", "s"), *user("a")])


def test_a_tag_of_several_tokens_that_merges_with_its_neighbour(tokenizer: Any) -> None:
    """Qwen2.5 has no `</think>` token and joins its last letter with the newline after it."""
    import json

    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    layout = json.loads(tokenizer.backend_tokenizer.to_str())
    layout["added_tokens"] = [t for t in layout["added_tokens"] if t["content"] != "</think>"]
    layout["model"]["vocab"] = {t: i for t, i in layout["model"]["vocab"].items() if t != "</think>"} | {">Ċ": 900}
    layout["model"]["merges"] = [[">", "Ċ"]]
    backend = Tokenizer.from_str(json.dumps(layout))
    merged = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|EOT|>")
    merged.chat_template = tokenizer.chat_template
    chat = Chat(merged)
    turn = chat.demonstration(Demonstration("a>b", "c"))
    assert turn == [*b"a>b\n</think", 900, *b"c", VOCABULARY["<|EOT|>"]]
    assert chat.chain_length(turn) == 4
    assert turn[chat.closing_in(turn)] == [*b"\n</think", 900]


HEARS = Chat(TOKENIZER, think=False, count_audio_tokens=lambda clip: int(str(clip.path)))
TWO, THREE = Clip("2"), Clip("3")


def test_a_clip_is_heard_where_the_message_says() -> None:
    """One audio token each in what the engine is sent, as many as are heard in what the trainer learns on."""
    messages = [Message("system", "<audio_patch>"), *user("or <audio_patch>? <audio_end>")]
    opening, closing = ("<|BOT|>", "system\n", "<audio_start>"), ("<|EOT|>", "<|BOT|>", "assistant\n")

    def expected(first: int, second: int) -> list[int]:
        return ids(
            *(*opening, *["<audio_patch>"] * first, "<audio_end>", "<|EOT|>", "<|BOT|>", "user\n", "or "),
            *("<audio_start>", *["<audio_patch>"] * second, "<audio_end>", b"? <audio_end>", *closing),
        )

    assert HEARS.prompt(messages, [TWO, THREE]) == expected(1, 1)
    assert HEARS.prompt(messages, [TWO, THREE], expand=True) == expected(2, 3)


def test_the_mark_is_text_in_a_prompt_without_clips() -> None:
    expected = ids("<|BOT|>", "user\n", b"a <audio_patch>", "<|EOT|>", "<|BOT|>", "assistant\n")
    assert HEARS.prompt(user("a <audio_patch>")) == PLAIN.prompt(user("a <audio_patch>")) == expected


@pytest.mark.parametrize(
    ("chat", "text", "clips", "line"),
    [
        (HEARS, "a", [TWO], "1 clips for 0 <audio_patch> in the messages; put one where each is heard"),
        (HEARS, "<audio_patch>" * 3, [TWO], "1 clips for 3 <audio_patch> in the messages"),
        (CHAT, "<audio_patch>", [TWO], "it has audio, and the model reads text only; use a model that listens"),
    ],
)
def test_clips_that_have_no_place_are_one_line(chat: Chat, text: str, clips: list[Clip], line: str) -> None:
    with pytest.raises(ValueError, match=f"^{line}"):
        chat.prompt(user(text), clips)


def test_qwen2_audio_has_names_of_its_own() -> None:
    tokenizer = byte_tokenizer()
    names = ["<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>"]
    assert Chat(tokenizer).clip_ids == [VOCABULARY[n] for n in ("<audio_start>", "<audio_patch>", "<audio_end>")]

    class Qwen:
        def get_vocab(self) -> dict[str, int]:
            return {name: i for i, name in enumerate(names)}

    assert Chat(Qwen()).clip_ids == [0, 1, 2]
