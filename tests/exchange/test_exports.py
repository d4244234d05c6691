"""A recipe's prompts, reward and settings in another trainer's folder; `ROWS` and `REWARD` are the smallest real ones."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest

from models.load import build
from models.settings import BuildConfig
from rl.config import ConfigError
from rl.exchange import trl_export, verl_export
from rl.exchange.exported_reward import ExportedReward, completion_text
from rl.exchange.folder import longest_prompt, write_clips
from rl.exchange.prompt_json import from_json, to_json
from rl.exchange.selection import Selection, select
from rl.exchange.verl_settings import overrides
from rl.recipe import load
from rl.types import Clip, Message, Prompt

REWARD = """
from helper import CLEAN
def verify(prompt, rollout):
    if rollout.response == "crash":
        raise RuntimeError("no luck")
    return float(CLEAN(rollout.response) == prompt.answer) * (0.5 + prompt.fields["level"])
"""
RECIPE = """
model: {path: %s}
data:
  sums: {source: jsonl, path: sums.jsonl, fields: {level: level}}
reward:
  parts:
    - {verifier: "reward_of_mine.py:verify"}
    - {verifier: format, name: format, weight: 0.25}
stages:
  - curate: {data: sums, samples: 2, keep: [1, 1]}
  - rlvr: {data: sums, difficulty: curate, algorithm: grpo, steps: 3, prompts_per_step: 2, samples_per_prompt: 4,
           max_sequence_tokens: 400}
  - evaluate: {data: sums, split: test}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(BuildConfig(hidden_size=64, layers=1, heads=2), tmp_path_factory.mktemp("model"), 0)


