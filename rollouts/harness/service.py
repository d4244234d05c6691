"""Runs the harness of a stage: its sessions, the server that it asks, and the processes in which it runs."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import cast

from rewards.pool.pool import Pool, Results
from rewards.pool.work import Call
from rollouts.chat_format import ChatFormat
from rollouts.environments.config import EnvironmentConfig
from rollouts.harness.server import Endpoint
from rollouts.harness.session import Session
from rollouts.harness.sessions import Sessions
from rollouts.harness.work import Invitation, Playing, PlayResult

WAIT_PER_CPU_S = 60
"""Seconds that a harness may wait for each second of its CPU limit: it waits for the policy, which may be learning
meanwhile."""
SESSION_S = 1.0
"""Estimated seconds of a session; long enough that the pool hands a process one session at a time."""
STAGE_OVER = "the stage is over: nobody waits for this session any more"


class HarnessService:
    """Runs a harness of a recipe, whose file lies in `folder`, for each sample. Its processes start at once, and end with
    `close` or with this process."""

    def __init__(self, config: EnvironmentConfig, folder: Path | None = None) -> None:
        assert config.harness, "an environment of another kind is no harness"
        self.config = config
        self._pool = Pool(
            [Call(config.harness, config.args)],
            folder,
            workers=config.process_count,
            deadline_s=config.deadline_s,
            memory_mb=config.memory_mb,
            work=Playing(),
            wait_per_cpu_s=WAIT_PER_CPU_S,
            seconds_per_call=SESSION_S,
        )
        self.sessions: Sessions | None = None
        self.endpoint: Endpoint | None = None

    def __repr__(self) -> str:
        return f"HarnessService({self.config})"

    def __enter__(self) -> HarnessService:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Wait until the harness is loaded. Raises ValueError where it cannot be."""
        with self._pool.condition:
            # A pool knows its gold cases, here none, once a process has loaded the harness.
            while self._pool.gold is None:
                self._check()
                self._pool.condition.wait()

    def open(self, chat: ChatFormat) -> Sessions:
        """Begin to serve, and return the sessions, which a sampler takes as its source."""
        self.sessions = Sessions(
            chat, self._play, self.config.max_turns, self.config.max_turn_tokens, check=self._check
        )
        self.endpoint = Endpoint(self.sessions, secrets.token_urlsafe(24))
        return self.sessions

    def close(self) -> None:
        """End the processes and the sessions that are open."""
        if self.sessions is not None:
            self.sessions.close(STAGE_OVER)
        self._pool.close()
        if self.endpoint is not None:
            self.endpoint.close()

    def _check(self) -> None:
        if self._pool.failure is not None:
            raise self._pool.failure

    def _play(self, session: Session) -> None:
        """Have the harness play a session, without waiting."""
        assert self.endpoint is not None, "sessions begin once there is a server"
        invitation = Invitation(session.prompt, self.endpoint.base_url(session.id), self.endpoint.token)
        # `(0,)`: the only call of this pool is the harness.
        self._pool.submit(invitation, (0,), cast("Callable[[Results], None]", partial(self._deliver, session.id)))

    def _deliver(self, id: str, results: Results) -> None:
        verdict = cast("PlayResult", results[0]).verdict
        assert self.sessions is not None, "it has begun the session"
        if verdict is not None and verdict.error is not None:
            # By the first word `error_reason` tells the errors of harnesses from those of environments.
            self.sessions.end(id, None, f"harness: {verdict.error}")
        else:
            self.sessions.end(id, verdict)
