"""Prompts and demonstrations are what the model's own chat template renders, before its export and after it."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from chat_templates import MODELS, Model, tokenizer_of
from hypothesis import given
from hypothesis import strategies as st

from rl.data.chat import Chat
from rl.data.chat_export import exported_template
from rl.data.chat_template import SWITCHES, template_thinks
from rl.types import Demonstration, Message

Turns = tuple[tuple[str, str], ...]
CONVERSATIONS: dict[str, Turns] = {
    "a question": (("user", "What is 2 + 2?"),),
    "several turns": (("user", "Q1"), ("assistant", "an answer"), ("user", "Q2")),
    "a chain in history": (("user", "Q"), ("assistant", "<think>\nr a\n</think>\n\nan a"), ("user", "no.\n")),
    "an unopened chain": (("user", "Q"), ("assistant", "r a\n</think>\nan a"), ("user", "no")),
    "a system turn": (("system", "Be brief."), ("user", "Hi")),
    "a system turn and history": (("system", "Be <brief>."), ("user", "a"), ("assistant", "b"), ("user", "c")),
    "space at the ends": (("user", "  Q?\n\n"),),
    "space everywhere": (("system", " S \n"), ("user", "\n\nQ? "), ("assistant", " A \n"), ("user", "\ta\n")),
    "code": (("user", "if a < b:\n    return <b>x</b> \t| user"),),
    "other letters": (("user", "你好，世界 — naïve 🙂 ｜｜ <｜ ［INST］"),),
    "nothing": (("user", ""),),
    "a beginning of a control token": (("user", "is a <"), ("assistant", "yes <|im_en"), ("user", "[/INS")),
}
CASES = [(name, think) for name in MODELS for think in (True, False)]


@cache
def chat_of(name: str, think: bool | None) -> Chat:
    return Chat(tokenizer_of(MODELS[name]), think)


@cache
def exported(name: str, think: bool) -> Any:
    tokenizer = tokenizer_of(MODELS[name])
    tokenizer.chat_template = exported_template(chat_of(name, think))
    return tokenizer


def messages_of(turns: Turns) -> list[Message]:
    return [Message(role, content) for role, content in turns]


def render(tokenizer: Any, turns: Turns, think: bool | None, open_turn: bool = True) -> str:
    switches = {} if think is None else dict.fromkeys(SWITCHES, think)
    rows = [{"role": role, "content": content} for role, content in turns]
    return tokenizer.apply_chat_template(rows, add_generation_prompt=open_turn, tokenize=False, **switches)


def held(model: Model, turns: Turns) -> bool:
    return model.system or turns[0][0] != "system"


def encode(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)


@pytest.mark.parametrize(("name", "think"), CASES)
def test_a_prompt_is_what_the_template_renders(name: str, think: bool) -> None:
    """But for `<think>` where a chain is wished and not opened, or opened and not wished."""
    chat, model = chat_of(name, think), MODELS[name]
    for turns in CONVERSATIONS.values():
        if not held(model, turns):
            continue
        text, opened = render(chat.tokenizer, turns, think), render(chat.tokenizer, turns, think).rstrip()
        if think and opened.endswith("</think>"):
            text = text[: text.rindex("<think>")] + "<think>\n"  # asked for all the same
        elif think and not opened.endswith("<think>"):
            text += OPENINGS.get(name, "<think>\n")
        elif not think and opened.endswith("<think>"):
            text = opened.removesuffix("<think>")
        assert chat.prompt(messages_of(turns)) == encode(chat.tokenizer, text)


OPENINGS = {"glm 4.5": "\n<think>"} | dict.fromkeys(
    ("llama 2", "llama 2 in pieces", "mistral", "mistral in pieces", "vicuna"), " <think>\n"
)
"""How the templates open a chain that do it otherwise than with `<think>` and a line break."""


@pytest.mark.parametrize("name", MODELS)
def test_by_default_a_prompt_thinks_as_the_template_does(name: str) -> None:
    chat = chat_of(name, None)
    assert template_thinks(chat.tokenizer) == chat.think == MODELS[name].thinks
    if name not in ("qwen 3", "smollm 3", "glm 4.5"):  # which leave `<think>` to the model
        for turns in CONVERSATIONS.values():
            if held(MODELS[name], turns):
                assert chat.prompt(messages_of(turns)) == encode(chat.tokenizer, render(chat.tokenizer, turns, None))


@pytest.mark.parametrize(("name", "think"), CASES)
def test_an_exported_template_renders_the_prompts_of_training(name: str, think: bool) -> None:
    chat, tokenizer = chat_of(name, think), exported(name, think)
    again = Chat(tokenizer, think)
    assert exported_template(again) == tokenizer.chat_template, "nothing is added twice"
    for turns in CONVERSATIONS.values():
        if held(MODELS[name], turns):
            prompt = chat.prompt(messages_of(turns))
            assert encode(tokenizer, render(tokenizer, turns, None)) == prompt == again.prompt(messages_of(turns))
    for chain, answer in (("R.", "A."), ("", "A.")):
        assert again.demonstration(Demonstration(chain, answer)) == chat.demonstration(Demonstration(chain, answer))


@pytest.mark.parametrize(("name", "think"), CASES)
def test_a_model_may_be_trained_to_think_and_again_not_to(name: str, think: bool) -> None:
    """The switch stays: each export renders its own prompts, whatever was exported before."""
    other = Chat(exported(name, think), not think)
    third = tokenizer_of(MODELS[name])
    third.chat_template = exported_template(other)
    turns = CONVERSATIONS["several turns"]
    assert other.prompt(messages_of(turns)) == chat_of(name, not think).prompt(messages_of(turns))
    assert encode(third, render(third, turns, None)) == other.prompt(messages_of(turns))
    assert Chat(third, think).prompt(messages_of(turns)) == chat_of(name, think).prompt(messages_of(turns))


ENDS = {name: model.control[0] for name, model in MODELS.items()} | {"glm 4.5": "<|endoftext|>"}


@pytest.mark.parametrize(("name", "think"), CASES)
def test_a_demonstration_is_what_the_template_renders(name: str, think: bool) -> None:
    """Prompt and turn are the whole conversation's rendering, end of turn included, where that keeps the chain."""
    chat, model, compared = chat_of(name, think), MODELS[name], 0
    for turns in CONVERSATIONS.values():
        for answer in ("The a.", "A?\n\nB < c"):
            content = f"<think>\nR. a\nb\n</think>\n{answer}" if think else answer
            if not held(model, turns):
                continue
            target = chat.demonstration(Demonstration("R. a\nb", answer))
            assert chat.tokenizer.convert_ids_to_tokens(target[-1]) == ENDS[name]
            assert chat.turn(target).rstrip().endswith(answer)
            whole = render(chat.tokenizer, (*turns, ("assistant", content)), think, open_turn=False)
            if whole.startswith(chat.prompt_text(messages_of(turns))):
                row = [*chat.prompt(messages_of(turns)), *target]
                ending = "" if ENDS[name] in whole else ENDS[name]
                assert encode(chat.tokenizer, whole + ending)[: len(row)] == row
                compared += 1
    strips = {"deepseek r1", "deepseek v3.1", "strips chains"} if think else {"empty chain"}
    assert compared or name in strips


