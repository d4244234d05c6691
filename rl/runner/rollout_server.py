"""Serves a model to harnesses without a run, and writes each session that ends as a run writes its rollouts."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rl import signals
from rl.config import ConfigError
from rl.recipe import Recipe
from rl.run.tracker import Tracker, rollout_file, rollout_files
from rl.runner.actors import build_cluster
from rl.runner.artifacts import Artifacts
from rl.types import Rollout, Scored, Verdict

if TYPE_CHECKING:
    from rl.workers.cluster import Cluster
    from rollouts.harness.sessions import Sessions

STAGE = "sessions"
"""Name under which rollouts are written: `rollouts/sessions-000001.parquet` is that of the first session that ended."""
NO_REWARD = "the session was finished without a reward"
END_S = 60.0
"""Seconds within which a session ends once that was asked for."""
OVER = "the server has ended"
"""Reason for which sessions end that are open when it ends."""
SWEEP_S = 10.0
"""Seconds between two looks for sessions that nobody uses any more."""


@dataclass(frozen=True, slots=True)
class Serving:
    """Address of the server, and limits of its sessions."""

    host: str
    port: int
    token: str
    max_questions: int
    """Questions that one session may ask."""
    idle_s: float
    """Seconds without a question after which a session is ended as an error."""


class SessionFiles:
    """The rollouts of the sessions that have ended, in the folder `out`; numbered on from those that are there."""

    def __init__(self, out: Path) -> None:
        self.tracker, self.lock = Tracker(out, STAGE), threading.Lock()
        self.count = max((step for stage, step, _ in rollout_files(out) if stage == STAGE), default=0)

    def write(self, rollout: Rollout) -> Path:
        """Write all rollouts of a session to a file of its own, and return its path. Raises DiskFull."""
        verdict = rollout.verdict or Verdict(error=rollout.error or NO_REWARD)
        with self.lock:  # sessions end in the threads of their clients
            self.count += 1
            self.tracker.record_rollouts(self.count, [Scored(one, verdict) for one in (*rollout.siblings, rollout)])
            return rollout_file(self.tracker.run_dir, STAGE, self.count)


def serve_rollouts(recipe: Recipe, out: Path, serving: Serving, say: Callable[[str], None]) -> None:
    """Serve the model of a recipe of one stage until the command is interrupted. Raises ConfigError where the port is taken."""
    say("starting Ray and engine")
    artifacts = Artifacts(recipe, out, say)
    cluster = build_cluster(recipe, artifacts, out, recipe.stages, signals.fail, say)
    with cluster:
        cluster.sampler.load(artifacts.initial_model())
        _serve(cluster, recipe, SessionFiles(out), serving, say)


def _serve(cluster: Cluster, recipe: Recipe, files: SessionFiles, serving: Serving, say: Callable[[str], None]) -> None:
    from rollouts.harness.server import Endpoint
    from rollouts.harness.sessions import Sessions

    sampler, (stage,) = cluster.sampler, recipe.stages
    sessions = Sessions(sampler.chat, max_questions=serving.max_questions, is_free=True)
    sampler.use(sessions)
    temperature = float(getattr(stage.config, "settled_temperature", 1.0))

    def open_session(id: str) -> None:
        sessions.start_alone(id, recipe.header.seed, recipe.max_sequence_tokens, temperature)

    def finish(id: str, values: Mapping[str, object]) -> Mapping[str, object]:
        return _finish(sessions, files, id, values)

    try:
        endpoint = Endpoint(sessions, serving.token, serving.host, serving.port, open_session, finish)
    except OSError as error:
        raise ConfigError(f"--port: {serving.host}:{serving.port} cannot be served: {error.strerror}") from error
    say(f"serving {endpoint.address}/v1 and {endpoint.address}/sessions/ID/v1")
    say(f"sessions that end are written to {files.tracker.run_dir / 'rollouts'}; Ctrl-C ends")
    try:
        _deal(cluster, sessions, files, serving.idle_s)
    finally:
        _end_open(sessions, files)
        endpoint.close()


def _end_open(sessions: Sessions, files: SessionFiles) -> None:
    """Write what was not finished, as errors, and take no more questions."""
    endings = [sessions.end(id, None, f"harness: {OVER}") for id in list(sessions.open)]
    sessions.close(OVER)
    for ending in endings:
        if rollout := ending.result(0):
            files.write(rollout)


def _deal(cluster: Cluster, sessions: Sessions, files: SessionFiles, idle_s: float) -> None:
    """Have questions answered, and end sessions that nobody uses any more."""
    next_sweep = time.monotonic() + SWEEP_S
    while True:
        cluster.sampler.dispatcher.advance()
        if time.monotonic() < next_sweep:
            continue
        next_sweep = time.monotonic() + SWEEP_S
        for session in list(sessions.open.values()):
            if not session.running and time.monotonic() - session.last_question > idle_s:
                error = f"harness: no question for {idle_s:g} s, and not finished"
                sessions.end(session.id, None, error).add_done_callback(
                    lambda future: files.write(rollout) if (rollout := future.result()) else None
                )


def _finish(sessions: Sessions, files: SessionFiles, id: str, values: Mapping[str, object]) -> Mapping[str, object]:
    """End a session as its client says, and return what was written. Raises AskError."""
    from rollouts.harness.server import wait_for
    from rollouts.harness.settings import AskError

    rollout = wait_for(sessions.end(id, *read_end(values)), END_S)
    if rollout is None:
        raise AskError("unknown_session", f"session {id}: is not open", 404)
    file = files.write(rollout)
    return {"session": id, "rollouts": 1 + len(rollout.siblings), "file": str(file), "error": rollout.error}


def read_end(values: Mapping[str, object]) -> tuple[Verdict | None, str | None]:
    """Return (verdict, error) of the JSON with which a session is finished. Raises AskError."""
    from rollouts.harness.settings import AskError, shorten
    from rollouts.harness.work import as_verdict

    if unknown := sorted(values.keys() - {"reward", "parts", "reason", "error"}):
        raise AskError("finish", f"{unknown[0][:60]}: unknown; give reward, parts, reason or error, or nothing")
    reward, parts, reason = values.get("reward"), values.get("parts", {}), values.get("reason", "")
    error = values.get("error")
    if not isinstance(error, str | None) or not isinstance(reason, str):
        raise AskError("finish", "error and reason: expected text")
    if error is not None:
        return None, f"harness: {error[:2000]}"
    scores = _read_parts(parts)
    if scores is None:
        raise AskError("finish", f"parts: {shorten(cast('object', parts))} is no mapping of names to numbers")
    if reward is None:
        return None, None
    if (score := _read_number(reward)) is None:
        raise AskError("finish", f"reward: {shorten(reward)} is no finite number")
    return as_verdict(Verdict(score, scores, reason=reason[:500])), None


def _read_parts(parts: object) -> dict[str, float] | None:
    """Return the scores of a verdict's parts, or None where they are none."""
    values = cast("dict[str, object]", parts) if isinstance(parts, dict) else {"": None}
    scores = {name[:100]: score for name, value in values.items() if (score := _read_number(value)) is not None}
    return scores if len(scores) == len(values) else None


def _read_number(value: object) -> float | None:
    """Return a finite number of a JSON, or None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    return float(value) if is_number else None


def new_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(24)