@pytest.fixture
def folder(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reward_of_mine.py").write_text(REWARD)
    (tmp_path / "helper.py").write_text("def CLEAN(text):\n    return text.strip()\n")
    rows = [
        {
            "id": f"r{i}",
            "question": f"What is {i} + 1?",
            "answer": i + 1,
            "level": 0.5,
            "split": "train" if i < 6 else "test",
        }
        for i in range(8)
    ]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mine.yaml").write_text(RECIPE % model)
    return tmp_path


def selection(folder: Path, *changes: str, run: Path | None = None) -> tuple[Selection, list[str]]:
    lines: list[str] = []
    return select(load(folder / "mine.yaml", changes), None, run, lines.append), lines


def import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("exported", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def verl_folder(folder: Path) -> Path:
    chosen, _ = selection(folder)
    verl_export.export(chosen, folder / "out", lambda line: None)
    return folder / "out"


@pytest.fixture
def exported(verl_folder: Path) -> Iterator[ModuleType]:
    module = import_file(verl_folder / "reward.py")
    yield module
    module._reward.close()


def test_an_environment_stays_behind(folder: Path) -> None:
    _, lines = selection(folder, "environment=calculator")
    assert [line for line in lines if "environment" in line] == [
        "warning: stages[1].rlvr: its environment is not exported: the other trainer's model writes one turn"
    ]


def test_verl_files(verl_folder: Path) -> None:
    files = {file.name for file in verl_folder.iterdir()}
    assert files == {"train.parquet", "val.parquet", "reward.py", "run.sh", "reward_of_mine.py", "helper.py"}
    rows = pq.read_table(verl_folder / "train.parquet").to_pylist()
    assert len(rows) == 6
    assert rows[0]["prompt"] == [{"role": "user", "content": "What is 0 + 1?"}]
    assert (rows[0]["data_source"], rows[0]["reward_model"]["ground_truth"]) == ("sums", "1")
    assert (rows[0]["extra_info"]["index"], rows[0]["extra_info"]["id"]) == (0, "r0")
    assert pq.read_table(verl_folder / "val.parquet").num_rows == 2
    script = (verl_folder / "run.sh").read_text()
    assert "\"data.train_files='$HERE/train.parquet'\"" in script
    subprocess.run(["bash", "-n", str(verl_folder / "run.sh")], check=True)


MISJUDGES = """
from rewards.verifiers import Case
from rl.types import Verdict
GOLD = [Case("yes", "yes"), Case("no", "yes", equal=False)]
def verify(prompt, rollout):
    return Verdict(1.0)
"""


def test_a_process_that_was_forked_while_a_reward_starts_has_a_lock_of_its_own(tmp_path: Path) -> None:
    reward = ExportedReward({"parts": [{"verifier": "text"}]}, tmp_path)
    with reward._lock:  # as another thread may hold it
        pid = os.fork()
        if pid == 0:
            os._exit(not reward._lock.acquire(timeout=30))
    assert os.waitpid(pid, 0)[1] == 0


def test_a_reward_that_misjudges_its_own_examples_never_judges(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MISJUDGES)
    reward = ExportedReward({"parts": [{"verifier": "mine.py:verify"}]}, tmp_path)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"mine\.py:verify"):
            reward.judge([], [])


def test_the_exported_reward_is_ours(verl_folder: Path, exported: ModuleType) -> None:
    rows = pq.read_table(verl_folder / "train.parquet").to_pylist()

    def score(text: str) -> dict[str, float]:
        row = rows[1]
        return exported.compute_score(row["data_source"], text, row["reward_model"]["ground_truth"], row["extra_info"])

    right = score("<think>one and one</think>2")
    assert right == {"accuracy": 1.0, "format": 1.0, "score": 1.25, "acc": 1.0, "error": 0.0}
    assert score("one and one</think>2") == right  # the chat template has opened the chain
    assert score("3")["score"] == 0.0
    crashed = score("crash")
    assert (crashed["score"], crashed["error"]) == (0.0, 1.0)
    assert crashed.keys() == right.keys()  # verl stacks them
    with pytest.raises(ValueError, match="extra_info has no 'groundtone'"):
        exported.compute_score("d", "2", "2", {})


LEVELS = """
def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    return extra_info["level"] * 10 + extra_info.get("index", 0)
"""


@pytest.mark.parametrize(
    ("row", "score"),
    [
        ({"extra_info": {"level": 3, "index": 7}}, 37.0),  # an index of the data's own, not the row's number
        ({"level": 2, "index": 1}, 21.0),
    ],
)
def test_an_exported_reward_reads_what_it_reads_here(folder: Path, row: dict[str, object], score: float) -> None:
    (folder / "level.py").write_text(LEVELS)
    prompt = [{"role": "user", "content": "What is 1 + 1?"}]
    columns = {"prompt": prompt, "data_source": "d", "reward_model": {"ground_truth": "2"}, **row}
    (folder / "theirs.jsonl").write_text(json.dumps(columns) + "\n")
    chosen, _ = selection(
        folder,
        "data.theirs={source: verl, path: theirs.jsonl}",
        "reward={parts: [{verifier: level.py:compute_score}]}",
        "stages=[{rlvr: {data: theirs, algorithm: grpo, max_sequence_tokens: 400, split: null}}]",
    )
    verl_export.export(chosen, folder / "verl", lambda line: None)
    (verl_row,) = pq.read_table(folder / "verl" / "train.parquet").to_pylist()
    verl = import_file(folder / "verl" / "reward.py")
    result = verl.compute_score("d", "2", "2", {**verl_row["extra_info"], "num_turns": 2})
    verl._reward.close()
    assert (result["score"], result["error"]) == (score, 0.0)
    trl_export.export(chosen, folder / "trl", lambda line: None)
    trl = import_file(folder / "trl" / "reward.py")
    assert trl.reward(["2"], [json.loads((folder / "trl" / "train.jsonl").read_text())["groundtone"]]) == [score]
    trl._reward.close()


def test_a_column_comes_back_as_it_was(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": [{"type": "text", "text": "What?"}, {"type": "audio", "bytes": b"RIFF"}]}]
    prompt = Prompt("a", (Message("user", "What?"),), fields={"prompt": turns, "level": 3})
    back = from_json(to_json(prompt, ()), tmp_path, {})
    assert back.fields == {"prompt": [{"role": "user", "content": "What?"}], "level": 3}
    assert from_json(to_json(prompt, ()), tmp_path, {"num_turns": 2, "level": 9}).fields["extra_info"] == {
        "num_turns": 2,
        **back.fields,
    }


def test_two_sources_with_the_same_ids_are_refused(folder: Path) -> None:
    more = "data.more={source: jsonl, path: sums.jsonl, fields: {level: level}}"
    with pytest.raises(ValueError, match="data: 'sums' and 'more' both have a prompt 'r0'; rename ids"):
        selection(folder, more, "rlvr.data={sums: 1, more: 1}")
    with pytest.raises(ValueError, match="data: 'sums' and 'more' both have a prompt 'r6'; rename ids"):
        selection(folder, more, "evaluate.data={sums: 1, more: 1}")


def test_prompts_of_one_id_keep_their_own_clips(tmp_path: Path) -> None:
    prompts = [Prompt("a", (Message("user", "What?"),), clips=(Clip(data=data),)) for data in (b"RIFF1", b"RIFF2")]
    clips = write_clips(prompts, tmp_path)
    names = [f"audio/{hashlib.sha256(data).hexdigest()[:16]}.wav" for data in (b"RIFF1", b"RIFF2")]
    assert clips == [[name] for name in names]
    rows = verl_export.rows(prompts, "train", clips)
    assert [row["audios"] for row in rows] == [[{"path": name}] for name in names]


def test_what_is_measured_is_the_stages_or_the_last_evaluations(folder: Path) -> None:
    def measured(*changes: str) -> list[str]:
        return [prompt.id for prompt in selection(folder, *changes)[0].test]

    rlvr = "{rlvr: {data: sums, algorithm: grpo%s}}"
    first, last = (
        f"{{evaluate: {{data: sums, split: {split}, limit: 1, name: on-{split}}}}}" for split in ("train", "test")
    )
    assert measured() == ["r6", "r7"]
    assert measured(f"stages=[{rlvr % ''}, {first}, {last}]") == ["r6"]
    assert measured(f"stages=[{rlvr % ', eval: {data: sums, split: train, limit: 2}, eval_every: 1'}, {last}]") == [
        "r0",
        "r1",
    ]
    assert measured(f"stages=[{rlvr % ''}]") == []


def test_what_a_run_has_curated(folder: Path) -> None:
    from rl.stages.curate import write_difficulty

    chosen, lines = selection(folder)
    assert len(chosen.train) == 6
    assert "not curated: stages[1].rlvr takes what 'curate' keeps; run it and give --run RUN" in lines
    stage = folder / "run" / "stages" / "1-curate"
    stage.mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"run has no 'curate' that ended"):
        selection(folder, run=folder / "run")
    write_difficulty(stage / "difficulty.parquet", [{"id": f"r{i}", "keep": i % 2 == 0} for i in range(6)])
    outcome = {"metrics": {}, "artifacts": {"difficulty": "stages/1-curate/difficulty.parquet"}, "seconds": 1.0}
    (stage / "done.json").write_text(json.dumps(outcome))
    chosen, lines = selection(folder, run=folder / "run")
    assert [prompt.id for prompt in chosen.train] == ["r0", "r2", "r4"]
    assert lines == []


@pytest.mark.parametrize("algorithm", ["ppo", "dapo"])
def test_every_override_is_a_key_of_verl(folder: Path, algorithm: str) -> None:
    pytest.importorskip("hydra")
    changes = [f"rlvr.algorithm={algorithm}", "rlvr.objective={kl_coef: 0.01, entropy_coef: 0.1, importance_cap: 2.0}"]
    lora = "model.lora={rank: 4, alpha: 6.5, targets: [q_proj, v_proj]}"
    chosen, _ = selection(folder, *changes, lora, "rlvr.optimizer={schedule: cosine, gradient_clipping: 0}")
    values, _ = overrides(chosen, 64)
    assert verl_export.compose(values)


@pytest.mark.parametrize(
    ("importance", "level", "threshold"),
    [
        ("{high: 2}", "token", 2.0),
        ("{level: sequence, high: 3}", "sequence", 3.0),
        ("{low: 0.5, high: 5, outside: mask}", "token", "0.5_5.0"),
        ("{level: sequence, low: 0.5, high: 2, outside: mask}", "sequence", "0.5_2.0"),
        ("{low: 0.5, high: 2}", None, None),  # verl truncates above alone
        ("{high: 2, outside: mask}", None, None),
        ("{level: geometric, low: 0.5, high: 2, outside: mask}", None, None),
    ],
)
def test_importance_is_verls_or_is_named(folder: Path, importance: str, level: str | None, threshold: object) -> None:
    chosen, _ = selection(folder, "rlvr.algorithm=grpo", f"rlvr.objective={{importance: {importance}}}")
    values, notes = overrides(chosen, 64)
    key = "algorithm.rollout_correction.rollout_is"
    assert (values.get(key), values.get(f"{key}_threshold")) == (level, threshold)
    assert any("not carried over: objective.importance: {level" in note for note in notes) == (level is None)
    if isinstance(threshold, str):
        pytest.importorskip("hydra")
        assert verl_export.compose(values)


def test_the_optimisers_and_the_adapter_in_verl(folder: Path) -> None:
    chosen, notes = selection(
        folder,
        "rlvr.algorithm=ppo",
        "rlvr.critic_minibatches=2",
        "rlvr.optimizer.gradient_clipping=0",
        "rlvr.critic_optimizer={learning_rate: 1e-4, betas: [0.8, 0.9], gradient_clipping: 0.5, schedule: cosine}",
        "model.lora={rank: 4, alpha: 6.5, targets: [q_proj, v_proj]}",
    )
    values, notes = overrides(chosen, 64)
    actor = {key.rpartition(".")[2]: values[key] for key in values if key.startswith("actor_rollout_ref.actor.optim.")}
    # verl clips to 0 where it is told 0, and learns nothing.
    assert (actor["clip_grad"], actor["betas"], actor["lr_scheduler_type"]) == (1e30, [0.9, 0.95], "constant")
    critic = {key.rpartition(".")[2]: values[key] for key in values if key.startswith("critic.optim.")}
    assert critic == {
        "lr": 1e-4,
        "lr_warmup_steps": 0,
        "weight_decay": 0.0,
        "betas": [0.8, 0.9],
        "clip_grad": 0.5,
        "lr_scheduler_type": "cosine",
    }
    model = "actor_rollout_ref.model"
    adapter = [values[f"{model}.{key}"] for key in ("lora_rank", "lora_alpha", "target_modules")]
    assert adapter == [4, 6.5, ["q_proj", "v_proj"]]
    assert notes == ["stages[1].rlvr: not carried over: model.lora of the critic (all its weights train)"]


def test_an_override_that_verl_does_not_know_is_refused(folder: Path) -> None:
    pytest.importorskip("hydra")
    with pytest.raises(ConfigError, match="refuses an override: Could not override"):
        verl_export.compose({"actor_rollout_ref.actor.nothing": 1})


@pytest.mark.parametrize(
    ("algorithm", "advantage", "loss"),
    [
        ("grpo", "grpo", "vanilla"),
        ("dr_grpo", "grpo", "vanilla"),
        ("rloo", "rloo", "vanilla"),
        ("reinforce++", "reinforce_plus_plus", "vanilla"),
        ("reinforce++-baseline", "reinforce_plus_plus_baseline", "vanilla"),
        ("gspo", "grpo", "gspo"),
        ("cispo", "grpo", "cispo"),
    ],
)
def test_algorithms_in_verl(folder: Path, algorithm: str, advantage: str, loss: str) -> None:
    values, _ = overrides(selection(folder, f"rlvr.algorithm={algorithm}")[0], 64)
    assert values["algorithm.adv_estimator"] == advantage
    assert values["actor_rollout_ref.actor.policy_loss.loss_mode"] == loss
    assert values["algorithm.norm_adv_by_std_in_grpo"] is (algorithm != "dr_grpo")


def test_values_survive_shell_and_hydra() -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    texts = (
        "it's here",
        'a "b" $HOME `c`',
        "x=1,y",
        "back\\slash",
        "[a]",
        "123",
        "plain-word",
        "true",
        "null",
        "1e5",
        "nan",
    )
    for value in (*texts, 1e-6, 1e30, 5, True, [0.9, 0.95], ["q_proj", "1e5"]):
        word = verl_export.argument("key", value)
        printed = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, text=True, check=True).stdout
        parsed: object = OverridesParser.create().parse_override(printed).value()
        assert (parsed, type(parsed)) == (value, type(value))
    assert verl_export.argument("key", "$HERE/a b") == "\"key='$HERE/a b'\""


