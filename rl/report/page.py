"""`report.html`: the whole run on one page that needs no network.

Each section is a function from the run to HTML, empty if the run has nothing for it. Curves and samples are stored in
the page as JSON and drawn by `page.js`.

Text of a model may hold markup: here everything goes through `escape`, in the JSON `<` is written `\\u003c` (so no text
can end the script element or look like a placeholder), and the script sets text through `textContent` alone.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path

from rl.data.arrow import read_columns
from rl.data.rows import fail
from rl.report.benchmark_results import render_section
from rl.report.chain_pairs import Chains, read_chains
from rl.report.chains_section import render_chains
from rl.report.charts import build_charts
from rl.report.faithful_table import NOTE, render_faithful
from rl.report.figures import BUDGET_METRIC, render_funnels, render_histogram, render_lineage, render_thinking
from rl.report.header import render_header
from rl.report.lineage import Node, read_lineage
from rl.report.markup import escape, format_share, to_json
from rl.report.players import render_players
from rl.report.run_data import Run, Stage, list_metrics, read_run
from rl.report.samples import Row, choose_samples
from rl.run.files import replacing
from rl.run.progress import format_clock
from rl.run.tracker import Refuse
from rl.stages.faithfulness import CELLS, HALVES
from rl.stages.registry import filters_rows, measures_model

HERE = Path(__file__).parent
MAX_CLIP_BYTES = 1_000_000
"""About how much of the page the audio players may take, as base64."""
MAX_BARS = 4096
"""Most samples of a prompt of which a histogram is drawn."""
CHAINS_NOTE = (
    "Left: chains that reason from an imagined text. Right: chains that make true claims about the sound. "
    "Marked: the passage that the verifier objects to."
)
SHARE_METRICS = (
    *("accuracy", "audio_reliance", "greedy_accuracy", "pass@", "think_rate", "truncation_rate", "vote@"),
    *("grounding", "claims_true", "surrogate_rate", "denial_rate"),
    *("right_in_all_orders", "text_changes", "second_chain", *CELLS, *HALVES),
)
"""Beginnings of the metrics that are shares of 1, shown as percentages."""


def has_one_line(kind: str) -> bool:
    """Return whether stages of that kind write a single line of metrics, so that there is no curve to draw."""
    return filters_rows(kind) or measures_model(kind)


def write_report(run_dir: Path, say: Callable[[str], None] = print) -> Path:
    """Write `report.html` (under 3.5 MB) from what the run has recorded so far, and return its path. What cannot be read is
    left out, and `say` gets a line about it.

    Raises ValueError if `run_dir` holds no run, and DiskFull.
    """
    damage: list[str] = []

    def refuse(error: ValueError) -> None:
        if str(error) not in damage:  # several sections read the same file
            damage.append(str(error))
            say(f"warning: {error}; the report is without it")

    run = read_run(run_dir, refuse)
    nodes = read_lineage(run_dir, refuse)
    training = [stage for stage in run.stages if stage.rows and not has_one_line(stage.kind)]
    order = {stage.name: i for i, stage in enumerate(run.stages)}
    samples = sorted(choose_samples(run_dir, refuse), key=lambda sample: order.get(sample["stage"], len(order)))
    chains = read_chains(run, refuse)
    # Not all clips may fit on the page: those of the chains are first, then every stage's samples take turns.
    clips = [name for stage_chains in chains for name in stage_chains.clips]
    for sample in _interleave_stages(samples):
        clips += [*sample["clips"], *(name for exchange in sample["exchanges"] for name in exchange["clips"])]
    data = {
        "stages": [{"name": stage.name, **build_charts(stage.rows)} for stage in training],
        "rollouts": samples,
        "clips": render_players(run_dir, clips, MAX_CLIP_BYTES, refuse),
    }
    script = (HERE / "page.js").read_text()
    contents = {
        "title": escape(run.name),
        # The content security policy runs this script alone, so no handler in injected markup would run.
        "policy": f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'",
        "style": (HERE / "page.css").read_text(),
        "script": script,
        "status": escape(run.status),
        "header": render_header(run, refuse),
        "results": render_results(run.evaluations),
        "curation": "".join(render_difficulty(stage, refuse) for stage in run.stages)
        + _render_figures(run, nodes, chains, refuse),
        "training": "".join(render_curves(stage, i) for i, stage in enumerate(training)),
        "rollouts": render_browser(samples),
        "data": to_json(data),
    }
    # Placeholders are `<!--name-->`. No content can hold one: `escape` and the JSON leave no `<` of a run as it is.
    page = (HERE / "page.html").read_text()
    for name, content in contents.items():
        page = page.replace(f"<!--{name}-->", content)
    with replacing(run_dir / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")  # a text may hold half a surrogate pair
    return run_dir / "report.html"


def render_results(evaluations: Sequence[Stage]) -> str:
    """Return a panel for each metric, with a row for each evaluation: a bar with a 95 % whisker where the metric has bounds,
    plain numbers elsewhere. Panels fill the page's width, however many there are, and none is wider than it."""
    if not evaluations:
        return ""
    # Metrics of thinking budgets have their own section.
    names = [name for name in list_metrics(evaluations) if not BUDGET_METRIC.fullmatch(name) or name == "vote@full"]
    names.sort(key=lambda name: not any(f"{name}/low" in stage.metrics for stage in evaluations))  # bars come first
    panels = "".join(_render_panel([stage for stage in evaluations if name in stage.metrics], name) for name in names)
    note = "Bars: mean; whiskers: 95 % bootstrap interval over prompts."
    return _render_section("results", "Results", note, f'<div class="panels">{panels}</div>')


