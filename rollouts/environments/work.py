"""Runs environments in a pool of killable processes (`rewards.pool`): a rollout so far in, a reply out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rewards.pool.work import Call
from rewards.resolve import import_module
from rollouts.environments.contract import MOST_SOUND_BYTES, Pause, error_to_wire, read_answer, to_wire
from rollouts.environments.players import Player, player_of
from rollouts.environments.toolbox import TOOLBOX, Toolbox
from rollouts.episodes import Answer


class Replying:
    """The work of environments."""

    noun = "environment"
    # base64 makes sound a third longer; the rest is for texts, which have limits of their own.
    longest_answer = 2 * MOST_SOUND_BYTES
    may_repeat = True  # a reply depends only on the rollout so far

    def modules(self, calls: Sequence[Call]) -> Sequence[str]:
        """Return what every environment needs."""
        return ["rl.audio", "soundfile", "rollouts.environments.toolbox"]

    def load(self, call: Call, folder: Path | None) -> Player:
        """Return the environment, imported."""
        if call.verifier == TOOLBOX:
            return Toolbox.load(call.args, folder)
        module, _, name = call.verifier.rpartition(":")
        return player_of(getattr(import_module(module, folder, self.noun), name), name)

    def describe(self, loaded: Sequence[Player]) -> object:
        """Return the JSON schemas of each environment's tools."""
        return [player.schemas if isinstance(player, Toolbox) else [] for player in loaded]

    def prompt_id(self, loaded: Player, sample: Pause) -> str:
        """Return the id of the rollout's prompt."""
        return sample.rollout.prompt.id

    def answer(self, loaded: Player, args: Mapping[str, object], sample: Pause) -> object:
        """Return the reply to a rollout. Raises ValueError for one out of bounds."""
        return to_wire(*loaded.reply(sample, args))

    def refuse(self, error: str) -> object:
        """Return the answer about a rollout to which the environment could not reply."""
        return error_to_wire(error)

    def parse(self, answer: object) -> Answer | None:
        """Return the answer from what a process wrote, or None where it is no valid one."""
        return read_answer(answer)

    def failure(self, error: str) -> Answer:
        """Return the answer about a rollout that cost its process."""
        return Answer(error=error)