@pytest.mark.parametrize("name", MODELS)
def test_an_absent_chain_is_read_back(name: str) -> None:
    chat = chat_of(name, True)
    turn = chat.turn(chat.demonstration(Demonstration("", "yes")))
    assert turn.startswith("<think>")
    assert turn.replace("\n", "").strip() == "<think></think>yes"


@pytest.mark.parametrize("name", MODELS)
def test_what_is_typed_is_never_a_control_token(name: str) -> None:
    """All else stays as the template has it: the same control tokens, in their places, around the same letters."""
    model, chat = MODELS[name], chat_of(name, False)
    tokenizer = chat.tokenizer
    names = {i: token.content for i, token in tokenizer.backend_tokenizer.get_added_tokens_decoder().items()}

    def controls(ids: list[int]) -> list[str]:
        return [names[i] for i in ids if i in names]

    calm = chat.prompt([Message("user", "x")])
    for typed in (*model.control, model.control[0] * 2, f"a{model.control[0]}b <", f"{model.control[-1][:-1]}", "<|"):
        ids = chat.prompt([Message("user", f"Q {typed} e")])
        assert controls(ids) == controls(calm), typed
        assert f"Q {typed} e" in tokenizer.decode(ids, skip_special_tokens=False), typed
        history = [Message("user", typed), Message("assistant", f"a {typed}"), Message("user", "x")]
        plain = [Message("user", "x"), Message("assistant", "a x"), Message("user", "x")]
        if "think>" not in typed:  # with which the assistant's own chain would end
            assert controls(chat.prompt(history)) == controls(chat.prompt(plain)), typed
        target = chat.demonstration(Demonstration("", typed))
        assert controls(target) == [ENDS[name]], typed


PIECES = st.lists(st.sampled_from(["<|im_end|>", "<|im_", "end|>", "<", "a", "</think>", "<think>", "\n", " ", "é"]))


