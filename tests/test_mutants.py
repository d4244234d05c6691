"""Whatever stands in a user's files, a command answers it or refuses it in one line: thousands of files, each damaged in one
way, in an order that never changes."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import mutants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from mutants import JSON_KEYS, JSON_VALUES, YAML_KEYS, YAML_VALUES, Mutant
from safetensors.torch import save
from samples import scored_sample

from models.folder import INDEX, check_whole, declared_ends, declared_sampling, read_chat_template
from models.settings import AudioConfig, BuildConfig, ModelConfig
from models.shape import read_shape
from models.supported import find_unsupported_key
from rewards.judge.cache import OpinionCache
from rl import cli
from rl.commands import runs
from rl.config import build
from rl.data.inspection import inspect
from rl.data.sources import DataConfig
from rl.data.stage_outputs import load_pairs
from rl.recipe import load
from rl.recipe.single_stage import describe_data, describe_model
from rl.report.comparison import compare_data
from rl.report.page import write_report
from rl.report.tables import show
from rl.run.checkpoint import Checkpoints
from rl.run.provenance import read_provenance, write_provenance
from rl.run.summary import StageSummary, Summary, write_summary
from rl.run.tracker import Tracker
from rl.runner.artifacts import Artifacts
from rl.runner.reward_models import read_mean
from rl.stages import pairs as pairs_stage
from rl.stages.dpo import read_logprobs
from rl.stages.sampling import SAMPLES, Sample, _rollout, means_by_part, read_samples
from rl.stages.selection import SELECTION, Opinion, read_opinions
from rl.terminal import console
from rl.types import Message, Prompt
from rl.workbench.cases import read_cases
from rl.workbench.replay import load_reward, recorded_samples

pytestmark = pytest.mark.usefixtures("alone")

RECIPE = """
name: whole
model: {build: {hidden_size: 64, heads: 2, layers: 1, audio: {mel_bins: 40}}}
data:
  rows: {source: jsonl, path: rows.jsonl, fields: {question: question, answer: answer, response: answer}, system: short}
reward:
  parts:
    - {verifier: text, weight: {text: 0.8}, args: {normalise: true}, clip: [0, 1], when: {source: [rows]}}
    - {verifier: format, name: format, weight: 0.2, only_if: {accuracy: 0.5}}
stages:
  - sft: {data: rows, epochs: 2, max_sequence_tokens: 64, optimizer: {learning_rate: 1e-4}}
  - repeat:
      times: 2
      until: {metric: after/accuracy}
      stages:
        - rlvr:
            {data: {rows: 1}, steps: 1, prompts_per_step: 2, max_sequence_tokens: 64, eval_every: 1, eval: {data: rows}}
        - evaluate: {name: after, data: rows, samples: 2, max_sequence_tokens: 64, budgets: [8, 16]}
rlvr: {steps: 2}
"""
ROW = {
    "question": "reverse: ab",
    "answer": "ba",
    "split": "train",
    "id": "a",
    "options": ["x", "y"],
    "messages": [{"role": "user", "content": "reverse: ab"}, {"role": "assistant", "content": "ba"}],
}
HEADER = {"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [0, 2], "data_offsets": [0, 0]}}
DONE = {
    "kind": "curate",
    "metrics": {"kept": 2.0},
    "artifacts": {"difficulty": "stages/02-curate/difficulty.parquet"},
    "seconds": 1.5,
    "counts": {"asked": 3, "kept": 2},
    "parents": [{"kind": "data", "name": "rows", "stage": False, "split": "train"}],
}

Command = Callable[[], object]


def check(file: Path, tries: Iterable[Mutant], **commands: Command) -> None:
    """Fail with the first ten answers that are none for a user, or where a command refuses the file as it is."""
    for title, command in commands.items():
        whole = mutants.ask(title, command)
        assert whole.code == 0, f"{title}, {file} as it is: {whole.code} {whole.error}"
    failures = [*islice((answer for answer in mutants.answers(file, tries, commands) if answer.failure), 10)]
    assert not failures, "\n".join(f"{a.case}\n{a.failure}\n{a.error}" for a in failures)


def json_file(file: Path, value: object, every: int = 1) -> list[Mutant]:
    """Write the value to the file and return the file's mutants, each `every` of them."""
    file.write_text(json.dumps(value) + "\n")
    return [*mutants.structured(value, JSON_VALUES, JSON_KEYS), *whole_files(file)][::every]


