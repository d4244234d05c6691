"""`rl push`: the folder and the card of a run's model, without a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from plans import whole
from safetensors.torch import load_file, save_file

from models.lora import ADAPTER_CONFIG, ADAPTER_FILE
from rl.commands.push import push
from rl.config import ConfigError
from rl.run.provenance import write_provenance
from rl.run.summary import StageSummary, Summary, write_summary

PRETRAINED = "smollm2-135m-instruct-q4"
SECRET = "sk-abcdefghijklmnopqrstuvwxyz123456"
CONFIG = {
    "model_type": "qwen2",
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 300,
    "max_position_embeddings": 2048,
}
RECIPE = """\
name: sums
model: {{path: {model}}}
data:
  sums: {{source: jsonl, path: {data}/sums.jsonl}}
  hub: {{source: huggingface, path: openai/gsm8k, fields: {{question: question}}}}
reward:
  parts:
    - {{verifier: text, args: {{api_key: {secret}}}}}
stages:
  - rlvr: {{data: sums, algorithm: grpo}}
  - evaluate: {{data: sums}}
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run from the pretrained model, on data in the user's home with a licence beside it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    run, data = tmp_path / "runs" / "sums", tmp_path / "home" / "someone" / "data"
    data.mkdir(parents=True)
    (data / "sums.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n')
    (data / "LICENSE").write_text("\n  MIT License\n\nCopyright\n")
    whole(run / "model", CONFIG)
    (run / "model" / "provenance.json").write_text('{"path": "/somewhere"}')
    (run / "recipe.yaml").write_text(RECIPE.format(model=PRETRAINED, data=data, secret=SECRET))
    metrics = {"accuracy": 0.5, "accuracy/low": 0.4, "accuracy/high": 0.6}
    stages = [StageSummary("rlvr", "rlvr", 9.0), StageSummary("evaluate", "evaluate", 1.0, metrics)]
    write_summary(run, Summary("sums", "done", 10.0, stages, {"packages": {"torch": "2.13"}, "commit": "abc"}))
    return run


def front_matter(card: str) -> dict[str, object]:
    return yaml.safe_load(card.split("---\n")[1])


def test_a_dry_run_writes_card_recipe_and_weights(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    push(run, "me/sums", dry_run=True)
    folder = run / "hub"
    files = {path.name for path in folder.iterdir()}
    assert files == {"README.md", "recipe.yaml", "config.json", "model.safetensors", "tokenizer.json"}
    card = (folder / "README.md").read_text()
    assert front_matter(card) == {
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": ["HuggingFaceTB/SmolLM2-135M-Instruct"],
        "datasets": ["openai/gsm8k"],
        "tags": ["groundtone", "rlvr", "grpo"],
    }
    assert "| evaluate | 0.500 [0.400, 0.600] | – |  |" in card
    assert "| data | data/sums.jsonl | MIT License (LICENSE beside the data) |" in card
    assert 'AutoModelForCausalLM.from_pretrained("me/sums")' in card
    assert "algorithm: grpo" in card
    output = capsys.readouterr().out
    assert "licence    apache-2.0, the base model's" in output
    assert "nothing was uploaded" in output
    push(run, "me/sums", dry_run=True, licence="mit")  # over the folder of the dry run before
    assert front_matter((folder / "README.md").read_text())["license"] == "mit"


def test_no_secret_and_no_home_is_published(run: Path, tmp_path: Path) -> None:
    push(run, "me/sums", dry_run=True)
    for name in ("README.md", "recipe.yaml"):
        text = (run / "hub" / name).read_text()
        assert SECRET not in text
        assert str(tmp_path / "home") not in text


@pytest.mark.parametrize(
    "repository", ["sums", "me/", "/sums", "me/su ms", "../x/y", "me/..", "a/b/c", "me/-x", "me/x--y", ""]
)
def test_a_name_that_is_no_repository(run: Path, repository: str) -> None:
    with pytest.raises(ConfigError, match="is no repository; name it OWNER/NAME"):
        push(run, repository, dry_run=True)
    assert not (run / "hub").exists()


def test_what_cannot_be_published(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no run"):
        push(tmp_path, "me/sums", dry_run=True)
    (run / "hub").mkdir()
    (run / "hub" / "mine.txt").write_text("precious")
    with pytest.raises(ConfigError, match="exists already; remove it, or name another with --out"):
        push(run, "me/sums", dry_run=True)
    with pytest.raises(ConfigError, match="only --dry-run"):
        push(run, "me/sums", out=tmp_path / "out")
    (run / "model" / "config.json").unlink()
    with pytest.raises(ConfigError, match="has no model to publish"):
        push(run, "me/sums", dry_run=True, out=tmp_path / "out")


def finish_stage(run: Path, name: str, parent: str, is_stage: bool = False, lora: bool = True) -> None:
    """Leave the folder of a stage that made a model from `parent`."""
    index = len(list((run / "stages").glob("*"))) + 1
    stage = whole(run / "stages" / f"{index:02d}-{name}" / "model", CONFIG).parent
    parents = [{"kind": "data", "name": "sums", "stage": False}]
    parents.append({"kind": "model", "name": parent, "stage": is_stage})
    write_provenance(stage / "model", {"kind": "model", "stage": name, "parents": parents})
    if lora:
        (stage / "adapter").mkdir()
        (stage / "adapter" / ADAPTER_CONFIG).write_text('{"r": 4, "lora_alpha": 8, "base_model_name_or_path": "here"}')
        save_file({"q.lora_A.weight": torch.full((4, 2), float(index))}, stage / "adapter" / ADAPTER_FILE)
    names = [folder.name.partition("-")[2] for folder in sorted((run / "stages").iterdir())]
    write_summary(run, Summary("sums", "done", 10.0, [StageSummary(name, "sft", 9.0) for name in names]))


def test_an_adapter_without_a_record_is_one_line(run: Path) -> None:
    finish_stage(run, "sft", PRETRAINED)
    finish_stage(run, "rlvr", "sft", is_stage=True)
    record = run / "stages" / "02-rlvr" / "model.provenance.json"
    complete = record.read_text()
    for parents, line in (
        (
            [{"kind": "data", "name": "sums", "stage": False}],
            "the record of stage 'rlvr' names no model that it trained",
        ),
        ([{"kind": "model", "name": "rlvr", "stage": True}], f"{run} has no record of how stage 'rlvr' made its model"),
    ):
        record.write_text(json.dumps({**json.loads(complete), "parents": parents}))
        with pytest.raises(ConfigError, match=f"^--adapter: {line}; leave --adapter out$"):
            push(run, "me/sums", dry_run=True, adapter=True)
    record.write_text(complete)
    (run / "stages" / "01-sft" / "model.provenance.json").unlink()
    line = f"--adapter: {run} has no record of how stage 'sft' made its model; leave --adapter out"
    with pytest.raises(ConfigError, match=f"^{line}$"):
        push(run, "me/sums", dry_run=True, adapter=True)


def test_an_adapter_is_published_in_place_of_all_weights(run: Path) -> None:
    finish_stage(run, "sft", PRETRAINED)
    finish_stage(run, "other", "sft", is_stage=True)  # an arm that the model does not come from
    finish_stage(run, "rlvr", "sft", is_stage=True)
    push(run, "me/sums", dry_run=True, adapter=True)
    folder = run / "hub"
    names = {path.name for path in folder.iterdir()}
    assert names == {"README.md", "recipe.yaml", "tokenizer.json", ADAPTER_CONFIG, ADAPTER_FILE}
    assert load_file(folder / ADAPTER_FILE)["q.lora_A.weight"][:, 0].tolist() == [1] * 4 + [3] * 4
    card = (folder / "README.md").read_text()
    facts = front_matter(card)
    assert (facts["library_name"], facts["base_model_relation"]) == ("peft", "adapter")
    assert facts["base_model"] == ["HuggingFaceTB/SmolLM2-135M-Instruct"]
    assert 'base = AutoModelForCausalLM.from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")' in card
    assert 'model = PeftModel.from_pretrained(base, "me/sums")' in card
    assert "the code below loads the original, whose weights differ by their rounding" in card
    assert "--tokenizer me/sums" in card
    assert "--enable-lora --max-lora-rank 8 --lora-modules sums=me/sums" in card


def test_card_and_adapter_name_the_model_that_the_stages_started_from(run: Path) -> None:
    """Not the recipe's, where the first stage names another."""
    finish_stage(run, "rlvr", "them/base")
    push(run, "me/sums", dry_run=True, adapter=True)
    card = (run / "hub" / "README.md").read_text()
    assert front_matter(card)["base_model"] == ["them/base"]
    assert "license" not in front_matter(card), "that of the recipe's model is another one"
    assert 'from_pretrained("them/base")' in card
    assert "loads the original" not in card


def test_what_has_no_adapter_to_publish(run: Path, tmp_path: Path) -> None:
    def refused() -> str:
        with pytest.raises(ConfigError) as caught:
            push(run, "me/sums", dry_run=True, adapter=True)
        assert not (run / "hub").exists()
        return str(caught.value)

    assert refused() == f"--adapter: no stage of {run} made a model; leave --adapter out"
    finish_stage(run, "sft", PRETRAINED, lora=False)
    finish_stage(run, "rlvr", "sft", is_stage=True)
    assert refused() == "--adapter: stage 'sft' trained other weights than an adapter's; leave --adapter out"
    # The last is a folder that is called as the stage is.
    for start in ("built from scratch", str(tmp_path / "runs" / "first" / "model"), "rlvr"):
        shutil.rmtree(run / "stages")
        finish_stage(run, "rlvr", start)
        assert refused().startswith("--adapter: nobody else has the model that it belongs to (")
    write_summary(run, Summary("sums", "stopped", 10.0, [StageSummary("rlvr", "rlvr", 9.0)]))
    assert refused() == f"--adapter: the status of {run} is 'stopped'; resume it first"


def test_without_a_token_or_a_network_it_is_one_line(run: Path) -> None:
    def rl_push(**more: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "HF_ENDPOINT": "http://127.0.0.1:9", **more}
        command = [sys.executable, "-m", "rl", "push", str(run), "me/sums"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 2
        return done.stderr

    assert rl_push() == "error: no token for the hub; set HF_TOKEN or log in with `hf auth login`, or use --dry-run\n"
    refusal = rl_push(HF_TOKEN="hf_abcdefghijklmnopqrstuvwxyz")
    assert refusal.startswith("error: me/sums: the hub did not take it: ")
    assert "hf_abc" not in refusal
    assert refusal.count("\n") == 1
    assert [path.name for path in run.iterdir() if path.name.startswith(".hub")] == []
