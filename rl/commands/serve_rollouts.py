"""`rl serve-rollouts`: a model behind an address for other people's harnesses, without a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from rl.commands.arguments import Overrides, RecipeName

TOKEN = "GROUNDTONE_ROLLOUTS_TOKEN"
"""Variable that may hold the token; else one is drawn and printed."""


def serve_rollouts(
    recipe: RecipeName,
    overrides: Overrides = None,
    model: Annotated[
        str | None, typer.Option(metavar="RUN|MODEL", help="The model to serve (default: the recipe's own).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for what sessions leave (default: runs/NAME-sessions).")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own is open to others.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8765,
    max_questions: Annotated[
        int | None,
        typer.Option(min=1, help="Questions that one session may ask (default: the recipe's max_turns, else 64)."),
    ] = None,
    idle_s: Annotated[float, typer.Option(min=1.0, help="Seconds without a question that end a session.")] = 3600.0,
) -> None:
    """Serve a model to agents in OpenAI's form; each session that is finished is written as rollouts."""
    from rl import signals
    from rl.recipe import load
    from rl.recipe.single_stage import single_stage
    from rl.runner.devices import plan_run
    from rl.runner.rollout_server import Serving, serve_rollouts
    from rl.terminal import refuse, say
    from rollouts.harness.http import choose_token

    token, is_drawn = choose_token(os.environ.get(TOKEN, ""), TOKEN)
    base = load(recipe)
    path = model or base.header.model.path
    if not path:
        raise ValueError("--model: the recipe's model is built by its run; name that run's folder, or a model")
    # A stage that samples: its limits and its temperature are those of the sessions. Its plan reads a prompt; one will do.
    data, settings = next(iter(base.header.data)), {"max_sequence_tokens": base.max_sequence_tokens, "limit": 1}
    plan = single_stage("evaluate", str(path), data, settings, recipe=recipe, overrides=overrides or ())
    folder = (out or Path("runs") / f"{base.name}-sessions").absolute()
    plan, run_plan = plan_run(plan, folder)
    refuse(run_plan.problems)
    if is_drawn:
        say(f"token (the client's api_key): {token}")
    with signals.interruptible("the server has ended"):
        serve_rollouts(plan, folder, Serving(host, port, token, max_questions, idle_s), say)
