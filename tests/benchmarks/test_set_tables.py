"""Figures over their own denominators, by the tables that a set reports."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from set_files import write_set

from rewards.contract import Case
from rewards.verifiers.benchmark import verify
from rl.config import ConfigError
from rl.planning.plan import plan
from rl.recipe.benchmark_recipe import JudgeChoice, benchmark_recipe
from rl.report.benchmark_results import list_sets, read_stage_results, render_section, render_sets
from rl.report.run_data import Stage
from rl.stages.benchmark_tables import FILE, headline_metrics, measure_sets, write_results
from rl.types import Prompt, Rollout, Scored, Verdict

OPTIONS = ["laugh", "burp", "cough", "yawn"]


def scored(id: str, name: str, said: str, group: str, sample: int = 0, table: str = "category") -> Scored:
    fields = {"benchmark": name, "options": OPTIONS, "groups": {table: group}}
    prompt = Prompt(id, (), "burp", name, fields=fields)
    rollout = Rollout(prompt, sample, *_arrays(), "stop", 0, said)
    verdict = verify(prompt, rollout) if name != "dcase2025" else verify(prompt, rollout, rule="strict")
    parts = {"accuracy": verdict.score, **{f"accuracy/{key}": value for key, value in verdict.parts.items()}}
    return Scored(rollout, Verdict(verdict.score, parts))


def _arrays() -> tuple:  # type: ignore[type-arg]
    rollout = Case("x", None).rollout()
    return rollout.tokens, rollout.action_mask, rollout.logprobs


def test_both_denominators_where_they_differ() -> None:
    """MMSU leaves two of four answers out: 1 of 2 by its own count, 2 of 4 by ours."""
    samples = [
        scored("1", "mmsu", "B", "Perception"),
        scored("2", "mmsu", "The burp", "Perception"),  # in neither of the two places
        scored("3", "mmsu", "No idea", "Reasoning"),
        scored("4", "mmsu", "A", "Reasoning"),
    ]
    (result,) = measure_sets(samples)
    official, strict = result.figures
    assert (official.overall.value, official.overall.items, official.left_out) == (0.5, 2, 2)
    assert (strict.overall.value, strict.overall.items, strict.left_out) == (0.5, 4, 0)
    assert [(c.group, c.value, c.items) for c in official.tables["category"]] == [
        ("Perception", 1.0, 1),
        ("Reasoning", 0.0, 1),
    ]
    assert [(c.group, c.value, c.items) for c in strict.tables["category"]] == [
        ("Perception", 1.0, 2),
        ("Reasoning", 0.0, 2),
    ]
    metrics = headline_metrics([result])
    assert (metrics["official"], metrics["official_left_out"], metrics["strict"]) == (0.5, 2.0, 0.5)


def test_an_answer_that_errs_changes_no_other_items_score() -> None:
    good = [scored(str(i), "mmau", "burp", "x", table="task") for i in range(3)]
    broken = Scored(good[0].rollout, Verdict(error="crashed"))
    for samples in (good, [*good[1:], broken]):
        (result,) = measure_sets(samples)
        assert all(figure.overall.value == 1.0 for figure in result.figures)
    assert result.figures[0].overall.items == 2


def test_nothing_that_counts_is_no_figure() -> None:
    (result,) = measure_sets([scored("1", "mmsu", "no idea", "x")])
    assert (result.figures[0].overall.value, result.figures[0].left_out) == (None, 1)
    assert "official" not in headline_metrics([result])


def test_samples_of_an_item_are_averaged_first() -> None:
    samples = [scored("1", "mmau", said, "x", i, "task") for i, said in enumerate(["burp", "burp", "yawn"])]
    (result,) = measure_sets([*samples, scored("2", "mmau", "yawn", "x", 0, "task")])
    assert result.figures[0].overall.value == pytest.approx(1 / 3)


def test_the_mean_of_parts_and_the_mean_of_items() -> None:
    """DCASE: two items of one part right, one of another wrong: 67 % of items, 50 % of parts."""
    samples = [scored(str(i), "dcase2025", said, part, table="part") for i, (said, part) in enumerate(
        [("B", "Complex QA"), ("B", "Complex QA"), ("A", "Bioacoustics QA")]
    )]  # fmt: skip
    (result,) = measure_sets(samples)
    (figure,) = result.figures
    assert (figure.overall.value, figure.mean_of, figure.mean) == (pytest.approx(2 / 3), "part", 0.5)


def test_results_come_back_from_their_file_and_into_the_report(tmp_path: Path) -> None:
    results = measure_sets([scored("1", "mmsu", "<b>B</b>", "<script>"), scored("2", "mmsu", "B", "[red]")])
    write_results(tmp_path / FILE, results)
    stage = Stage("e", "evaluate", True, 1.0, {}, (), tmp_path)
    assert list(read_stage_results(stage)) == json_equal(results)
    html = render_section([stage])
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "answers left out: 1" in html, "`<b>B</b>` has no letter where the official rule looks"
    (tmp_path / FILE).write_text('{"results": [{"set": 3}]}')
    errors: list[ValueError] = []
    assert read_stage_results(stage, errors.append) == ()
    assert FILE in str(errors[0])


def json_equal(results: list) -> list:  # type: ignore[type-arg]
    """Lists come back as tuples."""
    from dataclasses import replace

    return [
        replace(r, figures=tuple(replace(f, tables={k: tuple(v) for k, v in f.tables.items()}) for f in r.figures))
        for r in results
    ]


CONFIG = {
    "model_type": "qwen2",
    "audio_config": {},
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 300,
}


@pytest.fixture
def model(tmp_path: Path) -> str:
    from plans import whole

    whole(tmp_path / "model", {**CONFIG, "max_position_embeddings": 4096, "torch_dtype": "float32"})
    return str(tmp_path / "model")


def test_the_command_is_an_evaluation_with_the_sets_own_rule(model: str, tmp_path: Path) -> None:
    recipe = benchmark_recipe("gsm8k", model, str(write_set(tmp_path / "set", "gsm8k")), samples=2, limit=1)
    (stage,) = recipe.stages
    assert (stage.kind, stage.config.samples, stage.config.temperature) == ("evaluate", 2, 0.7)
    assert [(p.verifier, p.args) for p in recipe.header.reward.parts] == [("benchmark", {"rule": "official"})]
    assert plan(recipe).problems == []
    heard = benchmark_recipe("mmau", model, str(write_set(tmp_path / "mmau", "mmau")), rule="strict")
    assert heard.stages[0].config.controls == ["silenced", "swapped"]
    shuffled = benchmark_recipe("dcase2025", model, str(write_set(tmp_path / "dcase", "dcase2025")))
    assert shuffled.stages[0].config.orders == 4


def test_judges_of_sets(model: str, tmp_path: Path) -> None:
    folder = str(write_set(tmp_path / "wild", "wildspeech"))
    recipe = benchmark_recipe("wildspeech", model, folder, judge=JudgeChoice("http://127.0.0.1:1/v1", "gpt"))
    assert recipe.header.reward.parts[0].verifier == "benchmark_judge"
    assert any("asked at most" in line for line in plan(recipe).notes)
    served = benchmark_recipe("mmar", model, str(write_set(tmp_path / "mmar", "mmar")), judge=JudgeChoice(model))
    assert [watch.verifier for watch in served.header.reward.watch] == ["benchmark_judge"]
    assert {*served.judges} == {"judge"}


@pytest.mark.parametrize(
    ("name", "settings", "complaint"),
    [
        ("wildspeech", {}, "is scored by a judge"),
        ("gsm8k", {"judge": JudgeChoice("http://x/v1", "m")}, "scored by a rule alone"),
        ("mmar", {"judge": JudgeChoice("http://x/v1")}, "--judge-model"),
        ("dcase2025", {"rule": "official"}, "has no rule 'official'; use strict"),
        ("gsm8k", {"prompt": "r1"}, "has no prompt 'r1'; use official"),
        ("mmau", {"rule": "lenient"}, "has no rule 'lenient'; use official or strict"),
        ("nothing", {}, "no benchmark 'nothing'"),
    ],
)
def test_a_command_that_cannot_be_is_one_line(
    name: str, settings: dict[str, object], complaint: str, model: str
) -> None:
    with pytest.raises(ConfigError) as error:
        benchmark_recipe(name, model, "folder", **settings)  # type: ignore[arg-type]
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_a_model_without_ears_is_told_at_once(tmp_path: Path) -> None:
    from plans import whole

    whole(tmp_path / "reads", {key: value for key, value in CONFIG.items() if key != "audio_config"})
    with pytest.raises(ConfigError, match=r"mmau is heard, and .*reads text only"):
        benchmark_recipe("mmau", str(tmp_path / "reads"), "folder")


def test_rl_check_counts_parquet_without_reading_its_sound(tmp_path: Path) -> None:
    from rl.data.inspection import inspect
    from rl.data.sources import DataConfig

    facts = inspect(DataConfig("benchmark", str(write_set(tmp_path, "spoken_mqa")), args={"set": "spoken_mqa"}))
    assert (facts.rows, facts.problems) == (2, [])


def test_without_a_folder_the_message_says_where_to_get_it(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROUNDTONE_DATA", raising=False)
    with pytest.raises(ConfigError, match="ddwang2000/MMSU"):
        benchmark_recipe("mmsu", model, None)


def test_the_list_has_licence_source_and_rule_of_every_set() -> None:
    rows = list_sets()
    assert len(rows) == 15
    assert all(row[key] for row in rows for key in ("title", "licence", "source", "rule", "rules", "prompts"))
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(render_sets())
    table = console.export_text()
    assert all(f" {row['name']} " in table for row in rows)
    substitutes = {"aime", "big_bench_audio", "dcase2025", "mmau_pro"}
    assert {row["name"] for row in rows if "a substitute" in str(row["rule"])} == substitutes


@pytest.mark.parametrize(
    ("name", "said", "notes"),
    [
        ("mmau", "burp", ["the set's own rule (", "ours (choice)"]),
        ("mmau_pro", "burp", ["a substitute for the set's own scoring as far as", "ours (choice)"]),
        ("aime", "burp", ["a substitute for the set's own scoring (", "ours (math)"]),
        ("dcase2025", "B", ["ours (choice), every answer counted; a substitute for the set's own matcher"]),
    ],
)
def test_a_substitute_is_called_one(name: str, said: str, notes: list[str]) -> None:
    (result,) = measure_sets([scored("1", name, said, "x")])
    assert all(f.note.startswith(note) for f, note in zip(result.figures, notes, strict=True)), result.figures


def test_nobody_trains_on_a_public_set(model: str, tmp_path: Path) -> None:
    from rl.recipe import load

    data = {"test": {"source": "benchmark", "path": str(write_set(tmp_path / "g", "gsm8k")), "args": {"set": "gsm8k"}}}
    values = {"name": "x", "model": {"path": model}, "data": data, "reward": {"parts": [{"verifier": "benchmark"}]}}
    for stage in ({"curate": {"data": "test"}}, {"rlvr": {"data": "test", "algorithm": "grpo", "steps": 1}}):
        problems = plan(load({**values, "stages": [stage]})).problems
        assert any("a public test set" in line for line in problems), problems
    measurement = {"evaluate": {"data": "test", "temperature": 1.0, "max_sequence_tokens": 512}}
    assert plan(load({**values, "stages": [measurement]})).problems == []
