"""What an environment replies has the ids that the model's own template gives it, and nothing written changes."""

from __future__ import annotations

from functools import cache

import pytest
from chat_templates import MODELS, tokenizer_of

from models.tokenizer import byte_tokenizer
from rl.data.chat import Chat
from rl.data.chat_reply import join_tools
from rl.types import AUDIO_PATCH, Clip, Message

CASES = [(name, think) for name in MODELS for think in (True, False)]
QUESTION = Message("user", "What is 2 + 2?")
REPLIES = ("Are you sure?", "  spaces \n", "你好 🙂", "", "<|im_end|> typed </s> and <end_of_turn>", "\n\nlines\n")


@cache
def chat_of(name: str, think: bool) -> Chat:
    return Chat(tokenizer_of(MODELS[name]), think)


def written(chat: Chat, text: str) -> list[int]:
    """The tokens of a turn as the policy writes it."""
    return [*chat._continue(f"{chat.turn_format.start}x", text), chat.end]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("reply", REPLIES)
def test_a_reply_goes_on_as_the_template_renders_the_whole(name: str, reply: str) -> None:
    """Where a template changes nothing in what came before, the continued ids are those of the whole conversation."""
    chat = chat_of(name, think=False)
    turns = [QUESTION, Message("assistant", "Four."), Message("user", reply)]
    ids = chat.reply([turns[-1]], chat.end)
    whole = chat.prompt(turns)
    assert whole[-len(ids) :] == ids
    assert (chat.prompt([QUESTION]) + written(chat, "Four.") + ids == whole) == (name not in CHANGING)


CHANGING = {
    **dict.fromkeys(
        ("llama 2", "llama 2 in pieces", "mistral", "mistral in pieces", "vicuna"), "a space before the answer"
    ),
    "glm 4.5": "a line break before the answer",
    "empty chain": "no chain before earlier answers",
    "qwen 3": "no chain before earlier answers",
}
"""Templates that render an earlier turn otherwise than the policy writes it."""


@pytest.mark.parametrize(("name", "think"), CASES)
def test_the_policy_goes_on_as_after_a_prompt(name: str, think: bool) -> None:
    chat = chat_of(name, think)
    ids, prompt = chat.reply([Message("user", "Go on.")], chat.end), chat.prompt([QUESTION])
    opened = chat.controls.encode(f"{chat.turn_format.start}")
    assert prompt == chat.prompt([QUESTION])
    tail = min(len(ids), 4)
    assert ids[-tail:] == opened[-tail:] or ids[-1] == opened[-1]
    text = chat._decode(ids)
    assert text.count("Go on.") == 1
    assert "2 + 2" not in text
    if think:
        assert text.rstrip().endswith("<think>")


@pytest.mark.parametrize("name", MODELS)
def test_a_turn_that_paused_is_ended_first(name: str) -> None:
    chat = chat_of(name, think=False)
    paused = chat.reply([Message("user", "Go on.")], last_id=chat.controls.encode("a")[-1])
    ended = chat.reply([Message("user", "Go on.")], last_id=chat.end)
    assert paused[-len(ended) :] == ended
    assert chat.end in paused[: len(paused) - len(ended)] or paused == ended  # the template's turns have no end


@pytest.mark.parametrize("name", MODELS)
def test_a_tools_answer_stands_in_a_role_that_the_template_has(name: str) -> None:
    chat = chat_of(name, think=False)
    text = chat._decode(chat.reply([Message("tool", "the answer is 14")], chat.end))
    assert text.count("the answer is 14") == 1
    assert chat.tool_role == ("tool" if name in WITH_TOOLS else "user")


@pytest.mark.parametrize("name", MODELS)
def test_the_answers_of_several_tools_are_given_in_any_template(name: str) -> None:
    chat = chat_of(name, think=False)
    several = [Message("tool", "it is 14"), Message("tool", "error: no 15"), Message("tool", "it is 16")]
    ids = chat.reply(several, chat.end)
    text = chat._decode(ids)
    places = [text.find(message.content) for message in several]
    assert -1 < places[0] < places[1] < places[2]
    if name not in WITH_TOOLS:
        assert ids == chat.reply([Message("user", "it is 14\nerror: no 15\nit is 16")], chat.end)
    mixed = [*several[:2], Message("assistant", "So?"), several[2]]
    assert [m.content for m in join_tools(mixed)] == ["it is 14\nerror: no 15", "So?", "it is 16"]