def whole_files(file: Path) -> list[Mutant]:
    return [*mutants.texts(file.read_bytes()), *mutants.stand_ins()]


def rows_file() -> None:
    Path("rows.jsonl").write_text('{"question": "reverse: ab", "answer": "ba"}\n' * 2)


# --- recipes -------------------------------------------------------------------------------------------------------


def test_recipes() -> None:
    rows_file()
    file = Path("whole.yaml")
    file.write_text(RECIPE)
    tries = [*mutants.structured(yaml.safe_load(RECIPE), YAML_VALUES, YAML_KEYS), *whole_files(file)]
    check(file, tries[::25], check=lambda: cli.check("whole.yaml"))


def test_rewards_of_replays() -> None:
    file = Path("reward.yaml")
    reward = yaml.safe_load(RECIPE)["reward"]
    file.write_text(json.dumps(reward))
    tries = [*mutants.structured(reward, YAML_VALUES, YAML_KEYS), *whole_files(file)]
    check(file, tries[::4], load=lambda: load_reward("reward.yaml"))


def test_names_that_are_too_long_or_no_names() -> None:
    rows_file()
    names = (
        mutants.LONG,
        "a/" * 3000,
        "\0",
        "\n",
        "..",
        "/",
        "/dev/null",
        "~nobody/x",
        "${",
        "$NOPE/x",
        "*",
        "[",
        "é" * 200,
    )
    for name in names:
        commands: dict[str, Command] = {
            "check": lambda name=name: cli.check(name),
            "run": lambda name=name: cli.run(name),
            "show": lambda name=name: runs.show(Path(name)),
            "compare": lambda name=name: runs.compare([Path(name), Path(name)]),
            "model": lambda name=name: describe_model(name),
            "data": lambda name=name: describe_data(name, ""),
            "cases": lambda name=name: read_cases(name, "equal", 1.0),
            "reward": lambda name=name: load_reward(f"{name}.yaml"),
        }
        answers = [mutants.ask(f"{title} {name[:40]!r}", command) for title, command in commands.items()]
        assert not [(a.case, a.failure) for a in answers if a.failure]


# --- models --------------------------------------------------------------------------------------------------------


