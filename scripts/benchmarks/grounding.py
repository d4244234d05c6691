"""Measures accuracy and speed of `rewards.verifiers.grounding` on claims about real recordings.

    scripts/bench grounding [--clips 300] [--json]

The recordings are fsdd/ and esc10/ in GROUNDTONE_DATA. Claims are written from the attributes of their metadata, each true
one with a false twin in the same words, with the margins that a fair question has (2 semitones, 3 dB, 20 %); each is a
chain of its own. A claim is accepted if all that the parser finds in it is true, rejected if some of it is false. The
parser was written with `own wording`; on first contact it accepted 91.7 % and rejected 92.0 % of `other wording`, 89.4 %
and 93.0 % of `third wording`; then it was extended to those phrases too.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from verifiers import DATA

from rewards.contract import Case
from rewards.grounding.acoustics import analyse, measure
from rewards.verifiers import grounding, self_cognition
from rl.audio import encode, waveform
from rl.types import Clip

Row = dict[str, Any]
TEMPLATES: dict[str, dict[str, list[str]]] = json.loads(Path(__file__).with_name("grounding_wording.json").read_text())
"""Set of wordings -> kind of claim -> templates."""
ORDINALS = ("first", "second", "third")


@dataclass(frozen=True)
class Statement:
    """A claim about clips that is true or false."""

    kind: str
    text: str
    true: bool
    clips: tuple[Clip, ...]


def read_rows(data: Path, name: str, column: str, clips: int) -> list[Row]:
    """Return `clips` random rows of a collection, with the sound of `column` as `clip`."""
    table = pq.read_table(data / name / f"{name}.parquet").to_pylist()
    sample = random.Random(name).sample(table, min(clips, len(table)))
    return [{**row, "clip": Clip(data=row[column])} for row in sample]


def semitones(a: float, b: float) -> float:
    """Return the interval from `b` to `a` (Hz)."""
    return 12 * log2(a / b)


class Writer:
    """A writer of claims in the words of one set of templates."""

    def __init__(self, wording: str, seed: int) -> None:
        self.templates, self.random = TEMPLATES[wording], random.Random(seed)

    def true_and_false(
        self, kind: str, true: dict[str, Any], false: dict[str, Any], *clips: Clip
    ) -> Iterator[Statement]:
        """Yield a true claim and a false one of the same wording."""
        template = self.random.choice(self.templates[kind])
        yield Statement(kind, template.format(**true), True, clips)
        yield Statement(kind, template.format(**false), False, clips)

    def error(self, least: float, most: float) -> float:
        """Return a random error of a size between the two, in either direction."""
        return self.random.choice((-1, 1)) * self.random.uniform(least, most)

    def single(self, row: Row) -> Iterator[Statement]:
        """Yield claims about one clip."""
        clip = row["clip"]
        level, centroid = row["rms_dbfs"], row["spectral_centroid_hz"]
        yield from self.true_and_false(
            "loudness value", {"v": round(level)}, {"v": round(level + self.error(9, 15))}, clip
        )
        wrong = centroid * 2 ** (self.error(9, 14) / 12)
        yield from self.true_and_false("brightness value", {"v": round(centroid, -2)}, {"v": round(wrong, -2)}, clip)
        if "f0_median_hz" not in row:
            return
        seconds = row["duration_s"]
        wrong = seconds * 2 ** self.error(0.7, 1.3)
        yield from self.true_and_false("duration value", {"v": f"{seconds:.2f}"}, {"v": f"{wrong:.2f}"}, clip)
        f0 = row["f0_median_hz"]
        if row["f0_reliable"]:
            wrong = f0 * 2 ** (self.error(4, 9) / 12)
            yield from self.true_and_false("pitch value", {"v": round(f0)}, {"v": round(wrong)}, clip)
            if f0 < 180:
                yield from self.true_and_false("pitch level", {"v": "low"}, {"v": "high"}, clip)
            voiced_s = row["voiced_fraction"] * (row["active_end_s"] - row["active_start_s"])
            change_st = (row["f0_slope_st_per_s"] or 0) * voiced_s
            if 3 <= abs(change_st) <= 1.5 * semitones(row["f0_p90_hz"], row["f0_p10_hz"]):
                up, down = {"ing": "rising", "es": "rises"}, {"ing": "falling", "es": "falls"}
                yield from self.true_and_false("trend", *((up, down) if change_st > 0 else (down, up)), clip)

    def pair(self, a: Row, b: Row) -> Iterator[Statement]:
        """Yield comparisons of two clips that differ by at least the margin."""
        kinds: list[tuple[str, float, str, str]] = []
        if a.get("f0_reliable") and b.get("f0_reliable"):
            kinds.append(("pitch", semitones(a["f0_median_hz"], b["f0_median_hz"]) / 2, "higher", "lower"))
        kinds.append(("loudness", (a["rms_dbfs"] - b["rms_dbfs"]) / 3, "louder", "quieter"))
        kinds.append(("duration", log2(a["duration_s"] / b["duration_s"]) / log2(1.2), "longer", "shorter"))
        brighter = log2(a["spectral_centroid_hz"] / b["spectral_centroid_hz"]) / log2(1.25)
        kinds.append(("brightness", brighter, "brighter", "darker"))
        for quantity, margins, more, less in kinds:
            if abs(margins) < 1:
                continue
            word = more if self.random.random() < 0.5 else less
            first = (margins > 0) == (word == more)
            one, two = ORDINALS[:2] if first else ORDINALS[1::-1]
            clips = (a["clip"], b["clip"])
            yield from self.true_and_false(
                f"{quantity} of two", {"a": one, "b": two, "w": word}, {"a": two, "b": one, "w": word}, *clips
            )

    def sequence(self, parts: list[Row]) -> Iterator[Statement]:
        """Yield claims about three words in one clip: their number, the loudest, a comparison of two."""
        gap = np.zeros(4000, np.float32)
        pieces = [piece for row in parts for piece in (waveform(row["clip"]), gap)][:-1]
        clip = Clip(data=encode(np.concatenate(pieces)))
        yield from self.true_and_false(
            "count", {"n": "three"}, {"n": self.random.choice(["two", "four", "five"])}, clip
        )
        order = sorted(range(3), key=lambda i: parts[i]["rms_dbfs"])
        if parts[order[2]]["rms_dbfs"] - parts[order[1]]["rms_dbfs"] > 3:
            yield from self.true_and_false("loudest", {"a": ORDINALS[order[2]]}, {"a": ORDINALS[order[0]]}, clip)
        i, j = self.random.sample(range(3), 2)
        if all(parts[k]["f0_reliable"] for k in (i, j)):
            interval = semitones(parts[i]["f0_median_hz"], parts[j]["f0_median_hz"])
            if abs(interval) > 2:
                names = {"a": ORDINALS[i], "b": ORDINALS[j]}
                words = ({**names, "w": "higher"}, {**names, "w": "lower"})
                yield from self.true_and_false("pitch in sequence", *(words if interval > 0 else words[::-1]), clip)


def write_statements(wording: str, fsdd: list[Row], esc10: list[Row]) -> list[Statement]:
    """Return claims about single clips, pairs and sequences."""
    writer = Writer(wording, seed=1)
    statements: list[Statement] = []
    for row in [*fsdd, *esc10]:
        statements += writer.single(row)
    for collection in (fsdd, esc10):
        for a, b in pairwise(collection):
            statements += writer.pair(a, b)
    for i in range(0, len(fsdd) - 2, 3):
        statements += writer.sequence(fsdd[i : i + 3])
    return statements


def judge(statement: Statement) -> bool | None:
    """Return whether the verifier finds the claim true, or None if it checks nothing in it."""
    rollout = Case(f"<think>\n{statement.text}\n</think>\nA", None, clips=statement.clips).rollout()
    parts = grounding.verify(rollout.prompt, rollout).parts
    return None if not parts["checked"] else parts["true"] == parts["checked"]


def measure_accuracy(statements: list[Statement], show: int) -> dict[str, Any]:
    """Return acceptance and rejection rates by kind of claim; print up to `show` misjudged claims of each."""
    table: dict[str, Counter[tuple[bool, bool | None]]] = defaultdict(Counter)
    printed = Counter[tuple[str, bool]]()
    for statement in statements:
        verdict = judge(statement)
        table[statement.kind][statement.true, verdict] += 1
        if verdict is not statement.true and printed[statement.kind, statement.true] < show:
            printed[statement.kind, statement.true] += 1
            print(f"    {statement.true} read as {verdict}: {statement.text}")
    result: dict[str, Any] = {}
    for kind, cells in [*table.items(), ("all", sum(table.values(), Counter()))]:
        true, false = (sum(n for (t, _), n in cells.items() if t is truth) for truth in (True, False))
        result[kind] = {
            "claims": true + false,
            "true accepted": round(cells[True, True] / true, 4),
            "false rejected": round(cells[False, False] / false, 4),
            "left open": cells[True, None] + cells[False, None],
        }
    return result


def measure_pitch(data: Path) -> dict[str, Any]:
    """Return the share of fsdd's clips whose measured pitch is within a semitone of its metadata."""
    errors_st: list[float] = []
    for row in pq.read_table(data / "fsdd" / "fsdd.parquet").to_pylist():
        if row["f0_reliable"]:
            sound = measure(Clip(data=row["audio_flac"])).whole
            errors_st.append(abs(semitones(sound.f0_hz, row["f0_median_hz"])) if sound and sound.f0_hz else 99.0)
    return {"clips": len(errors_st), "within a semitone": round(float(np.mean(np.array(errors_st) <= 1)), 4)}


