"""Turns what a harness asks in its sessions into requests to the engines, and what they write into rollouts.

    HTTP thread: Sessions.ask(id, Ask) -> a Future      pool's thread: Sessions.end(id, verdict)
    thread that deals: Sessions.advance -> Requests, finished Rollouts; Sessions.add(Completion) -> the Future's answer

Everything that touches tokens happens in the thread that deals, so that sessions need no lock. A conversation that goes
on keeps the ids that were written (`rollouts.harness.conversation`); a turn's seed depends on the run, the prompt, the
sample and what is asked, so no result depends on which session is answered first.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import replace

from rl.finite import NonFiniteError, is_finite
from rl.types import Prompt, Rollout, Verdict
from rollouts.chat_format import ChatFormat
from rollouts.episodes import Finished, Key
from rollouts.harness.answers import read_answer, to_json
from rollouts.harness.asks import Ask
from rollouts.harness.conversation import Piece, begin_or_continue
from rollouts.harness.finish import rollout_of
from rollouts.harness.session import Body, Running, Session
from rollouts.harness.settings import AskError, as_refusal
from rollouts.requests import Completion, Request
from rollouts.seeds import seed_of

MOST_ENDED = 10_000
"""Number of ended sessions whose ids are remembered, so that a late question is told that its session has ended."""
ALONE: Key = (-1, 0)
"""Key of a session that is no sample of a run."""
NOTHING_ASKED = "harness: it has asked for nothing"
"""Error of a session without an answer."""


class Sessions:
    """The open sessions of a harness, as the sampler's source of samples.

    `play` is told of each session that a sample begins, and has its harness run."""

    begins_with_prompt = False
    """A sample begins with what its harness asks, not with its prompt."""

    def __init__(
        self,
        chat: ChatFormat,
        play: Callable[[Session], None] = lambda session: None,
        max_questions: int = 8,
        max_answer_tokens: int | None = None,
        check: Callable[[], None] = lambda: None,
        is_free: bool = False,
    ) -> None:
        """Begin without sessions. `check` raises ValueError when no harness will end its session any more; with
        `is_free` a question may have another temperature than its session."""
        self.is_free = is_free
        self.chat, self.play, self.check = chat, play, check
        self.max_questions, self.max_answer_tokens = max_questions, max_answer_tokens
        self.open: dict[str, Session] = {}
        self.endings: OrderedDict[str, str] = OrderedDict()
        """Reasons for which ended sessions take no more questions, by id, the oldest first."""
        self.condition = threading.Condition()
        self._inbox: deque[Callable[[list[Request], dict[Key, Rollout]], None]] = deque()
        self._sessions: dict[Key, Session] = {}  # by the key of a request in flight
        self._lost_keys: set[Key] = set()
        self._numbers = 0
        self._refusal = ""

    # --- the thread of whoever asks -----------------------------------------------------------------------------------

    def ask(self, id: str, ask: Ask) -> Future[Body]:
        """Queue a question of a session and return a future of its answer, or of an AskError if it is refused."""
        future: Future[Body] = Future()
        self._post(lambda requests, _: self._take(id, ask, future, requests))
        return future

    def note(self, id: str, error: AskError) -> None:
        """Count a question that was refused before it was asked."""
        self._post(lambda _, __: self._note(id, error.reason))

    def withdraw(self, id: str, future: Future[Body]) -> None:
        """Drop a question whose client has left."""
        self._post(lambda _, __: self._withdraw(id, future))

    def end(self, id: str, verdict: Verdict | None, error: str | None = None) -> Future[Rollout | None]:
        """End a session, with the harness's own verdict or its error, if any. The future holds its rollout, None for a
        session that is not open."""
        future: Future[Rollout | None] = Future()
        self._post(lambda _, rollouts: future.set_result(self._end(id, verdict, error, rollouts)))
        return future

    def close(self, reason: str) -> None:
        """Refuse all questions from now on, waiting ones included."""
        with self.condition:
            self._refusal = reason
            self.condition.notify_all()
        self._empty([], {})  # a client that has just ended its session still gets its rollout
        for id in list(self.open):
            self._drop(id, reason)

    def _post(self, task: Callable[[list[Request], dict[Key, Rollout]], None]) -> None:
        with self.condition:
            self._inbox.append(task)
            self.condition.notify_all()
            is_over = bool(self._refusal)
        if is_over:  # nobody deals any more
            self._empty([], {})

    # --- the thread that deals ----------------------------------------------------------------------------------------

    def begin(self, prompt: Prompt, request: Request, seed: int, limit: int, opening: int = 0) -> Request:
        """Open a session for a sample and have its harness run."""
        session = self.start(secrets.token_hex(12), request.key, prompt, seed, limit, request.temperature)
        self.play(session)
        return request

    def start_alone(self, id: str, seed: int, limit: int, temperature: float) -> None:
        """Open a session that is no sample of a run, unless it is open or has been. From any thread."""
        with self.condition:  # two requests of a client may open its session at the same moment
            if id not in self.open and id not in self.endings:
                self.start(id, ALONE, Prompt(id, ()), seed, limit, temperature)

    def start(self, id: str, key: Key, prompt: Prompt, seed: int, limit: int, temperature: float) -> Session:
        """Open a session."""
        session = Session(id, key, prompt, seed, limit, temperature, tuple(self.chat.ends))
        self.open[id] = session
        return session

    @property
    def waiting(self) -> bool:
        """True while a session is open: its harness may ask at any time."""
        return bool(self.open)

    def advance(self, timeout_s: float = 0.0) -> tuple[list[Request], Finished]:
        """Return (requests for the engines, the rollouts that are finished); wait up to `timeout_s` for the first of them."""
        due = time.monotonic() + timeout_s
        with self.condition:
            while not self._inbox and (remaining := due - time.monotonic()) > 0:
                self.condition.wait(remaining)
        self.check()
        requests: list[Request] = []
        rollouts: dict[Key, Rollout] = {}
        self._empty(requests, rollouts)
        return requests, rollouts

    def _empty(self, requests: list[Request], rollouts: dict[Key, Rollout]) -> None:
        while self._inbox:
            try:
                task = self._inbox.popleft()
            except IndexError:  # another thread of a closed service was faster
                return
            task(requests, rollouts)

    def add(self, completion: Completion, engine: int | None = None) -> Rollout | None:
        """Take in what an engine has written and answer the question; None: a sample ends when its harness does."""
        session = self._sessions.pop(completion.key, None)
        if session is None:  # withdrawn a moment ago
            return None
        running = session.running.pop(completion.key)
        session.last_use = time.monotonic()
        if not is_finite(completion.logprobs):
            raise NonFiniteError(
                f"sample {session.key[1]} of prompt '{session.prompt.id}': the engine's logprobs are not finite numbers: "
                "its model is broken"
            )
        parent = running.opening.parent
        if parent is not None:  # the conversation before must have the same ids as then, expanded audio included
            before = parent.completion.tokens.tolist()
            assert completion.tokens[: len(before)].tolist() == before, "the engine has changed what was written"
        response: list[int] = completion.tokens[completion.prompt_length :].tolist()
        text = self.chat.turn(response)
        answer = read_answer(text, running.ask, completion.finish_reason)
        piece = Piece(running.number, running.opening, running.ask, answer, completion, text, engine)
        session.pieces.append(piece)
        texts = [self.chat.written([id]) for id in response] if running.ask.logprobs else None
        running.future.set_result(to_json(answer, completion, texts, f"{session.id}-{running.number}"))
        return None

    def drop(self, keys: Collection[Key]) -> set[Key]:
        """Forget samples for which nobody waits any more; return the keys of their requests."""
        for session in [session for session in self.open.values() if session.key in keys]:
            self._drop(session.id, "nobody waits for this session any more")
        return self.take_abandoned()

    def take_abandoned(self) -> set[Key]:
        """Return the keys of requests whose answers nobody waits for any more, once each."""
        keys, self._lost_keys = self._lost_keys, set()
        return keys

    def _take(self, id: str, ask: Ask, future: Future[Body], requests: list[Request]) -> None:
        session = self.open.get(id)
        try:
            if session is None or self._refusal:
                raise self.refuse_unknown(id)
            requests.append(self._request(session, ask, future))
        except Exception as error:  # isolation boundary: what one client has asked must not end the run
            refusal = as_refusal(error)
            self._note(id, refusal.reason)
            future.set_exception(refusal)

    def _note(self, id: str, reason: str) -> None:
        if session := self.open.get(id):
            session.notes[f"refused_{reason}"] += 1

    def refuse_unknown(self, id: str) -> AskError:
        """Return the refusal of what is asked of a session that is not open."""
        if self._refusal:
            return AskError("closed", self._refusal, 410)
        if id in self.endings:
            return AskError("ended", f"session {id}: {self.endings[id]}", 410)
        return AskError("unknown_session", f"session {id[:80]}: is not open", 404)

    def _request(self, session: Session, ask: Ask, future: Future[Body]) -> Request:
        """Return the request that has a question answered. Raises AskError."""
        if session.questions >= self.max_questions:
            text = f"max_turns: this session has asked {self.max_questions} times, the most that its recipe allows"
            raise AskError("turns", text)  # with the status 400: OpenAI's clients would retry after a 429
        temperature = session.temperature_of(ask, self.is_free)
        opening = begin_or_continue(session.pieces, ask, self.chat, not session.pieces and not session.running)
        digest = ask.digest()
        space = session.limit - opening.length
        if space < 1:
            text = f"the conversation has {opening.length} tokens, and a sequence takes {session.limit}"
            raise AskError("length", f"{text} with its answer; shorten it, or raise max_sequence_tokens")
        session.questions += 1
        session.last_use = time.monotonic()
        for note in opening.notes:
            session.notes[note] += 1
        self._numbers += 1
        # Negative group numbers, so that keys never meet those of a sampler, which numbers its groups from 0.
        key = (-1 - self._numbers, session.questions)
        # The same question asked again draws another answer, unless the client has named a seed.
        repeat = 0 if ask.seed is not None else session.seeds[digest]
        session.seeds[digest] += 1
        limits = [limit for limit in (space, ask.max_tokens, self.max_answer_tokens) if limit is not None]
        session.running[key] = Running(ask, opening, future, session.questions)
        self._sessions[key] = session
        return Request(
            key,
            opening.ids,
            seed_of(session.seed, session.prompt.id, session.key[1], digest, repeat),
            min(limits),
            temperature,
            opening.clips,
            session.ends,
            ask.stop,
            engine=opening.parent.engine if opening.parent else None,
        )

    def _withdraw(self, id: str, future: Future[Body]) -> None:
        session = self.open.get(id)
        if session is None:
            return
        for key, running in list(session.running.items()):
            if running.future is future:
                self._abandon(session, key)
                session.notes["withdrawn"] += 1

    def _abandon(self, session: Session, key: Key) -> Running:
        self._lost_keys.add(key)
        self._sessions.pop(key, None)
        return session.running.pop(key)

    def _drop(self, id: str, reason: str) -> Session | None:
        """Forget a session and refuse what it still asks."""
        with self.condition:  # `start_alone` must not find it neither open nor ended
            session = self.open.pop(id, None)
            if session is None:
                return None
            self.endings[id] = reason
            while len(self.endings) > MOST_ENDED:
                self.endings.popitem(last=False)
        for key in list(session.running):
            self._abandon(session, key).future.set_exception(AskError("ended", f"session {id}: {reason}", 410))
        return session

    def _end(self, id: str, verdict: Verdict | None, error: str | None, rollouts: dict[Key, Rollout]) -> Rollout | None:
        if session := self.open.get(id):
            # Counted first, since `_drop` takes them out.
            session.notes["unanswered"] += len(session.running)
        session = self._drop(id, "has ended")
        if session is None:
            return None
        if error is None and not session.pieces:
            error = NOTHING_ASKED
        rollout = rollout_of(session.prompt, session.key[1], session.pieces, session.notes, self.chat)
        rollout = replace(rollout, verdict=None if error else verdict, error=error)
        if session.key != ALONE:
            rollouts[session.key] = rollout
        return rollout
