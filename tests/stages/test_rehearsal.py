"""Demonstrations that call an environment stand among the tokens as rollouts will."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.tokenizer import byte_tokenizer
from rl.data.chat import Chat
from rl.stages.rehearsal import Rehearsal
from rl.types import Demonstration, Message, Prompt
from rollouts.environments.config import EnvironmentConfig, as_config
from rollouts.environments.service import EnvironmentService

CHAT = Chat(byte_tokenizer(), think=True)


def sums(*expressions: str) -> list[Prompt]:
    return [
        Prompt(f"{i}", (Message("user", e),), demonstration=Demonstration(f"so <calc>{e}</calc>", str(eval(e))))
        for i, e in enumerate(expressions)
    ]


def collate(prompts: list[Prompt], config: EnvironmentConfig | None, limit: int = 200):
    assert config is not None
    with EnvironmentService(config) as environment:
        return Rehearsal(CHAT, environment, limit).collate(prompts)


def test_what_the_tool_answers_carries_no_loss() -> None:
    prompts = [*sums("2+3", "40+2"), Prompt("plain", (Message("user", "?"),), demonstration=Demonstration("", "yes"))]
    batch = collate(prompts, as_config("calculator", ""))
    rows = [batch.select([i]) for i in range(3)]
    said = [CHAT.controls.tokenizer.decode(row.tokens_T) for row in rows]
    learned = [CHAT.controls.tokenizer.decode(row.tokens_T[row.action_mask_T]) for row in rows]
    assert "<calc>2+3</calc><result>5</result>" in said[0]
    assert "<calc>40+2</calc><result>42</result>" in said[1]
    assert learned[0] == said[0].partition("<think>\n")[2].replace("<result>5</result>", "")
    assert "result" not in said[2]
    plain = Rehearsal(CHAT, None, 200).collate(prompts[2:])
    assert plain.tokens_T.tolist() == rows[2].tokens_T.tolist()
    assert plain.action_mask_T.tolist() == rows[2].action_mask_T.tolist()


def test_an_environment_that_cannot_answer_a_demonstration_stops_the_stage(tmp_path: Path) -> None:
    (tmp_path / "broken_game.py").write_text("def step(prompt, rollout):\n    raise KeyError('x')\n")
    with EnvironmentService(EnvironmentConfig(step="broken_game.py:step", stop=["</calc>"]), tmp_path) as environment:
        rehearsal = Rehearsal(CHAT, environment, 200)
        with pytest.raises(ValueError, match=r"prompt '0': its demonstration: environment: KeyError"):
            rehearsal.collate(sums("2+3"))
    whole = len(collate(sums("2+3"), as_config("calculator", "")).tokens_T)
    for limit in (whole - 1, whole - 10):  # no room for its last words, none for the tool's
        with pytest.raises(ValueError, match=r"its demonstration and what is replied to it leave no room"):
            collate(sums("2+3"), as_config("calculator", ""), limit)
    with pytest.raises(ValueError, match=r"ends the rollout \(turns\) before its demonstration does; raise max_turns"):
        collate(sums("2+3"), EnvironmentConfig(tools=["calculator"], max_turns=1))


def test_demonstrations_tell_of_the_tools_as_rollouts_do() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = f"{{% if tools %}}{{{{ tools | tojson }}}}{{% endif %}}{tokenizer.chat_template}"
    chat, prompt = Chat(tokenizer, think=True), sums("2+3")[0]
    with EnvironmentService(EnvironmentConfig(tools=["calculator"], calls="template")) as environment:
        environment.start()
        batch = Rehearsal(chat, environment, 900).collate([prompt])
        sent = chat.prompt(prompt.messages, tools=environment.tools)
    assert len(sent) > len(chat.prompt(prompt.messages))
    assert batch.tokens_T[: len(sent)].tolist() == sent
    assert not batch.action_mask_T[: len(sent)].any()