def test_a_folder_with_a_quote_in_its_name_trains(folder: Path) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    out, programs = folder / "bob's out", folder / "bin"
    verl_export.export(selection(folder)[0], out, lambda line: None)
    programs.mkdir()
    (programs / "python3").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (programs / "python3").chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run([str(out / "run.sh")], capture_output=True, text=True, check=True, env=environment)
    (file,) = [line for line in done.stdout.splitlines() if line.startswith("data.train_files=")]
    assert OverridesParser.create().parse_override(file).value() == str(out / "train.parquet")


def names_of(notes: list[str]) -> list[str]:
    return [note.partition("not carried over: ")[2].partition(" ")[0] for note in notes]


def test_settings_that_other_trainers_lack(folder: Path) -> None:
    chosen, _ = selection(
        folder, "rlvr.objective={overlong_buffer: 16}", "trainer.zero_stage=2", "rlvr.max_lag=1", "rlvr.steps=5"
    )
    assert names_of(overrides(chosen, 64)[1]) == ["objective.overlong_buffer", "max_lag", "trainer.zero_stage"]
    assert names_of(trl_export.settings(chosen, 64)[1]) == [
        "max_lag",
        "objective.overlong_buffer",
        "objective.importance",
        "trainer.zero_stage:",
    ]
    for estimator in ("k2", "k3"):
        kl, _ = selection(folder, f"rlvr.objective={{kl_coef: 0.1, kl_in: loss, kl_estimator: {estimator}}}")
        noted = ["objective.kl_estimator"] if estimator == "k2" else []
        assert (names_of(overrides(kl, 64)[1]), names_of(trl_export.settings(kl, 64)[1])) == ([], noted)
    linear, _ = selection(folder, "rlvr.algorithm=ppo", "rlvr.critic_optimizer.schedule=linear", "rlvr.minibatches=8")
    assert names_of(overrides(linear, 64)[1]) == [
        "critic_optimizer.schedule",
        "minibatches:",
        "critic_minibatches:",  # 4, of 2 prompts
    ]
    nll, _ = selection(folder, "rlvr.objective={policy_loss: nll}")
    with pytest.raises(ConfigError, match="verl has no 'nll'"):
        overrides(nll, 64)
    for algorithm in ("ppo", "rloo"):
        critic, _ = selection(folder, f"rlvr.algorithm={algorithm}")
        with pytest.raises(ConfigError, match=r"no advantage .*set algorithm: grpo"):
            trl_export.settings(critic, 64)
    short, _ = selection(folder, "rlvr.max_sequence_tokens=20")
    with pytest.raises(ValueError, match=r"max_sequence_tokens: 20, and the longest prompt has \d+ tokens"):
        longest_prompt(short, lambda line: None)


