"""One question and the two decoders that answer it: what is asked of an engine, and what its tokens mean.

Pure: time and engine belong to `rl.realtime.engine`, so every order of events can be tried without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rl.messages import Clip
from rl.realtime.figures import SPEECH_RATE, Playback, Times, figures_of
from rl.stages.paced_answer import Pace, Speech, Thinking
from rollouts.chat_format import ChatFormat
from rollouts.requests import Piece, Request
from rollouts.seeds import seed_of

KEY = (0, 0)
"""Key of a request that goes by its name."""


@dataclass(frozen=True, slots=True)
class Question:
    """A conversation that waits for its answer, in tokens."""

    id: str
    """Name by which its seeds are told from those of other questions."""
    tokens: tuple[int, ...]
    """Ids of the prompt, one audio token a clip."""
    length: int
    """Tokens of the prompt as the model hears it."""
    room: int
    """Tokens that chain and answer may have together."""
    temperature: float
    seed: int
    clips: tuple[Clip, ...] = ()


@dataclass(frozen=True, slots=True)
class Thought:
    """Tokens of the chain that are settled."""

    tokens: list[int]


@dataclass(frozen=True, slots=True)
class Word:
    """Tokens of the answer."""

    tokens: list[int]


@dataclass(frozen=True, slots=True)
class End:
    """The end of an answer."""

    finish_reason: str
    """`stop` or `length`."""
    figures: dict[str, object]


@dataclass(frozen=True, slots=True)
class Failure:
    """The end of an answer that nobody can give."""

    reason: str


@dataclass(frozen=True, slots=True)
class Sound:
    """A phrase that can be heard."""

    wav: bytes
    phrase: str


@dataclass(frozen=True, slots=True)
class Silence:
    """The end of what can be heard, with the reason where it came too early."""

    reason: str = ""


Event = Thought | Word | End | Failure | Sound | Silence


@dataclass(slots=True)
class Orders:
    """Requests to begin and to end, and events for the client."""

    begin: list[tuple[str, Request]] = field(default_factory=list[tuple[str, Request]])
    """Samples that an engine is to write, by name."""
    end: list[str] = field(default_factory=list[str])
    """Names of samples that nobody needs any more."""
    events: list[Event] = field(default_factory=list[Event])


class PacedStream:
    """One answer in the making."""

    def __init__(
        self, name: str, question: Question, pace: Pace, chat: ChatFormat, question_s: float, rate: float = SPEECH_RATE
    ) -> None:
        """`name` is that of no other answer; `question_s` is when the question came; `rate`: tokens spoken in a second."""
        self.name, self.question, self.pace, self.chat = name, question, pace, chat
        self.thinking, self.speech = Thinking(chat, question.room), Speech(pace)
        self.times = Times(question_s, playback=Playback(rate))
        self.thinker = f"{name}/think"
        self.speaker = ""  # name of the turn that is being said
        self.buffer: list[int] = []  # what it has said
        self.told = 0  # tokens of the chain that the client has
        self.is_over = False

    def begin(self, now: float) -> Orders:
        """Return what an engine is to begin with."""
        orders, question = Orders(), self.question
        self.times.begun = now
        if self.pace.mode != "wo":
            # The seed of an evaluation's sample: the chain is the same in every mode, and what is said changes nothing in it.
            seed = seed_of(question.seed, question.id, 0)
            orders.begin.append((self.thinker, self._request((), question.room, seed)))
        # Where the first turn waits for no thought (`wo`, `speak_first`), speaking begins at once.
        self._go_on(orders)
        return orders

    def take(self, piece: Piece, now: float) -> Orders:
        """Return what follows from what an engine has written for one of the decoders."""
        orders = Orders()
        if self.is_over:
            return orders
        if piece.name == self.thinker:
            self._think(piece, now, orders)
        elif piece.name == self.speaker:
            self._say(piece, now, orders)
        return orders

    def names(self) -> list[str]:
        """Return the names of the samples that may be under way."""
        return [self.thinker, *([self.speaker] if self.speaker else [])]

    def _think(self, piece: Piece, now: float, orders: Orders) -> None:
        self.times.think(now, len(piece.tokens))
        self.thinking.add(piece.tokens, bool(piece.finish_reason))
        chain = self.thinking.thoughts.chain
        if len(chain) > self.told:
            orders.events.append(Thought(list(chain[self.told :])))
            self.told = len(chain)
        if self.thinking.is_over and not piece.finish_reason:
            orders.end.append(self.thinker)  # else it would go on and answer, too
        self._go_on(orders)

    def _say(self, piece: Piece, now: float, orders: Orders) -> None:
        if not self.buffer:
            # Every piece of a turn repeats the number: that of the first one counts.
            self.times.cached += piece.cached
        if piece.tokens:
            self.times.say(now, len(piece.tokens))
            orders.events.append(Word(piece.tokens))
            self.buffer += piece.tokens
        if piece.finish_reason:
            self.speaker = ""
            self.speech.add(self.buffer, piece.finish_reason == "length")
            if self.speech.is_over:
                self._end(piece.finish_reason, orders)
            else:
                self._go_on(orders)

    def _go_on(self, orders: Orders) -> None:
        """Begin the next turn of speaking, if none is under way and its thoughts are there."""
        if self.speaker or not self.thinking.has(self.speech.segments, self.pace.segment):
            return
        turn = self.speech.next_turn(self.thinking.thoughts, self.chat.closing)
        if turn is None:
            self._end("length", orders)
            return
        self.speaker, self.buffer = f"{self.name}/speak{turn.number}", []
        room = self.question.room - len(turn.context)
        most = room if turn.most_tokens is None else min(room, turn.most_tokens)
        # The seed that the same turn has in an evaluation.
        seed = seed_of(seed_of(self.question.seed, "speak", turn.number), self.question.id, 0)
        orders.begin.append((self.speaker, self._request(turn.context, most, seed)))

    def _request(self, context: Sequence[int], most_tokens: int, seed: int) -> Request:
        question = self.question
        tokens = (*question.tokens, *context)
        return Request(KEY, tokens, seed, most_tokens, question.temperature, question.clips, tuple(self.chat.ends))

    def _end(self, reason: str, orders: Orders) -> None:
        self.is_over = True
        # An answer that ended first leaves nothing to think about.
        orders.end.append(self.thinker)
        chain = len(self.thinking.thoughts.chain)
        orders.events.append(End(reason, figures_of(self.pace, self.speech, chain, self.times)))
