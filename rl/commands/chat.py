"""`rl chat`: talk to a trained model in the terminal."""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rl.conversation.engine import ChatEngine
    from rl.conversation.turns import Turns

Model = Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run's directory, a model's folder, or a name.")]
Temperature = Annotated[
    float | None, typer.Option(min=0.0, max=2.0, help="0 is greedy (default: as generation_config.json says, or 0.7).")
]
MaxTokens = Annotated[int, typer.Option(min=1, help="Tokens of the longest answer.")]
Think = Annotated[
    bool | None, typer.Option(help="Open every answer with <think> (default: as the chat template says).")
]
System = Annotated[str | None, typer.Option(help="A system message.")]
Environment = Annotated[
    str | None,
    typer.Option(help="What answers its calls: a tool's name or file.py:step (default: its run's; none: nobody)."),
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same answers, on a CPU.")]

HELP = "/sound PATH adds a clip to your next line · /reset begins anew · /temperature T · /quit, Ctrl-D or Ctrl-C ends"


@dataclass
class Settings:
    """Settings with which answers are sampled."""

    temperature: float
    max_tokens: int
    seed: int


def chat(
    model: Model,
    temperature: Temperature = None,
    max_tokens: MaxTokens = 512,
    think: Think = None,
    system: System = None,
    environment: Environment = None,
    seed: Seed = 0,
) -> None:
    """Talk to a model: answers appear as they are written, thinking dim; lines may be piped in too."""
    from rl import signals
    from rl.conversation.engine import ChatEngine
    from rl.conversation.environment import choose_environment, describe_environment
    from rl.conversation.turns import Turns
    from rl.terminal import complain
    from rollouts.environments.service import EnvironmentService

    with signals.interruptible("the chat is over"), ExitStack() as stack:
        complain(f"loading {model}")
        config, service = choose_environment(model, environment, complain), None
        if config is not None:
            service = stack.enter_context(EnvironmentService(config, Path.cwd()))
            service.start()
            complain(f"{describe_environment(config)} answers what the model asks")
        engine = ChatEngine(model, think, service)
        complain(HELP)
        settings = Settings(engine.temperature if temperature is None else temperature, max_tokens, seed)
        turns = Turns(system)
        _talk(engine, turns, settings)
    sys.stdout.flush()
    signals.kill_and_exit(0)  # at a usual exit libraries of the engine report what they have not tidied up


def _talk(engine: ChatEngine, turns: Turns, settings: Settings) -> None:
    """Answer line after line, until the input ends."""
    from rl.terminal import complain

    while (line := _read_line()) is not None:
        try:
            if line.startswith("/"):
                if _command(line, engine, turns, settings):
                    return
            elif line.strip():
                _answer(line, engine, turns, settings)
        except ValueError as error:
            complain(f"error: {error}")


def _read_line() -> str | None:
    """Return the next line; None at the end of the input."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        return line.rstrip("\n") if line else None
    with suppress(ImportError):  # arrow keys and history in `input`, where Python has them
        import readline  # noqa: F401
    try:
        return input("> ")
    except EOFError:
        print()  # the shell's prompt stands on a line of its own
        return None


def _command(line: str, engine: ChatEngine, turns: Turns, settings: Settings) -> bool:
    """Do what a line that begins with / says; return whether the chat is over. Raises ValueError."""
    from rl.terminal import complain

    name, _, argument = line.strip().partition(" ")
    argument = argument.strip()
    if name in ("/quit", "/exit"):
        return True
    if name == "/reset":
        turns.reset()
        complain("begun anew")
    elif name == "/sound":
        if not engine.listens:
            raise ValueError("/sound: the model reads text only")
        turns.hear(argument)
        complain(f"{argument} goes with your next line")
    elif name == "/temperature":
        settings.temperature = _read_temperature(argument)
    elif name == "/help":
        complain(HELP)
    else:
        raise ValueError(f"no command {name}: {HELP}")
    return False


def _read_temperature(text: str) -> float:
    from rl.config import HIGHEST_TEMPERATURE

    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= HIGHEST_TEMPERATURE:
        raise ValueError(f"/temperature: '{text}' is no number from 0 to {HIGHEST_TEMPERATURE:g}")
    return value


def _answer(line: str, engine: ChatEngine, turns: Turns, settings: Settings) -> None:
    """Ask the model and show its answer as it is written. Raises ValueError where it cannot be asked."""
    from rich.text import Text

    from rl.conversation.turns import Shown
    from rl.terminal import complain, console, visible

    out = console()

    def show(piece: str, is_chain: bool) -> None:
        out.print(Text(visible(piece), "dim" if is_chain else ""), end="", soft_wrap=True)
        sys.stdout.flush()

    turns.ask(line)
    display, newest, text = Shown(show), 0, ""
    try:
        for turn, text_so_far in engine.answer(turns, settings.temperature, settings.max_tokens, settings.seed):
            if turn != newest:  # the one before is over
                display.update(text, is_whole=True)
                out.print()
                display, newest = Shown(show), turn
            text = text_so_far
            display.update(text)
    except ValueError:
        turns.take_back()
        raise
    except KeyboardInterrupt:
        out.print()  # what is said last stands on a line of its own
        raise
    display.update(text, is_whole=True)
    out.print()
    if not display.answer:
        complain(
            "(no answer: it was still thinking; --max-tokens gives it more)" if display.chain else "(an empty answer)"
        )
    turns.answer(text)
