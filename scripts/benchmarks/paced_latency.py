"""Measures the latency of paced answers: tokens and seconds before the first word, for each mode (docs/realtime.md).

.venv/bin/python scripts/benchmarks/paced_latency.py MODEL [--think 80] [--speak 20] [--questions N] [--audio CLIP] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean, median
from typing import Any, get_args

from rl.conversation.engine import LocalEngine
from rl.realtime.engine import PacedEngine
from rl.realtime.stream import End, Question
from rl.stages.paced_answer import Mode, Pace
from rl.types import AUDIO_PATCH, Clip, Message

ASKED = (
    "A farmer has 17 sheep, buys 5 more and sells 9. How many are left?",
    "What is 12 times 7?",
    "Tom reads 8 pages a day. How many pages does he read in two weeks?",
    "Which is heavier, a kilogram of iron or a kilogram of feathers?",
)


def measure(
    engine: LocalEngine, pace: Pace, questions: int, most_tokens: int, clips: tuple[Clip, ...]
) -> dict[str, Any]:
    """Return medians and means of answers to questions that are asked one at a time, none of them asked before."""
    paced, figures = PacedEngine(engine.worker, engine.chat, pace), list[dict[str, Any]]()
    try:
        for number in range(questions):
            engine.worker.engine.reset_prefix_cache()  # a mode must not profit from what another has computed
            messages = [Message("user", AUDIO_PATCH * len(clips) + ASKED[number % len(ASKED)])]
            tokens = tuple(engine.chat.prompt(messages, clips))
            length = len(engine.chat.prompt(messages, clips, expand=True))
            answering = paced.ask(Question(f"q{number}", tokens, length, most_tokens, 0.7, seed=number, clips=clips))
            while not isinstance(event := answering.events.get(timeout=300), End):
                pass
            figures.append(event.figures)
    finally:
        paced.close()
    names = ("tokens_before", "first_token_s", "thought_tokens", "answer_tokens", "turns", "prefill_tokens")
    names += ("cached_tokens", "thought_tokens_per_s", "real_time_factor", "stall_s")
    values = {name: [f[name] for f in figures if f[name] is not None] for name in names}
    return {
        name: round(median(v) if name.endswith("_s") or "factor" in name else mean(v), 3) if v else None
        for name, v in values.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--think", type=int, default=80)
    parser.add_argument("--speak", type=int, default=20)
    parser.add_argument("--questions", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    engine = LocalEngine(arguments.model, True)
    clips = (Clip(data=arguments.audio.read_bytes()),) if arguments.audio else ()
    measure(engine, Pace("wo", arguments.think, arguments.speak), 1, 8, clips)  # the first question warms up
    table: dict[str, Any] = {}
    for mode in get_args(Mode):
        pace = Pace(mode, arguments.think, arguments.speak)
        table[mode] = measure(engine, pace, arguments.questions, arguments.tokens, clips)
        print(mode, json.dumps(table[mode]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
