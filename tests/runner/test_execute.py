"""What a run says of what its stages leave."""

from __future__ import annotations

import json
from pathlib import Path

from rl.recipe import load
from rl.redaction import HIDDEN
from rl.run.provenance import Parent, write_provenance
from rl.runner.execute import Run


def test_what_a_stage_at_work_leaves_says_what_made_it_and_no_secret(tmp_path: Path) -> None:
    part = {"verifier": "mine.py:verify", "args": {"api_key": "k", "strict": True}}
    (tmp_path / "mine.py").write_text("def verify(prompt, rollout, api_key, strict): ...\n")
    (tmp_path / "words.yaml").write_text(
        "{name: words, seed: 3, model: {build: {}}, data: {words: {source: reasoning_gym}}, "
        f"stages: [{{rlvr: {{data: words, reward: {{parts: [{part}]}}}}}}], reward: {{parts: [{{verifier: text}}]}}}}"
    )
    recipe = load(tmp_path / "words.yaml")
    run = Run(recipe, tmp_path / "run", say=lambda _: None)
    run.artifacts.parents[Parent("model", "built from scratch")] = None
    record = run._provenance(recipe.stages[0])
    run.artifacts.parents[Parent("data", "words", split="train")] = None
    assert record["parents"] == [Parent("model", "built from scratch")], "what was read by then"
    write_provenance(tmp_path / "model", record)
    written = json.loads((tmp_path / "model.provenance.json").read_text())
    assert written["settings"]["reward"]["parts"][0]["args"] == {"api_key": HIDDEN, "strict": True}
    facts = {key: record[key] for key in ("stage", "made_by", "recipe", "seed")}
    assert facts == {"stage": "rlvr", "made_by": "rlvr", "recipe": "words", "seed": 3}
    assert record["code"].keys() == {"version", "commit"}
