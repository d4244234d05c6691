"""`rl serve` and `rl talk`: a model that answers while it thinks, behind an address or on a page."""

from __future__ import annotations

from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run's directory, a model's folder, or a name.")]
PaceMode = Annotated[
    str,
    typer.Option(
        metavar="MODE",
        help="think_first: the first words wait for one segment of the chain. speak_first: for none. tbs: for all of it. wo: no chain.",
    ),
]
ThinkTokens = Annotated[int, typer.Option("--think", min=1, help="Tokens of a segment of the chain.")]
SpeakTokens = Annotated[int, typer.Option("--speak", min=1, help="Tokens that are said for each segment.")]
Temperature = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=2.0,
        help="Of questions that name none; 0 is greedy (default: as generation_config.json says, or 0.7).",
    ),
]
MostTokens = Annotated[
    int | None, typer.Option(min=2, help="Tokens of the longest conversation (default: the model's).")
]
Streams = Annotated[int, typer.Option(min=1, help="Answers that are written at once.")]
Waiting = Annotated[int, typer.Option(min=0, help="Questions that wait for a place; more get HTTP 429.")]
SpeechRate = Annotated[
    float, typer.Option(min=0.01, help="Tokens that are spoken in a second, for the real-time factor.")
]
Voice = Annotated[
    str,
    typer.Option(
        help="auto (espeak-ng where it is installed), none, an http address, or a command: text on stdin, WAV on stdout."
    ),
]
Host = Annotated[str, typer.Option(help="Address to listen on; any but this machine's own is open to others.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")]
RATE = 6.25
"""The paper's: 20 tokens of text have 80 of sound, which play at 25 a second."""
PAGE_STREAMS = 4
"""Answers at a time of a page that one person looks at."""


def serve(
    model: Model,
    pace: PaceMode = "think_first",
    think: ThinkTokens = 80,
    speak: SpeakTokens = 20,
    temperature: Temperature = None,
    max_tokens: MostTokens = None,
    streams: Streams = 64,
    waiting: Waiting = 128,
    speech_rate: SpeechRate = RATE,
    voice: Voice = "auto",
    host: Host = "127.0.0.1",
    port: Port = 8000,
) -> None:
    """Serve a model that answers while it thinks, in OpenAI's streaming form."""
    from rl.realtime.engine import Bounds
    from rl.realtime.serving import Address, Limits, read_pace, run_server
    from rl.terminal import say

    limits = Limits(temperature, max_tokens, Bounds(streams, waiting), speech_rate)
    run_server(model, read_pace(pace, think, speak), limits, voice, Address(host, port), say, has_page=False)


def talk(
    model: Model,
    pace: PaceMode = "think_first",
    think: ThinkTokens = 80,
    speak: SpeakTokens = 20,
    temperature: Temperature = None,
    max_tokens: MostTokens = None,
    speech_rate: SpeechRate = RATE,
    voice: Voice = "auto",
    port: Port = 8000,
) -> None:
    """Open a page on this machine: record a question, hear the answer, and read the thoughts beside it."""
    from rl.realtime.engine import Bounds
    from rl.realtime.serving import Address, Limits, read_pace, run_server
    from rl.terminal import say

    limits = Limits(temperature, max_tokens, Bounds(PAGE_STREAMS, PAGE_STREAMS), speech_rate)
    run_server(model, read_pace(pace, think, speak), limits, voice, Address("127.0.0.1", port), say, has_page=True)
