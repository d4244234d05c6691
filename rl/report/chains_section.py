"""The page's section on the grounding of chains: shares over the stages, then chains side by side.

Everything that comes from a run goes through `escape`. `page.js` adds the audio players, from clips that the page holds
once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rl.data.rows import fail
from rl.report.chain_pairs import Chains, Pair, Row, Tally, is_correct
from rl.report.markup import escape
from rl.report.run_data import Stage, group_by_prompts
from rl.report.samples import shorten
from rl.run.tracker import Refuse
from rl.think import split_think
from rl.types import AUDIO_PATCH

SHARES = {
    "surrogate_rate": "chains from an imagined text",
    "grounding": "grounding",
    "claims_true": "claims that are true",
}
"""Metric of an evaluation -> its column."""
MAX_CHARACTERS, MAX_CHAIN_CHARACTERS = 200_000, 1500
"""Most characters of all chains together, and of one."""
NO_PAIRS = '<p class="none">No chain makes a true claim about the sound either.</p>'
ARROW = " <i>→</i> "


def render_chains(all_chains: Sequence[Chains], refuse: Refuse = fail) -> str:
    """Return the section's HTML; empty if no stage judged its chains. `refuse` gets a ValueError for a file that cannot be
    read."""
    if not all_chains:
        return ""
    measured_stages = [chains.stage for chains in all_chains if "surrogate_rate" in chains.stage.metrics]
    tracks = group_by_prompts(measured_stages, refuse)
    longest = max(tracks, key=len, default=[])  # the first of them where several are as long
    open_names = {stage.name for stage in (*longest[:1], *longest[-1:])}  # before and after: what changed
    if not open_names:
        open_names = {all_chains[0].stage.name}
    # All chains share the characters that the page can hold.
    number_of_rows = sum(len(pair.rows) for chains in all_chains for pair in chains.pairs)
    limit = min(MAX_CHAIN_CHARACTERS, MAX_CHARACTERS // max(number_of_rows, 1))
    stages = "".join(_render_stage(chains, chains.stage.name in open_names, limit) for chains in all_chains)
    return f'{_render_shares(tracks)}<div class="chains">{stages}</div>'


def _render_shares(tracks: Sequence[Sequence[Stage]]) -> str:
    """Return a table with a row for each group of stages with the same prompts, whose numbers can be compared."""
    if not tracks:
        return ""
    heads = "".join(f'<th scope="col">{escape(title)}</th>' for title in SHARES.values())
    rows = ""
    for track in tracks:
        names = ARROW.join(escape(stage.name) for stage in track)
        cells = [ARROW.join(_format_share(stage.metrics.get(metric)) for stage in track) for metric in SHARES]
        rows += f'<tr><th scope="row">{names}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
    return (
        f'<div class="scroll"><table class="tracks"><thead><tr><th scope="col">stages with the same prompts</th>{heads}'
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _render_stage(chains: Chains, is_open: bool, limit: int) -> str:
    tally, rate = chains.surrogate_tally, chains.stage.metrics.get("surrogate_rate")
    if rate is None:  # a distillation, which records only some of its samples
        share, number = _format_percent(tally.count, tally.chains), f"{tally.chains:,} recorded chains"
    else:
        share, number = f"{100 * rate:.1f} %", f"{tally.chains:,} chains"
    if tally.count:
        text = f"{share} of {number} reason from an imagined text"
    else:
        text = f"{share} · none of {number} reasons from an imagined text"
    pairs = "".join(_render_pair(pair, limit) for pair in chains.pairs)
    return (
        f"<details{' open' if is_open else ''}><summary><b>{escape(chains.stage.name)}</b><span>{escape(text)}</span>"
        f"</summary>{pairs or NO_PAIRS}</details>"
    )


def _render_pair(pair: Pair, limit: int) -> str:
    question = '<p class="apart">Two prompts from this source.</p>'
    if pair.same_prompt:
        question = _render_question(pair.rows[0], limit)
    sides = (
        ("surrogate", "From an imagined text", pair.surrogate_row, pair.surrogate_tally),
        ("grounded", "From the sound", pair.grounded_row, pair.grounded_tally),
    )
    return (
        f'<article class="pair"><div class="question"><h4>{escape(pair.source or "question")}</h4>{question}</div>'
        f"{''.join(_render_side(*side, pair.same_prompt, limit) for side in sides)}</article>"
    )


def _render_question(row: Row, limit: int) -> str:
    # A player takes the place of the audio.
    text = shorten(row["prompt"].replace(AUDIO_PATCH, "").strip(), limit // 2) or ""
    gold = ""
    if row["answer"] is not None:
        gold = f'<p class="gold">gold: {escape(shorten(row["answer"], limit // 4) or "")}</p>'
    names = " ".join(row.get("clips") or ())
    return f'<pre>{escape(text)}</pre>{gold}<div class="clips" data-clips="{escape(names)}"></div>'


def _render_side(css_class: str, title: str, row: Row | None, tally: Tally, same_prompt: bool, limit: int) -> str:
    share = f"{tally.count:,} of {tally.chains:,} chains of this kind"
    if tally.count:
        share += f", {_format_percent(tally.correct, tally.count)} of them right"
    head = f"<h4>{escape(title)}</h4><p>{escape(share)}</p>"
    if row is None:
        return f'<div class="side absent {css_class}">{head}<p class="none">None.</p></div>'
    chain, response = split_think(row["text"])
    reason = _grounding_reason(row)
    verdict = "right" if is_correct(row) else "wrong"
    question = "" if same_prompt else f'<div class="question">{_render_question(row, limit)}</div>'
    notes = "".join(f"<p>{escape(text)}</p>" for text in (_describe_claims(row), shorten(reason, limit // 4)) if text)
    chain = _mark_quotation(shorten(chain, limit) or "", reason)
    answer = escape(shorten(response, limit // 2) or "(no answer)")
    return (
        f'<div class="side {css_class}">{head}{question}<pre class="chain">{chain}</pre>'
        f'<div class="answer"><b class="{verdict}">{verdict}</b><pre>{answer}</pre></div>'
        f'<div class="notes">{notes}</div></div>'
    )


def _describe_claims(row: Row) -> str:
    """Return the counts of the verdict's parts in words."""
    claims, measured_claims, true_claims, texts = (
        round(row.get(f"part/grounding/{name}") or 0) for name in ("claimed", "checked", "true", "surrogates")
    )
    words = [f"{texts} {'phrase' if texts == 1 else 'phrases'} from a text"] if texts else []
    if not claims:
        return " · ".join([*words, "no claim about the sound"])
    words.append(f"{claims} {'claim' if claims == 1 else 'claims'} about the sound")
    words.append(f"{measured_claims} measured, {true_claims} true" if measured_claims else "none that can be measured")
    return " · ".join(words)


def _grounding_reason(row: Row) -> str:
    """Return the reason that the verdict gives for `grounding`, without those of its other parts."""
    # A reason reads `grounding: …; format: …`, with the names of the parts, which are columns `part/NAME`.
    names = "|".join(re.escape(name[5:]) for name in row if name.startswith("part/") and "/" not in name[5:])
    match = re.search(rf"(?:^|; )grounding: (.*?)(?:; (?:{names}): |\Z)", row["reason"], re.DOTALL)
    return match[1] if match else ""


def _mark_quotation(chain: str, reason: str) -> str:
    """Return the chain as HTML, with the first passage marked that the verdict's reason quotes."""
    for quotation in re.findall(r"'([^']+)'", reason):
        start = chain.lower().find(quotation.lower())
        if start >= 0:
            end = start + len(quotation)
            return f"{escape(chain[:start])}<mark>{escape(chain[start:end])}</mark>{escape(chain[end:])}"
    return escape(chain)


def _format_share(value: float | None) -> str:
    return "–" if value is None else f"<b>{100 * value:.1f} %</b>"


def _format_percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %"