def measure_speed(fsdd: list[Row], esc10: list[Row]) -> dict[str, float]:
    """Return chains per second on one core, for 16 chains of each prompt with two clips, of which the first measures the
    clips; and milliseconds to measure a clip."""
    chain = (
        "Let me listen closely. The first clip has a low pitch of about 120 Hz, and its contour is falling. It lasts "
        "0.45 s and is rather quiet, near -25 dB. The second clip is clearly higher in pitch than the first one, at "
        "roughly 150 Hz, and it is louder and brighter as well; its timbre is nasal. Comparing the two, the second is "
        "longer and the first is darker. I hear no background noise. So the answer must be the second clip."
    )
    pairs = [(a["clip"], b["clip"]) for a, b in zip(fsdd[::2], fsdd[1::2], strict=False)][:40]
    from rewards.grounding import acoustics

    acoustics.clear_cache()
    start = time.process_time()
    for pair in pairs:
        rollout = Case(f"<think>\n{chain}\n</think>\nB", None, clips=pair).rollout()
        for _ in range(16):
            grounding.verify(rollout.prompt, rollout)
    seconds = time.process_time() - start
    costs: dict[str, float] = {}
    for name, collection in (("fsdd", fsdd), ("esc10", esc10)):
        samples = [waveform(row["clip"]) for row in collection[:40]]
        start = time.process_time()
        for samples_of_clip in samples:
            analyse(samples_of_clip)
        costs[f"ms to measure a clip of {name}"] = round((time.process_time() - start) / len(samples) * 1e3, 1)
    return {"chains a second": round(16 * len(pairs) / seconds, 1), **costs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--clips", type=int, default=300, help="of each collection")
    parser.add_argument("--show", type=int, default=0, help="misjudged claims of each kind to print")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    fsdd = read_rows(args.data, "fsdd", "audio_flac", args.clips)
    esc10 = read_rows(args.data, "esc10", "audio_ogg", args.clips)
    report: dict[str, Any] = {"pitch": measure_pitch(args.data)}
    for wording in TEMPLATES:
        report[wording] = measure_accuracy(write_statements(wording, fsdd, esc10), args.show)
    right = [
        (self_cognition.find_denial(r["text"]) is not None) == r["denies"] for r in self_cognition.read_phrasings()
    ]
    report["self_cognition"] = {"phrasings": len(right), "right": round(sum(right) / len(right), 4)}
    report["speed"] = measure_speed(fsdd, esc10)
    if args.json:
        print(json.dumps(report))
        return
    for part, figures in report.items():
        print(part)
        for name, value in figures.items():
            print(f"  {name:32} {value}")


if __name__ == "__main__":
    main()
