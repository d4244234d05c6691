"""Serves a model to harnesses without a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rl import signals
from rl.recipe import Recipe
from rl.recipe.stage_list import stage_environment
from rl.runner.actors import build_cluster
from rl.runner.artifacts import Artifacts
from rl.runner.run_dir import lock_folder
from rl.runner.session_ends import Endings, SessionFiles

if TYPE_CHECKING:
    from rl.workers.cluster import Cluster
    from rollouts.environments.config import EnvironmentConfig
    from rollouts.harness.server import Listener
    from rollouts.harness.sessions import Sessions

MAX_QUESTIONS = 64
"""Questions that a session may ask where neither the command nor the recipe says."""
DEATHS_S = 3600.0
"""Seconds after which the deaths of engines are counted anew."""
SWEEP_S = 10.0
"""Seconds between two looks for sessions that nobody uses any more."""


@dataclass(frozen=True, slots=True)
class Serving:
    """Address of the server, and limits of its sessions."""

    host: str
    port: int
    token: str
    max_questions: int | None
    """Questions that one session may ask; None: as the recipe's environment says."""
    idle_s: float
    """Seconds without a question after which a session is ended as an error."""


def serve_rollouts(recipe: Recipe, out: Path, serving: Serving, say: Callable[[str], None]) -> None:
    """Serve the model of a recipe of one stage until the command is interrupted. Raises ConfigError where the address cannot be
    served, and where `out` cannot be written or another server or a run is at work in it."""
    lock = lock_folder(out)  # the files of two servers would have the same numbers
    try:
        listener = bind(serving.host, serving.port)  # before Ray starts, which takes long
        say("starting Ray and engine")
        artifacts = Artifacts(recipe, out, say)
        cluster = build_cluster(recipe, artifacts, out, recipe.stages, signals.fail, say)
        with cluster:
            cluster.sampler.load(artifacts.initial_model())
            _serve(cluster, recipe, SessionFiles(out), serving, listener, say)
    finally:
        lock.release()


def bind(host: str, port: int) -> Listener:
    """Return what listens at an address. Raises ConfigError, naming the option that is wrong."""
    from rollouts.harness.http import listen
    from rollouts.harness.server import Listener

    return listen(Listener, host, port)


def _serve(
    cluster: Cluster,
    recipe: Recipe,
    files: SessionFiles,
    serving: Serving,
    listener: Listener,
    say: Callable[[str], None],
) -> None:
    from rollouts.harness.server import Endpoint
    from rollouts.harness.sessions import Sessions

    sampler, (stage,) = cluster.sampler, recipe.stages
    environment, _ = stage_environment(stage, recipe.header.environment)
    most_questions, most_tokens = limits_of(environment, serving.max_questions)
    sessions = Sessions(sampler.chat, max_questions=most_questions, max_answer_tokens=most_tokens, is_free=True)
    sampler.use(sessions)
    temperature = float(getattr(stage.config, "settled_temperature", 1.0))

    def open_session(id: str) -> None:
        sessions.start_alone(id, recipe.header.seed, recipe.max_sequence_tokens, temperature)

    endings = Endings(sessions, files)
    endpoint = Endpoint(sessions, serving.token, listener, open_session, endings.finish)
    say(f"serving {endpoint.address}/v1 and {endpoint.address}/sessions/ID/v1")
    say(f"sessions that end are written to {files.tracker.run_dir / 'rollouts'}; Ctrl-C ends")
    try:
        _deal(cluster, sessions, endings, serving.idle_s)
    finally:
        endings.close()
        endpoint.close()


def limits_of(environment: EnvironmentConfig | None, max_questions: int | None) -> tuple[int, int | None]:
    """Return (questions of a session, tokens of an answer) at most: as asked, else as the recipe's environment has them."""
    if environment is None:
        return max_questions or MAX_QUESTIONS, None
    return max_questions or environment.max_turns, environment.max_turn_tokens


def _deal(cluster: Cluster, sessions: Sessions, endings: Endings, idle_s: float) -> None:
    """Have questions answered, and end sessions that nobody uses any more."""
    next_sweep = next_count = time.monotonic() + SWEEP_S
    while True:
        # Waits for an engine's report, or a moment for a question where no engine has work: the loop does not spin.
        cluster.sampler.dispatcher.advance()
        endings.check()
        now = time.monotonic()
        if now < next_sweep:
            continue
        next_sweep = now + SWEEP_S
        if now >= next_count:  # a server of days may lose more engines than one that goes from crash to crash
            cluster.sampler.pool.deaths, next_count = 0, now + DEATHS_S
        for session in list(sessions.open.values()):
            if not session.running and now - session.last_use > idle_s:
                endings.end(session.id, f"no question for {idle_s:g} s, and not finished")