def test_trl_files(folder: Path) -> None:
    chosen, _ = selection(folder)
    out = folder / "out"
    trl_export.export(chosen, out, lambda line: None)
    with pytest.raises(ConfigError, match="holds something already"):
        trl_export.export(chosen, out, lambda line: None)
    assert {file.name for file in out.iterdir()} == {
        "train.jsonl", "test.jsonl", "reward.py", "train.py", "reward_of_mine.py", "helper.py"
    }  # fmt: skip
    row = json.loads((out / "train.jsonl").read_text().splitlines()[1])
    assert row["prompt"] == [{"role": "user", "content": "What is 1 + 1?"}]
    compile((out / "train.py").read_text(), "train.py", "exec")
    logged: dict[str, float] = {}
    module = import_file(out / "reward.py")
    turns = [[{"role": "assistant", "content": text}] for text in ("<think>a</think>2", "crash", "3")]
    scores = module.reward(turns, [row["groundtone"]] * 3, logged.__setitem__, prompts=[], trainer_state=None)
    module._reward.close()
    assert scores == [1.25, None, 0.0]
    assert logged == {"part/accuracy": 0.5, "part/format": pytest.approx(1 / 3), "reward_errors": 1.0}


@pytest.mark.parametrize(
    ("prompts", "ranks", "minibatches", "epochs", "sizes"),
    [
        (6, 1, 1, 1, (4, 6, 6, 3)),
        (6, 1, 4, 1, (3, 8, 2, 12)),  # an optimiser step is one and a half groups
        (8, 8, 2, 1, (2, 2, 1, 6)),
        (8, 2, 2, 3, (4, 4, 2, 18)),
    ],
)
def test_trl_takes_as_many_optimiser_steps(
    folder: Path, prompts: int, ranks: int, minibatches: int, epochs: int, sizes: tuple[int, ...]
) -> None:
    parts = f"prompts_per_step: {prompts}, minibatches: {minibatches}, epochs: {epochs}, checkpoint_every: 2"
    stage = f"data: sums, algorithm: grpo, steps: 3, samples_per_prompt: 4, max_sequence_tokens: 400, {parts}"
    evaluation = "eval_every: 1, eval: {data: sums, split: test}"
    chosen, _ = selection(folder, f"stages=[{{rlvr: {{{stage}, {evaluation}}}}}]", f"trainer.ranks={ranks}")
    values, _ = trl_export.settings(chosen, 64)
    names = ("per_device_train_batch_size", "steps_per_generation", "gradient_accumulation_steps", "max_steps")
    assert tuple(values[name] for name in names) == sizes
    batch, generation, accumulation, _ = sizes
    assert batch * generation * ranks == prompts * 4
    assert generation // accumulation == minibatches
    optimiser_steps = minibatches * epochs
    assert (values["save_steps"], values["eval_steps"]) == (2 * optimiser_steps, optimiser_steps)
    assert values["per_device_eval_batch_size"] == 4