def look_at_model(folder: Path) -> Command:
    """Return a function that reads of the model all that a check does."""

    def look() -> None:
        check_whole(folder)
        describe_model(str(folder))
        model = ModelConfig(path=str(folder))
        read_shape(model)
        find_unsupported_key(model.shape())
        declared_ends(folder)
        declared_sampling(folder)
        read_chat_template(folder)

    return look


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of text and one that listens."""
    from models.load import build as build_model

    folder = tmp_path_factory.mktemp("models")
    build_model(BuildConfig(hidden_size=64, layers=1, heads=2), folder / "reads", 1)
    build_model(BuildConfig(hidden_size=64, layers=1, heads=2, audio=AudioConfig()), folder / "listens", 1)
    return folder


MORE = {
    "layer_types": ["full_attention"],
    "num_experts": 0,
    "final_logit_softcapping": 0,
    "head_dim": 32,
    "logit_scale": 1,
}


@pytest.mark.parametrize(
    ("model", "name", "more", "every"),
    [
        ("reads", "config.json", MORE, 2),
        ("listens", "config.json", {}, 5),
        ("reads", "generation_config.json", {"eos_token_id": [1, 2]}, 1),
        ("reads", "tokenizer_config.json", {"chat_template": [{"name": "default", "template": "{{ messages }}"}]}, 2),
        ("reads", "special_tokens_map.json", {"eos_token": "a"}, 1),
    ],
)
def test_files_of_models(models: Path, model: str, name: str, more: dict[str, object], every: int) -> None:
    file = models / model / name
    saved = file.read_bytes() if file.exists() else b"{}"
    try:
        tries = json_file(file, json.loads(saved) | more, every)
        check(file, tries, look=look_at_model(file.parent))
    finally:
        file.write_bytes(saved)


def test_files_of_models_as_a_command_reads_them(models: Path) -> None:
    rows_file()
    recipe = yaml.safe_load(RECIPE) | {"model": {"path": str(models / "reads")}}
    Path("m.json.yaml").write_text(json.dumps(recipe))
    file = models / "reads" / "config.json"
    saved = file.read_bytes()
    try:
        check(file, json_file(file, json.loads(saved) | MORE, 40), check=lambda: cli.check("m.json.yaml"))
    finally:
        file.write_bytes(saved)


def test_weights_in_several_files(models: Path) -> None:
    folder, name = models / "reads", "model-00001-of-00001.safetensors"
    file = folder / INDEX
    (folder / name).write_bytes(mutants.safetensors(HEADER))
    tries = json_file(file, {"metadata": {"total_size": 8}, "weight_map": {"a": name, "b": name}})
    check(file, tries, look=look_at_model(folder))
    headers = [*mutants.structured(HEADER, JSON_VALUES, JSON_KEYS), *mutants.texts(json.dumps(HEADER).encode())]
    weights = [Mutant(h.name, mutants.safetensors(h.content)) for h in headers if isinstance(h.content, bytes)]
    others = [*mutants.binaries((folder / "model.safetensors").read_bytes()[:2000], 20), *mutants.stand_ins()]
    check(folder / name, [*weights, *others], look=look_at_model(folder))
    file.unlink()


# --- data ----------------------------------------------------------------------------------------------------------


def look_at_data(values: dict[str, object]) -> Command:
    def look() -> None:
        facts = inspect(build(DataConfig, values, "data.d"), "train", "data.d")
        if facts.problems:
            raise ValueError(facts.problems[0])

    return look


QUESTIONS = {
    "fields": {"question": "question", "answer": "answer", "options": "options"},
    "template": "{question} {options}",
}
CHATS = {"fields": {"messages": "messages", "answer": "answer"}}


@pytest.mark.parametrize("keys", [QUESTIONS, CHATS, {**QUESTIONS, "on_bad_row": "skip"}])
def test_rows_of_jsonl(keys: dict[str, object]) -> None:
    file = Path("rows.jsonl")
    data = {"source": "jsonl", "path": str(file), **keys}
    check(file, json_file(file, ROW, 2), inspect=look_at_data(data), describe=lambda: describe_data(str(file), ""))


@pytest.mark.parametrize("keys", [QUESTIONS, CHATS])
def test_parquet_files(keys: dict[str, object]) -> None:
    file = Path("rows.parquet")
    write_rows(file, [ROW, {**ROW, "id": "b"}])
    tries = [*mutants.binaries(file.read_bytes(), 30), *tables(ROW), *mutants.stand_ins()]
    data = {"source": "parquet", "path": str(file), **keys}
    check(file, tries, inspect=look_at_data(data), describe=lambda: describe_data(str(file), ""))


def tables(row: dict[str, object], every: int = 1) -> Iterator[Mutant]:
    """Yield parquet files whose columns are missing, empty or of other kinds."""
    others: tuple[object, ...] = (
        None,
        True,
        7,
        1.5,
        float("nan"),
        "text",
        b"\xff",
        [1],
        [None],
        {"a": 1},
        [{"a": None}],
        "",
    )
    changes = [(name, value) for name in row for value in others]
    for name, value in changes[::every]:
        yield Mutant(f"{name} = {value!r}", lambda file, n=name, v=value: write_rows(file, [{**row, n: v}]))
    for name in row:
        rest = {key: value for key, value in row.items() if key != name}
        yield Mutant(f"{name} left out", lambda file, rest=rest: write_rows(file, [rest]))
        yield Mutant(
            f"{name} null in one", lambda file, name=name: write_rows(file, [row, {**row, "id": "b", name: None}])
        )
    yield Mutant("no rows", lambda file: pq.write_table(pa.Table.from_pylist([row])[:0], file))


def write_rows(file: Path, rows: Sequence[dict[str, object]]) -> None:
    pq.write_table(pa.Table.from_pylist([*rows]), file)


def test_cases_of_verifiers() -> None:
    file = Path("cases.jsonl")
    case = {"pred": "a", "gold": ["a", "b"], "equal": True, "prompt": "?", "cls": "x", "context": {"choices": "a"}}
    tries = json_file(file, case, 2)
    check(
        file,
        tries,
        read=lambda: read_cases("cases.jsonl", "equal", 1.0),
        classes=lambda: read_cases("cases.jsonl", "equal", 0.5, ["x"]),
    )


# --- runs ----------------------------------------------------------------------------------------------------------


def whole_run(run: Path) -> Path:
    """Write a finished run of three stages."""
    metrics = {
        "accuracy": 0.5,
        "accuracy/low": 0.4,
        "accuracy/high": 0.6,
        "tokens@8": 3.0,
        "accuracy@8": 0.25,
        "tokens@full": 9.0,
    }
    stages = [StageSummary("before", "evaluate", 2.0, metrics), StageSummary("curate", "curate", 1.0, {"kept": 2.0})]
    stages += [StageSummary("after", "evaluate", 2.0, {"accuracy": 0.75, "surrogate_rate": 0.5})]
    for number, stage in enumerate(stages, 1):
        folder = run / "stages" / f"{number:02d}-{stage.name}"
        folder.mkdir(parents=True)
        (folder / "done.json").write_text(json.dumps(DONE | {"kind": stage.kind}))
        table = pa.table({"id": ["p", "q"], "asked": ["?", "?"], "accuracy": [0.5, 1.0], "greedy": [0.0, 1.0]})
        pq.write_table(table, folder / "per_prompt.parquet")
    table = pa.table({"id": ["a", "b", "c"], "correct": [0, 3, 3], "k": [4, 4, 4], "keep": [False, True, True]})
    pq.write_table(table, run / "stages" / "02-curate" / "difficulty.parquet")
    for step in (1, 2):
        Tracker(run, "sft").record(step, {"loss": 1 / step, "time/step": 1.0})
    Tracker(run, "sft").record_warning(2, "a warning")
    parts = {"grounding": 0.5, "grounding/surrogates": 1.0, "grounding/true": 1.0, "accuracy": 1.0}
    Tracker(run, "after").record_rollouts(
        1, [scored_sample(parts=parts, reason="grounding: 'x'"), scored_sample(error="no")]
    )
    write_summary(run, Summary("whole", "done", 8.0, stages, {"python": "3.11", "packages": {"torch": "2"}}))
    (run / "recipe.yaml").write_text(json.dumps(load("whole.yaml").source))
    return run


def look_at_run(run: Path) -> dict[str, Command]:
    def compared() -> None:
        compare_data([run, Path("other")])

    return {
        "show": lambda: console().print(show(run)),
        "compare": compared,
        "report": lambda: write_report(run),
        "replay": lambda: recorded_samples(run, None, None, print),
    }


def run_mutants(run: Path) -> Iterator[tuple[Path, list[Mutant]]]:
    """Yield each file of the run with its mutants."""
    summary = json.loads((run / "summary.json").read_text())
    yield run / "summary.json", json_file(run / "summary.json", summary, 31)
    yield run / "stages" / "02-curate" / "done.json", json_file(run / "stages" / "02-curate" / "done.json", DONE, 12)
    for name in ("metrics.jsonl", "warnings.jsonl"):
        row = json.loads((run / name).read_text().splitlines()[0])
        yield run / name, json_file(run / name, row, 7)
    for name in (
        "stages/01-before/per_prompt.parquet",
        "stages/02-curate/difficulty.parquet",
        "rollouts/after-000001.parquet",
    ):
        rows = pq.read_table(run / name).to_pylist()
        binaries = [*mutants.binaries((run / name).read_bytes(), 8), *mutants.stand_ins()]
        yield run / name, [*binaries, *tables(rows[0], 7)]
    yield (
        run / "recipe.yaml",
        [*mutants.structured({"stages": [{"sft": {"data": "rows"}}], "data": {"rows": {}}}, YAML_VALUES[::3], ())],
    )


@pytest.mark.parametrize("number", range(8))
def test_files_of_runs(number: int) -> None:
    rows_file()
    Path("whole.yaml").write_text(RECIPE)
    whole_run(Path("other"))
    run = whole_run(Path("run"))
    file, tries = [*run_mutants(run)][number]
    check(file, tries, **look_at_run(run))


def test_a_report_is_written_without_what_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    Path("whole.yaml").write_text(RECIPE)
    run = whole_run(Path("run"))
    for name in (
        "rollouts/after-000001.parquet",
        "stages/02-curate/difficulty.parquet",
        "stages/01-before/per_prompt.parquet",
    ):
        (run / name).write_bytes(b"PAR1" + bytes(40))
        write_report(run)
        lines = [line for line in capsys.readouterr().out.splitlines() if name in line]
        assert len(lines) == 1, "each file is named once"
        assert lines[0].startswith(f"warning: {run / name}: cannot be read as parquet")
        assert lines[0].endswith("; the report is without it")


def test_provenance_and_checkpoints() -> None:
    file = write_provenance(Path("model"), {"kind": "model", "counts": {"steps": 2}})
    tries = json_file(file, json.loads(file.read_text()), 2)
    check(file, tries, read=lambda: read_provenance(Path("model")))
    warnings: list[str] = []
    checkpoints = Checkpoints(Path("checkpoints"), warn=warnings.append)
    folder = checkpoints.save(1, {"drawn": 3, "best_step": 1}, lambda folder: (folder / "weights").write_bytes(b"w"))
    for name in ("manifest.json", "state.json"):
        tries = json_file(folder / name, json.loads((folder / name).read_text()))
        check(folder / name, tries, latest=checkpoints.latest)
    assert os.path.isdir(folder)
    assert warnings


# --- what stages leave for later ones ------------------------------------------------------------------------------

PROMPT = Prompt("p", (Message("user", "?"),), "a")


def test_samples() -> None:
    file = Path(SAMPLES)
    sample = Sample("rows", "train", "p", 0, "<think>b</think>a", 2, False, 0.5, {"accuracy": 1.0})
    unjudged = replace(sample, error="hung", again={"ids": [5, 6, 7], "logprobs": [-0.1, -0.2]})
    pairs = pairs_stage.Config(samples=2, data="rows", by="accuracy")

    def use() -> None:
        samples = [*read_samples(file)]
        pairs_stage.match_samples(samples, pairs)
        means_by_part(samples)
        for again in samples:
            if again.again:
                _rollout(again, PROMPT)

    for row in (sample, unjudged):
        check(file, json_file(file, asdict(row)), use=use)


def test_opinions_on_questions() -> None:
    file = Path(SELECTION)
    tries = json_file(file, asdict(Opinion("p", 0.5, None, "read")))
    check(file, tries, read=lambda: {o.prompt: o.score >= 0.5 for o in read_opinions(file) if o.error is None})


SIDE = {"reasoning": "r", "response": "a"}


@pytest.mark.parametrize("more", [SIDE, {"chosen": SIDE, "rejected": SIDE}])
def test_rows_that_name_their_prompts(more: dict[str, object]) -> None:
    rows_file()
    Path("whole.yaml").write_text(RECIPE)
    artifacts = Artifacts(load("whole.yaml"), Path("out"), print)
    id = artifacts.read_prompts("rows", None, None)[0].id
    file, row = Path("made.jsonl"), {"id": "q#3", "data": "rows", "split": None, "prompt": id, **more}
    tries = json_file(file, row)
    itself = Mutant("made of itself", json.dumps({**row, "data": "made.jsonl"}).encode() + b"\n")
    commands: dict[str, Command] = {"prompts": lambda: artifacts.read_prompts("made.jsonl", None, None)}
    if "chosen" in more:
        commands = {"pairs": lambda: load_pairs(file, artifacts.lookup("made.jsonl"))}
    check(file, [*tries, itself], **commands)


def test_scale_of_a_reward_model() -> None:
    file = Path("scale.json")
    check(file, json_file(file, {"mean": 0.5, "deviation": 1.5}), read=lambda: read_mean(Path()))


def test_logprobs_of_a_reference() -> None:
    file, logprobs_A = Path("reference.safetensors"), torch.tensor([-0.5, -1.0, 0.0])
    file.write_bytes(save({"logprobs_A": logprobs_A}))
    others = [logprobs_A[:2], logprobs_A.double(), logprobs_A[None], logprobs_A * torch.nan, torch.tensor(1.0)]
    tries = [Mutant(f"{other!r}", save({"logprobs_A": other})) for other in others]
    header = {"logprobs_A": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}
    headers = mutants.structured(header, JSON_VALUES, JSON_KEYS)
    tries += [
        Mutant(h.name, mutants.safetensors(h.content) + bytes(12)) for h in headers if isinstance(h.content, bytes)
    ]
    tries += [*mutants.binaries(file.read_bytes()), *whole_files(file)]
    check(file, tries, read=lambda: read_logprobs(file, 3))


def test_opinions_of_a_judge() -> None:
    file = Path("opinions.sqlite")

    def use() -> None:
        cache = OpinionCache(str(file))
        try:
            for key in ("a", "b"):
                if (opinion := cache.get(key)) is not None:
                    marks, why = opinion
                    assert sum(marks.values()) >= 0, why
            cache.put("c", ({"mark": 1}, "why"))
        finally:
            cache.close()

    use()
    with closing(sqlite3.connect(file, isolation_level=None)) as table:
        for value in JSON_VALUES:
            for key, text in (("a", value), ("b", f'[{{"mark": {value}}}, "why"]')):
                table.execute("insert or replace into opinions values (?, ?)", (key, text))
            assert not mutants.ask(value, use).failure
    check(file, [*mutants.binaries(file.read_bytes(), 30), *whole_files(file)], use=use)
