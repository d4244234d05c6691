"""`rl environments`: what tools there are, and a trial of an environment without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rl.commands.arguments import Json

environments = typer.Typer(no_args_is_help=True, help="Try what answers a model while it writes.")

Spec = Annotated[str, typer.Argument(metavar="ENVIRONMENT", help="A tool's name, or file.py:step.")]
Texts = Annotated[list[str], typer.Argument(metavar="TEXT...", help="What the model writes, turn by turn.")]
Question = Annotated[str, typer.Option("--question", help="The prompt's question.")]
Gold = Annotated[str | None, typer.Option("--answer", help="The prompt's answer.")]
Sound = Annotated[list[Path] | None, typer.Option("--sound", help="A clip of the prompt; may be given several times.")]


@environments.command("list")
def list_environments() -> None:
    """List the tools that come with the library."""
    from rl.terminal import say
    from rollouts.environments.tool import list_tools, load_tool

    for name in list_tools():
        # `search` is not loaded without a file to search; it is not called here, so that any file does.
        arguments = {"file": __file__} if name == "search" else {}
        tool = load_tool(name, arguments, None, None)
        say(f"{name:12} <{tool.tag}>  {(tool.function.__doc__ or '').partition(chr(10))[0]}")


@environments.command("try")
def try_environment(
    spec: Spec,
    texts: Texts,
    question: Question = "",
    answer: Gold = None,
    sound: Sound = None,
    as_json: Json = False,
) -> None:
    """Show what an environment replies to these turns."""
    from rl.config import ConfigError
    from rl.terminal import print_json, say
    from rl.types import AUDIO_PATCH, Clip, Message, Prompt
    from rollouts.environments.checks import check_environment
    from rollouts.environments.config import as_config
    from rollouts.environments.trial import play

    config = as_config(spec, "ENVIRONMENT")
    if config is None:
        raise ConfigError("ENVIRONMENT: 'none' answers nothing; name a tool or file.py:step")
    check_environment(config, "ENVIRONMENT", Path.cwd())
    clips = tuple(Clip(str(path)) for path in sound or ())
    prompt = Prompt("trial", (Message("user", AUDIO_PATCH * len(clips) + question),), answer, clips=clips)
    lines = play(config, prompt, texts, Path.cwd())
    if as_json:
        return print_json({"turns": lines})
    for line in lines:
        say(f"model   {line['text']}")
        if line["error"]:
            say(f"error   {line['error']}")
            continue
        for role, content in line["messages"]:
            say(f"{role:7} {content}")
        facts = [f"{name} {line[name]}" for name in ("clips", "reward", "note") if line[name]]
        if line["over"] or facts:
            say(f"        ({', '.join([*facts, *(['over'] if line['over'] else [])])})")
