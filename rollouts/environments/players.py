"""Calls an environment in one way, whether it is written as a function, a class or a generator.

A process that replies can be killed at any time, so it keeps nothing of a rollout: what an object of a class holds is pickled
between two turns, and a generator is run again from its beginning, on what was written and replied so far.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from rl.messages import Reply, open_turn
from rl.types import Rollout
from rollouts.environments.contract import MOST_STATE_BYTES, Pause, ReplyStateError, check_messages

Step = Callable[..., object]


class Player(Protocol):
    """An environment as its process calls it."""

    def reply(self, pause: Pause, args: Mapping[str, object]) -> tuple[object, bytes | None]:
        """Return (the environment's answer, the state that it keeps until the next turn)."""
        ...


@dataclass(frozen=True, slots=True)
class FunctionPlayer:
    """`step(prompt, rollout, **args)`, which keeps nothing."""

    step: Step

    def reply(self, pause: Pause, args: Mapping[str, object]) -> tuple[object, bytes | None]:
        """Return what the function answers."""
        return self.step(pause.rollout.prompt, pause.rollout, **args), None


@dataclass(frozen=True, slots=True)
class ClassPlayer:
    """A class that is constructed with `args` for each rollout; its `step(prompt, rollout)` may change the object."""

    made: Step

    def reply(self, pause: Pause, args: Mapping[str, object]) -> tuple[object, bytes | None]:
        """Return what the rollout's object answers, and the object, pickled."""
        # Unpickled only here, in a process that can be killed: the run itself just carries the bytes.
        game: Any = self.made(**args) if pause.state is None else pickle.loads(pause.state)
        answer = game.step(pause.rollout.prompt, pause.rollout)
        if answer is None:
            return None, None
        try:
            state = pickle.dumps(game)
        except (TypeError, AttributeError, pickle.PicklingError) as error:
            raise ReplyStateError(f"its {type(game).__name__} cannot be kept for the next turn: {error}") from error
        if len(state) > MOST_STATE_BYTES:
            raise ReplyStateError(
                f"its {type(game).__name__} holds {len(state):,} bytes; at most {MOST_STATE_BYTES:,} are kept"
            )
        return answer, state


@dataclass(frozen=True, slots=True)
class GeneratorPlayer:
    """`play(prompt, rollout, **args)`, a generator that yields replies and is sent the rollout as it then is."""

    play: Callable[..., Generator[object, Rollout, object]]

    def reply(self, pause: Pause, args: Mapping[str, object]) -> tuple[object, bytes | None]:
        """Return what the generator yields for the newest turn. Raises ReplyStateError where it replies otherwise than before
        to the same turns."""
        exchanges = pause.rollout.exchanges
        stages = [_as_of(pause.rollout, turn) for turn in range(len(exchanges) + 1)]
        game = self.play(pause.rollout.prompt, stages[0], **args)
        try:
            answer = next(game)
            for exchange, rollout in zip(exchanges, stages[1:], strict=True):
                # The messages alone: clips and note of the reply that was kept are as `check_reply` has rewritten them.
                if not isinstance(answer, Reply) or check_messages(answer) != exchange.reply.messages:
                    raise ReplyStateError(
                        "it replies otherwise than before to the same turns; seed what it draws by the prompt's id"
                    )
                answer = game.send(rollout)
        except StopIteration as end:
            return cast("object", end.value), None
        return answer, None


def _as_of(rollout: Rollout, turn: int) -> Rollout:
    """Return the rollout as it was after so many exchanges."""
    if turn == len(rollout.exchanges):
        return rollout
    exchange = rollout.exchanges[turn]
    # Logprobs belong to actions alone, and are as many as these.
    actions = int(rollout.action_mask[: exchange.start].sum())
    return replace(
        rollout,
        tokens=rollout.tokens[: exchange.start],
        action_mask=rollout.action_mask[: exchange.start],
        logprobs=rollout.logprobs[:actions],
        text=open_turn(rollout.exchanges[:turn]) + exchange.text,
        exchanges=rollout.exchanges[:turn],
    )


def player_of(step: object, name: str) -> Player:
    """Return the player of a user's function, class or generator. Raises ValueError for anything else."""
    if inspect.isclass(step):
        if not callable(getattr(step, "step", None)):
            raise ValueError(f"class {name} has no method step(prompt, rollout); add one")
        return ClassPlayer(step)
    if inspect.isgeneratorfunction(step):
        return GeneratorPlayer(step)
    if not callable(step):
        raise ValueError(f"'{name}' is no function; name one, or a class or generator")
    return FunctionPlayer(step)