def _render_panel(stages: Sequence[Stage], name: str) -> str:
    """Return the table of one metric over the evaluations that have it."""
    scale = _full_scale(stages, name)
    rows = "".join(
        f'<tr><th scope="row">{escape(stage.name)}</th><td>{_render_cell(stage, name, scale)}</td></tr>'
        for stage in stages
    )
    return f"<table><caption>{escape(_to_words(name))}</caption><tbody>{rows}</tbody></table>"


def render_difficulty(stage: Stage, refuse: Refuse = fail) -> str:
    """Return a histogram of a curation: the number of prompts with 0, 1, … k correct answers of k."""
    path = stage.folder / "difficulty.parquet" if stage.folder else None
    if path is None or not os.path.lexists(path):
        return ""
    try:
        rows = read_columns(path, {"correct": "whole", "k": "whole", "keep": "flag"})
        if any(not 0 <= row["correct"] <= row["k"] <= MAX_BARS for row in rows):
            raise ValueError(f"{path}: counts of answers are out of range; write it again")
    except ValueError as error:
        refuse(error)
        return ""
    k = max((row["k"] for row in rows), default=0)  # 0 for a file without prompts
    counts = [sum(row["correct"] == correct for row in rows) for correct in range(k + 1)]
    band = {row["correct"] for row in rows if row["keep"]}  # the numbers of correct answers that `keep` allows
    note = (
        f"{len(rows):,} prompts, {k} samples each; {sum(counts[1:-1]):,} were solved sometimes but not always, "
        f"{sum(row['keep'] for row in rows):,} are kept (darker)."
    )
    return _render_section(
        f"difficulty-{stage.name}", f"Difficulty · {stage.name}", note, render_histogram(counts, band)
    )


def render_curves(stage: Stage, index: int) -> str:
    """Return the frame of a training stage's charts; `page.js` fills it from the `index`-th stage of the data."""
    steps = len({row["step"] for row in stage.rows})
    duration = "unfinished" if stage.seconds is None else format_clock(stage.seconds)
    note = " · ".join(filter(None, [stage.kind, f"{steps:,} steps", duration]))
    body = f'<div class="curves" data-stage="{index}" tabindex="0"></div>'
    return _render_section(f"stage-{stage.name}", stage.name, note, body)


def _interleave_stages(samples: Sequence[Row]) -> list[Row]:
    """Return the samples with the stages taking turns."""
    stages: dict[str, list[Row]] = {}
    for sample in samples:
        stages.setdefault(sample["stage"], []).append(sample)
    return [sample for turn in zip_longest(*stages.values()) for sample in turn if sample is not None]