ALTERNATING = """\
{%- for m in messages %}
    {%- if m['role'] != ('user', 'assistant')[loop.index0 % 2] and (m['role'] != 'tool' or loop.index0 % 2) %}
        {{- raise_exception('roles must alternate') }}
    {%- endif %}
    {{- '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""


def test_a_template_whose_tools_alternate_with_the_assistant() -> None:
    tokenizer = tokenizer_of(MODELS["chatml"])
    tokenizer.chat_template = ALTERNATING
    chat = Chat(tokenizer, think=False)
    text = chat._decode(chat.reply([Message("tool", "14"), Message("tool", "15")], chat.end))
    assert text == "\n<|im_start|>tool\n14\n15<|im_end|>\n<|im_start|>assistant\n"


def test_sounds_of_several_tools_keep_their_places() -> None:
    listens = Chat(byte_tokenizer(), think=False, count_audio_tokens=lambda clip: len(clip.data or b""))
    several = [Message("tool", AUDIO_PATCH), Message("tool", "none"), Message("tool", f"here: {AUDIO_PATCH}")]
    ids = listens.reply(several, listens.end, (Clip(data=b"1"), Clip(data=b"333")), expand=True)
    heard = [i for i, token in enumerate(ids) if token == listens.audio_token]
    assert len(heard) == 4
    assert heard[1] - heard[0] > heard[3] - heard[1] == 2


WITH_TOOLS = {
    *("chatml", "chatml with tags", "llama 3", "gemma 3", "smollm 2", "granite", "empty chain", "strips chains"),
}
"""Templates that write a role as it is called; the others drop a tool's answer, refuse it or take it for the assistant's."""


@pytest.mark.parametrize("name", MODELS)
def test_what_is_put_into_the_open_turn_is_text_alone(name: str) -> None:
    chat = chat_of(name, think=False)
    ids = chat.reply([Message("assistant", "<result>14</result> <|im_end|></s>")], chat.controls.encode("a")[-1])
    assert chat._decode(ids).strip() == "<result>14</result> <|im_end|></s>"
    assert not {*ids} & {*chat.ends}
    with pytest.raises(ValueError, match="has ended its turn"):
        chat.reply([Message("assistant", "more")], chat.end)


def test_no_message_adds_nothing() -> None:
    chat = chat_of("chatml", think=False)
    assert chat.reply([], chat.controls.encode("a")[-1]) == []


WITH_SCHEMAS = MODELS["chatml"].template.replace(
    "{% for m", "{% if tools %}{{ '<|im_start|>tools\\n' + tools | tojson + '<|im_end|>\\n' }}{% endif %}{% for m", 1
)
SCHEMA = {"type": "function", "function": {"name": "calculator", "parameters": {"type": "object", "properties": {}}}}


def test_tools_are_shown_by_a_template_that_knows_them() -> None:
    tokenizer = tokenizer_of(MODELS["chatml"])
    tokenizer.chat_template = WITH_SCHEMAS
    chat = Chat(tokenizer, think=False)
    shown = chat._decode(chat.prompt([QUESTION], tools=[SCHEMA]))
    assert shown.startswith("<|im_start|>tools\n[{")
    assert '"name": "calculator"' in shown
    assert shown.endswith(chat._decode(chat.prompt([QUESTION])))
    with pytest.raises(ValueError, match="shows no tools; let them be called by tags"):
        chat_of("chatml", think=False).prompt([QUESTION], tools=[SCHEMA])


STRIPPING = ("qwen 3", "deepseek r1", "deepseek v3.1", "glm 4.5", "strips chains")


@pytest.mark.parametrize("name", MODELS)
def test_which_templates_strip_a_chain_before_what_a_user_says(name: str) -> None:
    assert chat_of(name, think=True).drops_chain("user") == (name in STRIPPING)
    assert not chat_of(name, think=False).drops_chain("user"), "without chains there is none to strip"


@pytest.mark.parametrize(
    "function",
    [
        {"name": "f", "description": "ends <|im_end|>"},
        {"name": "<|im_start|>"},
        {"name": "f", "parameters": {"properties": {"<|im_end|>": {}}}},
        {"name": "f", "parameters": {"enum": ["a", "<|im_end|>\n"]}},
    ],
)
def test_tools_with_control_tokens_are_refused(function: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^tools: a text holds the control token '<\|im_"):
        chat_of("chatml", think=False).prompt([QUESTION], tools=[{"type": "function", "function": function}])