@given(PIECES.map("".join))
def test_letters_around_control_tokens_are_encoded_as_always(text: str) -> None:
    """Where the tokenizer's own ids hold no control token for it, they are ours, merges across all borders included."""
    chat = chat_of("chatml with tags", False)
    ids = chat.prompt([Message("user", text)])
    assert chat.tokenizer.decode(ids) == render(chat.tokenizer, (("user", text),), False)
    if not any(token in text for token in MODELS["chatml with tags"].control):
        assert ids == encode(chat.tokenizer, render(chat.tokenizer, (("user", text),), False))


def test_letters_that_a_normalizer_makes_alike_stay_letters() -> None:
    from tokenizers import AddedToken, normalizers

    tokenizer = tokenizer_of(MODELS["chatml"])
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.add_tokens([AddedToken("<SEP>", special=True, normalized=True)])
    sep = tokenizer.convert_tokens_to_ids("<SEP>")
    for typed in ("<sep>", "＜ｓｅｐ＞", "<Sep>"):
        assert sep in encode(tokenizer, typed)
        ids = Chat(tokenizer).prompt([Message("user", typed)])
        assert sep not in ids
        assert "<sep>" in tokenizer.decode(ids)


def test_words_and_space_that_were_added_are_text() -> None:
    tokenizer = tokenizer_of(MODELS["chatml"])
    tokenizer.add_tokens(["kubernetes", "    "])
    text = "on kubernetes:\n    run"
    ids = Chat(tokenizer).prompt([Message("user", text)])
    assert ids == encode(tokenizer, render(tokenizer, (("user", text),), None))
    assert {tokenizer.convert_tokens_to_ids(word) for word in ("kubernetes", "    ")} <= set(ids)


def test_declared_ends_are_ends() -> None:
    """GLM's turns end with the token of whoever speaks next, which its files declare."""
    tokenizer = tokenizer_of(MODELS["glm 4.5"])
    user, eos = tokenizer.convert_tokens_to_ids("<|user|>"), tokenizer.eos_token_id
    chat = Chat(tokenizer, False, end_ids=[eos, user])
    assert chat.end == user
    assert chat.ends == [user, eos]
    assert chat.demonstration(Demonstration("", "yes"))[-1] == user
    for end in (user, eos):
        assert chat.turn([*encode(tokenizer, "yes"), end]) == "yes"


@pytest.mark.parametrize(
    ("name", "end", "eos"),
    [
        ("gemma 3", "<end_of_turn>", "<eos>"),
        ("phi 3", "<|end|>", "<|endoftext|>"),
        ("llama 3", "<|eot_id|>", "<|end_of_text|>"),
        ("chatml", "<|im_end|>", "<|endoftext|>"),
    ],
)
def test_a_turn_ends_as_the_template_ends_it(name: str, end: str, eos: str) -> None:
    chat = chat_of(name, False)
    ids = chat.tokenizer.convert_tokens_to_ids([end, eos])
    assert chat.end == ids[0]
    assert chat.ends == ids
    assert chat.turn([*encode(chat.tokenizer, "yes"), ids[0]]) == chat.turn([*encode(chat.tokenizer, "yes"), ids[1]])


@pytest.mark.parametrize(
    ("template", "turns", "line"),
    [
        (
            MODELS["gemma 2"].template,
            (("system", "s"), ("user", "a")),
            "refuses the turns system, user: System role not supported; say in the user's turn what the system turn says",
        ),
        (
            "{{ messages[0]['content'][0]['text'] }}",
            (("user", "a"),),
            "drops or reorders the turns user; use other roles",
        ),
        ("{{ messages[0]['content'] + 1 }}", (("user", "a"),), "refuses the turns user: .*; use other roles"),
        ("{% if %}", (("user", "a"),), "refuses the turns user: .*; use other roles"),
        ("{{ 'a fixed text' }}", (("user", "a"),), "drops or reorders the turns user; use other roles"),
    ],
)
def test_a_template_that_cannot_be_used_is_one_line(template: str, turns: Turns, line: str) -> None:
    tokenizer = tokenizer_of(MODELS["gemma 2"])
    tokenizer.chat_template = template
    with pytest.raises(ValueError, match=f"^the chat template {line}$"):
        Chat(tokenizer).prompt(messages_of(turns))


def test_a_role_that_holds_a_control_token_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^the role 'user<\|im_end\|>' holds a control token; write user, assistant"):
        chat_of("chatml", False).prompt([Message("user<|im_end|>", "a")])
