"""The five types that flow through the loop; each adds one thing to the one before.

    Prompt -> Rollout -> Verdict -> Scored -> Batch

Shape legend: N sequences, T tokens of all N sequences laid end to end, A the tokens among T that the policy wrote
("actions"), end to end. Nothing is padded. A quantity of an action (its logprob, value, advantage) is stored at that
action: `values_A[i]` is the value of the state *before* action i was taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
AUDIO_PATCH = "<audio_patch>"
"""Where a clip stands in a message. A prompt with clips holds as many as it has clips, in their order; in a prompt
without clips it is text like any other."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; see `AUDIO_PATCH` for where clips stand in it."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Clip:
    """One audio clip, not yet decoded: a file's path or its encoded bytes."""

    path: str | None = None
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What a warm start imitates: the chain (may be empty) and the answer after it."""

    reasoning: str
    response: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question to the policy. `answer` is the gold a verifier compares with; `fields` are the further columns of
    the data row that a verifier may ask for (options, unit tests, …)."""

    id: str
    messages: tuple[Message, ...]
    answer: str | None = None
    source: str = ""
    clips: tuple[Clip, ...] = ()
    demonstration: Demonstration | None = None
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def question(self) -> str:
        """The content of the last user turn."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")


@dataclass(frozen=True, slots=True)
class Rollout:
    """A finished sample, tokens in and tokens out: `tokens` are all ids the engine saw (prompt, then what was
    written, then perhaps a tool's answer and more); `action_mask` marks which of them the policy wrote."""

    prompt: Prompt
    sample: int
    """Index of this sample within its prompt's group."""
    tokens: np.ndarray
    """[t] int64."""
    action_mask: np.ndarray
    """[t] bool."""
    logprobs: np.ndarray
    """[action_mask.sum()] float32, under the sampling distribution."""
    finish_reason: str
    """`stop` (the policy ended its turn) or `length`."""
    version: int
    """Version of the policy that wrote it."""
    text: str
    """The whole assistant turn as text, from `<think>` on when the turn was opened with it; without the end token."""

    @property
    def reasoning(self) -> str:
        """The chain of thought; empty if the tags are missing or unclosed."""
        return split_think(self.text)[0]

    @property
    def response(self) -> str:
        """What stands after the chain; the whole text if it has no closed chain."""
        return split_think(self.text)[1]

    @property
    def truncated(self) -> bool:
        return self.finish_reason == "length"


def split_think(text: str) -> tuple[str, str]:
    """(chain, answer) of an assistant turn in the standard format `<think>\\n chain \\n</think>\\n answer`.
    An opened chain that never closes has no answer; a text without tags is all answer."""
    head, closed, tail = text.rpartition(THINK_CLOSE)
    if closed:
        return head.removeprefix(THINK_OPEN).strip(), tail.strip()
    if text.startswith(THINK_OPEN):
        return text.removeprefix(THINK_OPEN).strip(), ""
    return "", text.strip()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says. An `error` (verifier crashed, hung, ran out of memory) is not a score of 0: the sample is
    counted, shown, and kept out of the gradient."""

    score: float = 0.0
    parts: Mapping[str, float] = field(default_factory=dict[str, float])
    error: str | None = None
    reason: str = ""
    read: str = ""
    """The answer it found, in one form however it is said and whatever the gold is; empty where it tells none. Votes
    are counted by it."""


@dataclass(frozen=True, slots=True)
class Scored:
    rollout: Rollout
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Batch:
    """Ragged sequences with named tensors. What every algorithm needs is required; what some add later (`old`, `ref`,
    `values`, `advantages`, `returns`) raises on access while it is absent."""

    tokens_T: Tensor
    lengths_N: Tensor
    """Tokens per sequence, int64; sums to T."""
    action_mask_T: Tensor
    """Bool; True at actions. The first token of a sequence is never an action."""
    rollout_logprobs_A: Tensor
    """Logprobs under the engine that sampled; zeros for demonstrations."""
    scores_N: Tensor
    """The verdict's score, given at the last action."""
    groups_N: Tensor
    """Sequences that answer the same prompt share an id, int64."""
    versions_N: Tensor
    clips_N: tuple[tuple[Clip, ...], ...] = ()
    _old_A: Tensor | None = None
    _ref_A: Tensor | None = None
    _values_A: Tensor | None = None
    _rewards_A: Tensor | None = None
    _advantages_A: Tensor | None = None
    _returns_A: Tensor | None = None

    def __post_init__(self) -> None:
        assert int(self.lengths_N.sum()) == self.tokens_T.numel() == self.action_mask_T.numel(), (
            "lengths do not sum to T"
        )
        assert int(self.action_mask_T.sum()) == self.rollout_logprobs_A.numel(), "one rollout logprob for each action"
        for name in ("scores_N", "groups_N", "versions_N"):
            assert getattr(self, name).numel() == len(self), f"{name}: one entry for each sequence"

    def __len__(self) -> int:
        return self.lengths_N.numel()

    @property
    def actions_N(self) -> Tensor:
        """Actions per sequence, int64; sums to A."""
        import torch

        before_T = torch.nn.functional.pad(self.action_mask_T.cumsum(0), (1, 0))
        ends_N = self.lengths_N.cumsum(0)
        return before_T[ends_N] - before_T[ends_N - self.lengths_N]

    def add(self, **tensors: Tensor | None) -> Batch:
        """A copy with more columns: `batch.add(old=…, values=…)`. Each is [A]; None (an absent critic) adds nothing."""
        for name, tensor in tensors.items():
            assert tensor is None or tensor.shape == self.rollout_logprobs_A.shape, (
                f"{name}: expected one entry for each action"
            )
        return replace(self, **{f"_{name}_A": tensor for name, tensor in tensors.items() if tensor is not None})

    def has(self, name: str) -> bool:
        """Return whether the column is there: `batch.has("old")`."""
        return getattr(self, f"_{name}_A") is not None

    def old_logprobs(self, logprobs_A: Tensor) -> Tensor:
        """Return [A] logprobs before the step's first update. A batch that carries none is trained on exactly once, by
        the policy that `logprobs_A` come from: then they are the old ones themselves, without their gradient."""
        return logprobs_A.detach() if self._old_A is None else self._old_A

    def to(self, device: torch.device) -> Batch:
        """The batch with its tensors on `device`."""
        columns = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "clips_N"}
        return replace(self, **{name: value.to(device) for name, value in columns.items() if value is not None})

    def select(self, rows: Sequence[int]) -> Batch:
        """The sequences at `rows`, in that order, with every column they have."""
        import torch

        def spans(counts_N: Tensor) -> Tensor:
            """Indices of what the chosen sequences have, where each has `counts_N`."""
            starts, counts = (counts_N.cumsum(0) - counts_N)[index], counts_N[index]
            shift = starts - (counts.cumsum(0) - counts)
            return torch.arange(int(counts.sum()), device=index.device) + shift.repeat_interleave(counts)

        index = torch.as_tensor(rows, dtype=torch.long, device=self.lengths_N.device)
        entries = {"N": index, "T": spans(self.lengths_N), "A": spans(self.actions_N)}
        columns = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "clips_N"}
        chosen = {name: value[entries[name[-1]]] for name, value in columns.items() if value is not None}
        return Batch(**chosen, clips_N=tuple(self.clips_N[i] for i in rows) if self.clips_N else ())

    def _present(self, name: str) -> Tensor:
        tensor = getattr(self, f"_{name}_A")
        if tensor is None:
            raise ValueError(f"the batch has no '{name}' yet: add it with batch.add({name}=…)")
        return tensor

    @property
    def old_A(self) -> Tensor:
        """Logprobs under the policy before this step's first update."""
        return self._present("old")

    @property
    def ref_A(self) -> Tensor:
        """Logprobs under the frozen reference."""
        return self._present("ref")

    @property
    def values_A(self) -> Tensor:
        """The critic's value of the state before each action."""
        return self._present("values")

    @property
    def rewards_A(self) -> Tensor:
        """Token-level rewards: the score at each last action, minus what KL in the reward costs."""
        return self._present("rewards")

    @property
    def advantages_A(self) -> Tensor:
        return self._present("advantages")

    @property
    def returns_A(self) -> Tensor:
        """Targets of the critic."""
        return self._present("returns")