def test_samples_that_trl_cannot_divide_are_refused(folder: Path) -> None:
    chosen, _ = selection(folder, "trainer.ranks=3")
    with pytest.raises(ConfigError) as caught:
        trl_export.settings(chosen, 64)
    assert str(caught.value) == (
        "stages[1].rlvr.prompts_per_step: 2 prompts × 4 samples do not divide into 3 ranks × 1 minibatch, as TRL needs; "
        "change prompts_per_step or trainer.ranks"
    )


def test_the_schedule_and_the_adapter_in_trl(folder: Path) -> None:
    warm = "rlvr.optimizer={warmup_steps: 5, gradient_clipping: 0}"
    chosen, _ = selection(folder, warm, "model.lora={rank: 4, alpha: 6.5, targets: [q_proj, v_proj]}")
    values, _ = trl_export.settings(chosen, 64)
    # The `constant` of transformers takes no notice of warmup_steps.
    assert (values["lr_scheduler_type"], values["warmup_steps"]) == ("constant_with_warmup", 5)
    assert values["max_grad_norm"] == 0
    trl_export.export(chosen, folder / "out", lambda line: None)
    adapter = "LoraConfig(r=4, lora_alpha=6.5, target_modules=['q_proj', 'v_proj'])"
    assert adapter in (folder / "out" / "train.py").read_text()


