from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rl.stages.curate import Config, fingerprint_of
from rl.types import Message, Prompt

PROMPT = Prompt("1", (Message("system", "Be brief."), Message("user", "2+2?")), "4", fields={"options": ["4", "5"]})
ASKED = {"think": True, "reward": {"parts": ["math"]}, "seed": 0}


def test_difficulties_are_reused_only_where_all_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "tokenizer.json").write_text("{}")
    first = fingerprint_of(Config("d"), tmp_path, [PROMPT], ASKED)
    assert fingerprint_of(Config("d", keep=(1, 2), limit=9), tmp_path, [PROMPT], dict(ASKED)) == first
    others = [
        fingerprint_of(Config("d", temperature=0.5), tmp_path, [PROMPT], ASKED),
        fingerprint_of(Config("d"), tmp_path, [PROMPT], {**ASKED, "reward": {"parts": ["text"]}}),
        fingerprint_of(Config("d"), tmp_path, [PROMPT], {**ASKED, "think": False}),
        fingerprint_of(Config("d"), tmp_path, [replace(PROMPT, answer="5")], ASKED),
        fingerprint_of(Config("d"), tmp_path, [replace(PROMPT, messages=PROMPT.messages[1:])], ASKED),
        fingerprint_of(Config("d"), tmp_path, [replace(PROMPT, fields={"options": ["4"]})], ASKED),
    ]
    for name, content in (("tokenizer.json", b"[]"), ("model.safetensors", b"others")):
        (tmp_path / name).write_bytes(content)
        others.append(fingerprint_of(Config("d"), tmp_path, [PROMPT], ASKED))
    assert len({first, *others}) == len(others) + 1
