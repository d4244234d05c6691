"""Which chains the report sets side by side, by hand, and how it tells of them."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from test_page import HOSTILE, Page, drawn_by_chromium

from rl.report.chain_pairs import Tally, read_chains
from rl.report.page import write_report
from rl.report.run_data import read_run
from rl.run.summary import StageSummary, Summary, write_summary
from rl.run.tracker import Tracker
from rl.types import AUDIO_PATCH, Clip, Message, Scored

Sample = Callable[..., Scored]


def clip(hz: float) -> Clip:
    file = io.BytesIO()
    soundfile.write(file, 0.5 * np.sin(2 * np.pi * hz * np.arange(8000) / 16000), 16000, format="FLAC")
    return Clip(data=file.getvalue())


def judged(sample: Sample, id: str, chain: str, texts: int = 0, true: int = 0, right: bool = True) -> Scored:
    """A sample of the kind that its id begins with, of whose four claims `true` are true."""
    inner = {"claimed": 4.0 if true else 0.0, "checked": 3.0 if true else 0.0, "true": true, "surrogates": texts}
    parts = {"accuracy": float(right), "grounding": true / 3, **{f"grounding/{name}": n for name, n in inner.items()}}
    reason = f"grounding: reasons from a text: '{chain}'; format: '" if texts else ""
    made = sample(f"<think>\n{chain}\n</think>\nfirst", 1.0, id, "first", parts=parts, reason=reason)
    asked = (Message("user", f"{AUDIO_PATCH}which is higher?"),)
    prompt = replace(made.rollout.prompt, source=id[0], messages=asked, clips=(clip(200.0 + 10 * ord(id[-1])),))
    return replace(made, rollout=replace(made.rollout, prompt=prompt))


def told(run: Path, stages: dict[str, Sequence[Scored]], kind: str = "evaluate", **shares: Sequence[float]) -> Path:
    """A run whose stages recorded these samples, with the shares that their metrics tell."""
    summaries: list[StageSummary] = []
    for place, (name, samples) in enumerate(stages.items()):
        Tracker(run, name).record_rollouts(1, samples)
        folder = run / "stages" / f"{place:02d}-{name}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"id": ["a"], "asked": ["?"], "accuracy": [1.0]}), folder / "per_prompt.parquet")
        summaries.append(StageSummary(name, kind, 1.0, {share: of[place] for share, of in shares.items()}))
    write_summary(run, Summary("loop", "done", 1.0, summaries, {}))
    return run


def chosen(run: Path) -> list[list[tuple[str | None, str | None]]]:
    def name(row: dict[str, str] | None) -> str | None:
        return row and f"{row['id']}:{row['text'].split()[1]}"

    return [
        [(name(p.surrogate_row), name(p.grounded_row)) for p in chains.pairs] for chains in read_chains(read_run(run))
    ]


def test_chains_of_the_same_prompt_stand_side_by_side(tmp_path: Path, sample: Sample) -> None:
    base = [
        judged(sample, "x1", "reads", texts=1, right=False),
        judged(sample, "x1", "two", true=2),
        judged(sample, "x1", "three", true=3),
        judged(sample, "x2", "three", true=3),
        judged(sample, "x3", "says", texts=2),
        judged(sample, "x4", ""),  # no chain
        replace(judged(sample, "x5", "late", texts=1), verdict=replace(sample().verdict, error="TimeoutError")),
    ]
    run = told(tmp_path, {"base": base})
    assert chosen(run) == [[("x1:reads", "x1:three")]]
    (chains,) = read_chains(read_run(run))
    assert chains.surrogate_tally == chains.pairs[0].surrogate_tally == Tally(5, 2, 1)
    assert chains.pairs[0].grounded_tally == Tally(5, 3, 3)


def test_else_of_the_same_kind_and_questions_come_back(tmp_path: Path, sample: Sample) -> None:
    """Kinds take turns, those with the most surrogates first; one alone where there is nothing to put beside it."""
    base = [judged(sample, "x1", "reads", texts=1), judged(sample, "x2", "three", true=3)]
    base += [judged(sample, "y1", "three", true=3), judged(sample, "z1", "says", texts=1)]
    check = [judged(sample, f"x{i}", "three", true=3) for i in range(1, 9)] + [judged(sample, "y1", "empty")]
    assert chosen(told(tmp_path, {"base": base, "check": check})) == [
        [("z1:says", None), ("x1:reads", "x2:three"), (None, "y1:three")],
        [(None, "x2:three")],
    ]


def test_at_most_four_pairs_of_a_stage(tmp_path: Path, sample: Sample) -> None:
    base = [s for i in range(9) for s in (judged(sample, f"x{i}", "a", texts=1), judged(sample, f"x{i}", "b", true=1))]
    (pairs,) = chosen(told(tmp_path, {"base": base}))
    assert len(pairs) == 4
    assert all(left.split(":")[0] == right.split(":")[0] for left, right in pairs if left and right)


def test_the_page_tells_how_shares_moved_and_what_was_claimed(tmp_path: Path, sample: Sample) -> None:
    base = [
        judged(sample, "x1", "transcript reads first", texts=1),
        judged(sample, "x1", "a 220Hz", true=2, right=False),
    ]
    stages = {"base": base, "check@1": [judged(sample, "x1", "a 220Hz", true=3)]}
    page = Page(write_report(told(tmp_path, stages, surrogate_rate=[0.476, 0.0], grounding=[0.2, 1.0])))
    for says in (
        "base → check@147.6 % → 0.0 %20.0 % → 100.0 %– → –",
        "47.6 % of 2 chains reason from an imagined text",
        "0.0 % · none of 1 chains reasons from an imagined text",
        "1 of 2 chains of this kind, 100.0 % of them right",
        "1 phrase from a text · no claim about the sound",
        "4 claims about the sound · 3 measured, 2 true",
    ):
        assert says in page.text, says
    assert page.text.count("wrongfirst") == 1
    assert AUDIO_PATCH not in page.text
    assert page.tags.count("mark") == 1
    assert len(page.json["clips"]) == 1, "the sound of both stages travels once"
    if shutil.which("chromium"):
        asked = drawn_by_chromium(tmp_path / "report.html").partition('id="chains"')[2].partition("</section>")[0]
        assert asked.count("<audio") == asked.count("<img") == 2, "and is heard in both"


def test_a_distillation_tells_of_what_it_recorded(tmp_path: Path, sample: Sample) -> None:
    run = told(tmp_path, {"distill@1": [judged(sample, "x1", "a 220Hz", true=3)]}, kind="distill")
    assert "0.0 % · none of 1 recorded chains reasons from an imagined text" in Page(write_report(run)).text


def test_what_a_chain_says_is_no_markup(tmp_path: Path, sample: Sample) -> None:
    page = Page(write_report(told(tmp_path, {"base": [judged(sample, "x<b>", HOSTILE, texts=1)]})))
    assert page.tags.count("script") == 2
    assert not page.handlers
    assert HOSTILE in page.text


def test_text_has_no_such_section(tmp_path: Path, sample: Sample) -> None:
    assert read_chains(read_run(told(tmp_path, {"base": [sample()]}))) == []
    assert 'id="chains"' not in write_report(tmp_path).read_text()