def test_a_recipe_without_its_model_or_stage(folder: Path) -> None:
    with pytest.raises(ConfigError, match="the recipe builds its model; run it and give --run RUN"):
        selection(folder, "model={build: {hidden_size: 64, heads: 2}, path: null}")
    with pytest.raises(ConfigError, match="no rlvr stage 'rl'; known: rlvr"):
        select(load(folder / "mine.yaml"), "rl", None, print)
    assert completion_text([{"role": "assistant", "content": "a"}]) == "a"
    with pytest.raises(ConfigError, match="reward: missing key 'parts'"):
        ExportedReward({}, folder)


def test_verl_reward_manager(verl_folder: Path, model: Path) -> None:
    """verl's own configuration, validation and reward manager take the folder as it is."""
    program = f"""
import asyncio, json, sys, hydra, os, torch, numpy as np, pyarrow.parquet as pq
from importlib.util import find_spec
from transformers import AutoTokenizer
from rl.recipe import load
from rl.exchange.selection import select
from rl.exchange.verl_settings import overrides
from rl.exchange.verl_export import hydra_value
from verl import DataProto
from verl.trainer.ppo.reward import load_reward_manager
from verl.utils.config import validate_config

chosen = select(load("mine.yaml"), None, None, print)
out = os.path.abspath("out")
values = overrides(chosen, 64)[0]
words = [f"{{key}}={{hydra_value(value.replace('$HERE', out) if isinstance(value, str) else value)}}" for key, value in values.items()]
with hydra.initialize_config_dir(os.path.join(find_spec("verl").submodule_search_locations[0], "trainer", "config"), version_base=None):
    config = hydra.compose("ppo_trainer", words)
validate_config(config, use_reference_policy=False, use_critic=False)
tokenizer = AutoTokenizer.from_pretrained({str(model)!r})
row = pq.read_table("out/train.parquet").to_pylist()[1]
response = torch.tensor([tokenizer.encode("<think>a</think>2", add_special_tokens=False)])
data = DataProto.from_dict(
    tensors={{"responses": response, "attention_mask": torch.ones_like(response)}},
    non_tensors={{key: np.array([row[key]], dtype=object) for key in ("data_source", "reward_model", "extra_info")}},
)
async def main():
    manager = load_reward_manager(config, tokenizer)
    return await manager.run_single(data)
result = asyncio.run(main())
print("RESULT", json.dumps(result))
"""
    pytest.importorskip("hydra")
    if importlib.util.find_spec("verl") is None:
        pytest.skip("verl is not installed")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=verl_folder.parent, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.rpartition("RESULT ")[2])
    assert result["reward_score"] == 1.25
    assert result["reward_extra_info"]["format"] == 1.0