def render_browser(samples: Sequence[Row]) -> str:
    """Return the frame of the sample browser; empty without samples."""
    if not samples:
        return ""
    picks = [pick for pick in ("best", "worst", "errored") if any(sample["pick"] == pick for sample in samples)]
    chosen = f": {', '.join(picks)} and others" if picks else ""
    note = f"{len(samples)} of the recorded samples{chosen}, from steps spread over the run."
    return _render_section("samples", "Samples", note, '<div id="browser"></div>')


def _render_figures(run: Run, nodes: Sequence[Node], chains: Sequence[Chains], refuse: Refuse) -> str:
    thinking_note = "Accuracy with chains of thought cut after a number of tokens."
    funnels_note = "Prompts or samples left after each step of a stage that filters."
    lineage_note = "Each stage under the stage whose model it started from; ← its other inputs."
    sets_note = "Public sets by their own rules and by ours, with 95 % intervals; in italics the items of each group."
    sections = (
        ("benchmarks", "Public sets", sets_note, render_section(run.evaluations, refuse)),
        ("faithful", "Faithful or lucky", NOTE, render_faithful(run.evaluations)),
        ("thinking", "Thinking budgets", thinking_note, render_thinking(run.evaluations)),
        ("funnels", "Filters", funnels_note, render_funnels(nodes)),
        ("chains", "Grounding of chains", CHAINS_NOTE, render_chains(chains, refuse)),
        ("lineage", "Lineage", lineage_note, render_lineage(nodes)),
    )
    return "".join(_render_section(id, title, note, body) for id, title, note, body in sections if body)


def _render_section(id: str, title: str, note: str, body: str) -> str:
    return (
        f'<section id="{escape(id)}"><div class="heading"><h2>{escape(title)}</h2><p>{escape(note)}</p></div>'
        f"{body}</section>"
    )


def _render_cell(stage: Stage, name: str, full_scale: float) -> str:
    interval = stage.interval(name)
    if interval is None:
        return '<span class="none">–</span>'
    value, low, high = interval
    is_share = name.startswith(SHARE_METRICS)
    number = format_share(value) if is_share else f"{value:,.4g}"
    # NaN: an evaluation without prompts.
    if low is None or high is None or not all(map(math.isfinite, (value, low, high))):
        return f'<span class="number">{number}</span>'
    bounds = f"{100 * low:.1f} – {format_share(high)}" if is_share else f"{low:,.4g} – {high:,.4g}"
    # Positions in percent, because the width of a column is known to the browser alone.
    # A difference below 0 has no bar.
    x, x_low, x_high = (f"{100 * max(bound, 0.0) / full_scale:.2f}%" for bound in (value, low, high))
    return (
        f'<span class="number">{number}</span><span class="bounds">{bounds}</span>'
        f'<svg class="bar" role="img" aria-label="{number}, 95 % interval {bounds}"><rect class="track" width="100%" y="3" height="8"/>'
        f'<rect class="fill" width="{x}" y="3" height="8"/><line class="whisker" x1="{x_low}" x2="{x_high}" y1="7" y2="7"/>'
        f'<line class="whisker" x1="{x_low}" x2="{x_low}" y1="2" y2="12"/>'
        f'<line class="whisker" x1="{x_high}" x2="{x_high}" y1="2" y2="12"/></svg>'
    )


def _full_scale(stages: Sequence[Stage], name: str) -> float:
    """Return the value of a bar of full width: the smallest of 0.1, 0.25, 0.5 and 1 that holds all, else the largest."""
    ends = [bound for stage in stages for bound in stage.interval(name) or () if bound is not None]
    largest = max((end for end in ends if math.isfinite(end)), default=0.0)  # a NaN bound sets no scale
    return next((scale for scale in (0.1, 0.25, 0.5, 1.0) if largest <= scale), largest)


def _to_words(metric: str) -> str:
    return metric.replace("_", " ").replace("/", " · ")
