"""The page's section on what chains rest on: the shares over the stages, then chains side by side. Players are drawn by
`page.js` from the clips that the page carries once; everything that comes from a run goes through `escape`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from rl.report.chain_pairs import Chains, Pair, Row, Tally, right
from rl.report.run_data import Stage, same_prompts
from rl.report.samples import clipped
from rl.types import AUDIO_PATCH, split_think

SHARES = {
    "surrogate_rate": "chains from an imagined text",
    "grounding": "grounding",
    "claims_true": "claims that are true",
}
CHARACTERS, LONGEST = 200_000, 1500
"""Of all chains together, and of one."""
NOTHING = '<p class="none">Nor does any claim what is true of the sound.</p>'
_TEXT, _SOUND = "From an imagined text", "From the sound"


def beside(told: Sequence[Chains]) -> str:
    """Empty when no stage judged its chains."""
    if not told:
        return ""
    tracks = same_prompts([chains.stage for chains in told if "surrogate_rate" in chains.stage.metrics])
    longest = max(tracks, key=len, default=[])  # the first of them, where several are as long
    opened = {stage.name for stage in (*longest[:1], *longest[-1:])} or {told[0].stage.name}
    limit = min(LONGEST, CHARACTERS // max(sum(len(pair.rows) for chains in told for pair in chains.pairs), 1))
    stages = "".join(_stage(chains, chains.stage.name in opened, limit) for chains in told)
    return f'{_shares(tracks)}<div class="chains">{stages}</div>'


def _shares(tracks: Sequence[Sequence[Stage]]) -> str:
    """A row for stages that were asked the same, so that their numbers can be compared."""
    if not tracks:
        return ""
    heads = "".join(f'<th scope="col">{escape(says)}</th>' for says in SHARES.values())
    rows = "".join(
        f'<tr><th scope="row">{" <i>→</i> ".join(escape(stage.name) for stage in track)}</th>'
        + "".join(
            f"<td>{' <i>→</i> '.join(_share(stage.metrics.get(name)) for stage in track)}</td>" for name in SHARES
        )
        + "</tr>"
        for track in tracks
    )
    return (
        f'<div class="scroll"><table class="tracks"><thead><tr><th scope="col">stages with the same prompts</th>{heads}'
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _stage(chains: Chains, opened: bool, limit: int) -> str:
    found, rate = chains.surrogates, chains.stage.metrics.get("surrogate_rate")
    share = _percent(found.count, found.chains) if rate is None else f"{100 * rate:.1f} %"
    number = f"{found.chains:,}{' recorded' if rate is None else ''} chains"
    told = f"of {number} reason" if found.count else f"· none of {number} reasons"
    says = f"{share} {told} from an imagined text"
    pairs = "".join(_pair(pair, limit) for pair in chains.pairs)
    return (
        f"<details{' open' if opened else ''}><summary><b>{escape(chains.stage.name)}</b><span>{escape(says)}</span>"
        f"</summary>{pairs or NOTHING}</details>"
    )


def _pair(pair: Pair, limit: int) -> str:
    asked = _asked(pair.rows[0], limit) if pair.together else '<p class="apart">Two questions of this kind.</p>'
    return (
        f'<article class="pair"><div class="asked"><h4>{escape(pair.source or "question")}</h4>{asked}</div>'
        f"{_side('surrogate', _TEXT, pair.surrogate, pair.surrogates, pair.together, limit)}"
        f"{_side('grounded', _SOUND, pair.grounded, pair.groundeds, pair.together, limit)}</article>"
    )


def _asked(row: Row, limit: int) -> str:
    question = clipped(row["prompt"].replace(AUDIO_PATCH, "").strip(), limit // 2) or ""
    gold = (
        "" if row["answer"] is None else f'<p class="gold">gold: {escape(clipped(row["answer"], limit // 4) or "")}</p>'
    )
    names = " ".join(row.get("clips") or ())
    return f'<pre>{escape(question)}</pre>{gold}<div class="clips" data-clips="{escape(names)}"></div>'


def _side(kind: str, title: str, row: Row | None, tally: Tally, together: bool, limit: int) -> str:
    answered = f", {_percent(tally.right, tally.count)} of them right" if tally.count else ""
    share = f"{tally.count:,} of {tally.chains:,} chains of this kind{answered}"
    head = f"<h4>{escape(title)}</h4><p>{escape(share)}</p>"
    if row is None:
        return f'<div class="side absent {kind}">{head}<p class="none">None.</p></div>'
    chain, response = split_think(row["text"])
    reason = _reason(row)
    verdict = "right" if right(row) else "wrong"
    asked = "" if together else f'<div class="asked">{_asked(row, limit)}</div>'
    told = "".join(f"<p>{escape(says)}</p>" for says in (_told(row), clipped(reason, limit // 4)) if says)
    answer = escape(clipped(response, limit // 2) or "(no answer)")
    return (
        f'<div class="side {kind}">{head}{asked}<pre class="chain">{_marked(clipped(chain, limit) or "", reason)}</pre>'
        f'<div class="answer"><b class="{verdict}">{verdict}</b><pre>{answer}</pre></div><div class="told">{told}</div></div>'
    )


def _told(row: Row) -> str:
    """The verdict's parts in plain words."""
    claimed, checked, true, texts = (
        round(row.get(f"part/grounding/{name}") or 0) for name in ("claimed", "checked", "true", "surrogates")
    )
    says = [f"{texts} {'phrase' if texts == 1 else 'phrases'} from a text"] if texts else []
    if not claimed:
        return " · ".join([*says, "no claim about the sound"])
    claims = f"{claimed} {'claim' if claimed == 1 else 'claims'} about the sound"
    return " · ".join([*says, claims, f"{checked} measured, {true} true" if checked else "none that can be measured"])


def _reason(row: Row) -> str:
    """What the verdict says of the grounding, without what it says of other parts."""
    names = "|".join(re.escape(name[5:]) for name in row if name.startswith("part/") and "/" not in name[5:])
    said = re.search(rf"(?:^|; )grounding: (.*?)(?:; (?:{names}): |\Z)", row["reason"], re.DOTALL)
    return said[1] if said else ""


def _marked(chain: str, reason: str) -> str:
    """The chain with what the verdict quotes of it set off."""
    for quoted in re.findall(r"'([^']+)'", reason):
        place = chain.lower().find(quoted.lower())
        if place >= 0:
            before, said, after = chain[:place], chain[place : place + len(quoted)], chain[place + len(quoted) :]
            return f"{escape(before)}<mark>{escape(said)}</mark>{escape(after)}"
    return escape(chain)


def _share(value: float | None) -> str:
    return "–" if value is None else f"<b>{100 * value:.1f} %</b>"


def _percent(count: int, whole: int) -> str:
    return f"{100 * count / whole:.1f} %"
