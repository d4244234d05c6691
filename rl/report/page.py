"""`report.html`: the whole run on one page that needs no network. Each section is a function from the run to HTML (empty
when the run has nothing for it); curves and samples travel as JSON and are drawn by `page.js`.

Model text is hostile until shown otherwise: here everything goes through `escape`, in JSON `<` is written `\\u003c` (so
no text can end the script element or look like a placeholder), and the script only ever sets `textContent`."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence, Set
from html import escape
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rl.report.chain_pairs import Chains, read_chains
from rl.report.chains_section import beside
from rl.report.charts import stage_charts
from rl.report.figures import BUDGETED, funnels, lineage, thinking
from rl.report.lineage import Node, read_lineage
from rl.report.players import players
from rl.report.run_data import Run, Stage, measures, paired, read_run
from rl.report.samples import sampled_rollouts
from rl.run.files import replacing
from rl.run.progress import format_clock

HERE = Path(__file__).parent
CLIP_BYTES = 1_000_000
CHAINS = (
    "Left, chains that reason from an imagined text; right, chains from the sound, with claims that are true of it. "
    "Marked: what the verdict objects to."
)
MEASURING = ("evaluate", "curate", "distill", "pairs")
"""Stages of one line of metrics: no curves."""
SHARES = (
    *("accuracy", "audio_reliance", "greedy_accuracy", "pass@", "think_rate", "truncation_rate", "vote@"),
    *("grounding", "claims_true", "surrogate_rate", "denial_rate"),
)


def write_report(run_dir: Path) -> Path:
    """Writes `report.html` (under 3.5 MB) from whatever the run has left so far. Raises ValueError for what is no run
    directory, DiskFull."""
    run = read_run(run_dir)
    nodes = read_lineage(run_dir)
    training = [stage for stage in run.stages if stage.rows and stage.kind not in MEASURING]
    order = {stage.name: place for place, stage in enumerate(run.stages)}
    samples = sorted(sampled_rollouts(run_dir), key=lambda sample: order.get(sample["stage"], len(order)))
    told = read_chains(run)
    heard = [*(name for chains in told for name in chains.clips), *(n for s in _fairly(samples) for n in s["clips"])]
    clips = players(run_dir, heard, CLIP_BYTES)
    stages = [{"name": s.name, **stage_charts(s.rows)} for s in training]
    data = {"stages": stages, "rollouts": samples, "clips": clips}
    script = (HERE / "page.js").read_text()
    filled = {
        "title": escape(run.name),
        # Only this very script may run: a handler smuggled in as markup would not.
        "policy": f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'",
        "style": (HERE / "page.css").read_text(),
        "script": script,
        "header": header(run),
        "results": results(run.evaluations),
        "curation": "".join(curation(stage) for stage in run.stages) + _story(run, nodes, told),
        "training": "".join(curves(stage, place) for place, stage in enumerate(training)),
        "rollouts": browser(samples),
        "data": json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    page = (HERE / "page.html").read_text()
    for name, content in filled.items():
        page = page.replace(f"<!--{name}-->", content)
    with replacing(run_dir / "report.html") as temporary:
        temporary.write_text(page)
    return run_dir / "report.html"


def header(run: Run) -> str:
    """Name, status, what came of it in one line, the stages along the time they took, and what it ran on."""
    seconds = "" if run.seconds is None else f"<span>{format_clock(run.seconds)}</span>"
    mood = run.status if run.status in ("done", "failed", "interrupted") else "running"
    return (
        f'<header><p class="eyebrow">Groundtone run</p><div class="title"><h1>{escape(run.name)}</h1>'
        f'<p class="status {mood}">{escape(run.status)}</p></div>'
        f"{_gain(run.evaluations)}{_timeline(run.stages, seconds)}{_environment(run)}</header>"
    )


def results(evaluations: Sequence[Stage]) -> str:
    """Evaluations side by side: a bar with its 95 % whisker wherever a metric has bounds, plain numbers elsewhere."""
    if not evaluations:
        return ""
    names = [name for name in measures(evaluations) if not BUDGETED.fullmatch(name) or name == "vote@full"]
    tops = {name: _top([stage for stage in evaluations if name in stage.metrics], name) for name in names}
    heads = "".join(f'<th scope="col">{escape(_words(name))}</th>' for name in names)
    rows = "".join(
        f'<tr><th scope="row">{escape(stage.name)}</th>'
        + "".join(f"<td>{_cell(stage, name, tops[name])}</td>" for name in names)
        + "</tr>"
        for stage in evaluations
    )
    note = "Bars: mean; whiskers: 95 % bootstrap interval over prompts."
    table = f"<table><thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return _section("results", "Results", note, f'<div class="scroll">{table}</div>')


def curation(stage: Stage) -> str:
    """How hard the prompts were: how many were answered right 0, 1, … k times of k."""
    path = stage.folder / "difficulty.parquet" if stage.folder else None
    if path is None or not path.exists():
        return ""
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(path, columns=["correct", "k", "keep"]).to_pylist()
    k = max((row["k"] for row in rows), default=0)
    counts = [sum(row["correct"] == right for row in rows) for right in range(k + 1)]
    band = {row["correct"] for row in rows if row["keep"]}
    note = (
        f"{len(rows):,} prompts, {k} samples each; {sum(counts[1:-1]):,} were right sometimes but not always, "
        f"{sum(row['keep'] for row in rows):,} are kept (darker)."
    )
    return _section(f"difficulty-{stage.name}", f"Difficulty · {stage.name}", note, _histogram(counts, band))


def curves(stage: Stage, place: int) -> str:
    """The frame of a training stage's charts; `page.js` fills it from the data at `place`."""
    steps = len({row["step"] for row in stage.rows})
    took = "unfinished" if stage.seconds is None else format_clock(stage.seconds)
    note = " · ".join(filter(None, [stage.kind, f"{steps:,} steps", took]))
    body = f'<div class="curves" data-stage="{place}" tabindex="0"></div>'
    return _section(f"stage-{stage.name}", stage.name, note, body)


def _fairly(samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The samples with stages taking turns: where sounds do not all fit on the page, every stage has some."""
    stages: dict[str, list[dict[str, Any]]] = {}
    for sample in samples:
        stages.setdefault(sample["stage"], []).append(sample)
    return [sample for turn in zip_longest(*stages.values()) for sample in turn if sample is not None]


def browser(samples: Sequence[dict[str, Any]]) -> str:
    """The frame of the sample browser; empty without samples."""
    if not samples:
        return ""
    note = f"{len(samples)} of the recorded samples: best, worst, errored and others, from steps spread over the run."
    return _section("samples", "Samples", note, '<div id="browser"></div>')


def _story(run: Run, nodes: Sequence[Node], chains: Sequence[Chains]) -> str:
    told = (
        ("thinking", "Thinking", "What is right when chains are cut after so many tokens.", thinking(run.evaluations)),
        ("funnels", "Funnels", "How many were left after each step.", funnels(nodes)),
        ("chains", "What chains rest on", CHAINS, beside(chains)),
        ("lineage", "What came of what", "Each stage under the one whose model it started from.", lineage(nodes)),
    )
    return "".join(_section(id, title, note, body) for id, title, note, body in told if body)


def _section(id: str, title: str, note: str, body: str) -> str:
    return (
        f'<section id="{escape(id)}"><div class="heading"><h2>{escape(title)}</h2><p>{escape(note)}</p></div>'
        f"{body}</section>"
    )


def _gain(evaluations: Sequence[Stage]) -> str:
    """From the first to the last evaluation over the same prompts, with the paired interval of the difference."""
    if len(evaluations) < 2 or (found := paired(evaluations[0], evaluations[-1])) is None:
        return ""
    before, after = (stage.metrics.get("accuracy", math.nan) for stage in (evaluations[0], evaluations[-1]))
    difference, low, high = (f"{100 * bound:+.1f}" for bound in found[:3])
    return (
        f'<p class="gain"><span>accuracy</span><b>{_share(before)}</b><i>→</i><b>{_share(after)}</b>'
        f"<em>{difference} points <small>95 %: {low} to {high}, {found[3]:,} prompts paired</small></em></p>"
    )


def _timeline(stages: Sequence[Stage], seconds: str) -> str:
    """Stages as blocks as wide as they were long."""
    timed = [stage for stage in stages if stage.finished]
    blocks = "".join(
        f'<li style="flex-grow:{max(stage.seconds or 0.0, 0.01):.3f}" class="{escape(stage.kind)}">'
        f"<b>{escape(stage.name)}</b><span>{format_clock(stage.seconds or 0.0)}</span></li>"
        for stage in timed
    )
    begun = "".join(
        f'<li class="begun"><b>{escape(stage.name)}</b><span>unfinished'
        f"{'' if stage.last_step is None else f', step {stage.last_step}'}</span></li>"
        for stage in stages
        if not stage.finished
    )
    total = f'<p class="total">{seconds}</p>' if seconds else ""
    return f'<div class="time">{total}<ol class="timeline">{blocks}{begun}</ol></div>' if stages else total


def _environment(run: Run) -> str:
    facts = {name: value for name, value in run.environment.items() if value and name != "packages"}
    facts |= run.environment.get("packages") or {}
    listed = "".join(f"<div><dt>{escape(str(n))}</dt><dd>{escape(str(v))}</dd></div>" for n, v in facts.items())
    return f"<details><summary>Environment</summary><dl>{listed}</dl></details>" if listed else ""


def _cell(stage: Stage, name: str, top: float) -> str:
    interval = stage.interval(name)
    if interval is None:
        return '<span class="none">–</span>'
    value, low, high = interval
    says = _share(value) if name.startswith(SHARES) else f"{value:,.4g}"
    if low is None or high is None or not all(map(math.isfinite, interval)):  # type: ignore[arg-type]
        return f'<span class="number">{says}</span>'
    x, from_, to = (f"{100 * bound / top:.2f}%" for bound in (value, low, high))
    bounds = f"{_share(low)[:-2]} – {_share(high)}" if name.startswith(SHARES) else f"{low:,.4g} – {high:,.4g}"
    return (
        f'<span class="number">{says}</span><span class="bounds">{bounds}</span>'
        f'<svg class="bar" role="img" aria-label="{says}, 95 % from {bounds}"><rect class="track" width="100%" y="3" height="8"/>'
        f'<rect class="fill" width="{x}" y="3" height="8"/><line class="whisker" x1="{from_}" x2="{to}" y1="7" y2="7"/>'
        f'<line class="whisker" x1="{from_}" x2="{from_}" y1="2" y2="12"/>'
        f'<line class="whisker" x1="{to}" x2="{to}" y1="2" y2="12"/></svg>'
    )


def _top(stages: Sequence[Stage], name: str) -> float:
    """Where the column's bars end: 1 for shares unless all are small."""
    ends = [bound for stage in stages for bound in stage.interval(name) or () if bound is not None]
    largest = max((end for end in ends if math.isfinite(end)), default=0.0)
    return next((top for top in (0.1, 0.25, 0.5, 1.0) if largest <= top), largest)


def _histogram(counts: Sequence[int], band: Set[int]) -> str:
    """Columns for 0 … k right answers; those outside the kept band are paler."""
    width, most = 100 / len(counts), max(*counts, 1)
    columns = "".join(
        f'<rect class="{"kept" if right in band else "left"}" x="{width * (right + 0.1):.2f}%" '
        f'width="{width * 0.8:.2f}%" y="{150 - 125 * count / most:.1f}" height="{125 * count / most:.1f}" rx="2"/>'
        f'<text x="{width * (right + 0.5):.2f}%" y="{144 - 125 * count / most:.1f}">{count:,}</text>'
        f'<text class="tick" x="{width * (right + 0.5):.2f}%" y="168">{right}</text>'
        for right, count in enumerate(counts)
    )
    says = ", ".join(f"{count} prompts {right} times" for right, count in enumerate(counts))
    figure = f'<svg class="histogram" role="img" aria-label="{says}">{columns}</svg>'
    return f"<figure>{figure}<figcaption>right answers of {len(counts) - 1}</figcaption></figure>"


def _words(metric: str) -> str:
    return metric.replace("_", " ").replace("/", " · ")


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"
