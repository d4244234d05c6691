"""The five types that flow through the training loop; each adds one thing to the one before.

    Prompt -> Rollout -> Verdict -> Scored -> Batch

Shape legend: N sequences, T tokens of all N sequences laid end to end, A the tokens among T that the policy wrote
("actions"), end to end. Nothing is padded. A quantity of an action (its logprob, value, advantage) is stored at that
action: `values_A[i]` is the value of the state *before* action i was taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from rl.messages import AUDIO_PATCH as AUDIO_PATCH
from rl.messages import Clip, Demonstration, Exchange, Message, RewardSpan
from rl.messages import Reply as Reply
from rl.think import Turn

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

Spans = tuple[tuple[int, int], ...]
"""(version of the weights, how many tokens of a sample it wrote), in order."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question to the policy, with everything that a verifier needs to score the answer.

    Example:
        >>> prompt = Prompt("row-7", (Message("system", "Be brief."), Message("user", "What is 2 + 2?")), answer="4")
        >>> prompt.question
        'What is 2 + 2?'
    """

    id: str
    messages: tuple[Message, ...]
    answer: str | None = None
    """Gold answer that a verifier compares with."""
    source: str = ""
    """Data set or task that the prompt comes from."""
    clips: tuple[Clip, ...] = ()
    """Sounds in the messages, one clip for each `AUDIO_PATCH`."""
    demonstration: Demonstration | None = None
    fields: Mapping[str, object] = field(default_factory=dict[str, object])
    """Further columns of the data row that a verifier may read: options, unit tests, …"""
    later: tuple[Clip, ...] = ()
    """Sounds that arrive while the policy thinks; an environment adds them (`rollouts.environments.arriving`)."""

    @property
    def question(self) -> str:
        """Content of the last user turn."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")


@dataclass(frozen=True, slots=True)
class Rollout(Turn):
    """A finished sample as token ids: what the engine sampled is what is trained on, and no text is encoded again.

    Example:
        >>> prompt = Prompt("row-7", (Message("user", "What is 2 + 2?"),), answer="4")
        >>> tokens, is_action = np.array([5, 6, 7, 8]), np.array([False, False, True, True])
        >>> logprobs = np.array([-0.1, -0.7], dtype=np.float32)
        >>> rollout = Rollout(prompt, 0, tokens, is_action, logprobs, "stop", 3, "<think>Two and two.</think>4")
        >>> rollout.reasoning, rollout.response, rollout.truncated
        ('Two and two.', '4', False)
    """

    prompt: Prompt
    sample: int
    """Index of this sample within its prompt's group."""
    tokens: np.ndarray  # [t] int64: the prompt, the policy's tokens, then perhaps a tool's answer and more
    action_mask: np.ndarray  # [t] bool, True at the tokens that the policy wrote
    logprobs: np.ndarray  # [action_mask.sum()] float32, under the sampling distribution
    finish_reason: str  # `stop` (it ended its turn), `length`, or an end by its environment (`rollouts.episodes`)
    version: int  # of the weights that began it
    text: str
    """Text of the last assistant turn, without the end token; begins with `<think>` if the chat template opened it."""
    spans: Spans = ()
    """Tokens of each version, for a sample that was in flight when weights changed; () where `version` wrote all."""
    exchanges: tuple[Exchange, ...] = ()
    """Replies of an environment on the way, each with what the policy had written before."""
    error: str | None = None
    """Failure of the environment to reply; such a sample is not judged."""
    verdict: Verdict | None = None
    """The judgement of the harness that it comes from; None where the reward judges."""
    siblings: tuple[Rollout, ...] = ()
    """Further rollouts of its harness's session, which share its verdict."""

    @property
    def clips(self) -> tuple[Clip, ...]:
        """All that was heard, in the order of the audio tokens: the prompt's clips and those that replies added."""
        return (*self.prompt.clips, *(clip for exchange in self.exchanges for clip in exchange.reply.clips))

    @property
    def truncated(self) -> bool:
        """Return whether the sample ended at the token limit."""
        return self.finish_reason == "length"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verifier's judgement of one rollout. An `error` (the verifier crashed, hung or ran out of memory) is not a score
    of 0: the sample is counted, shown, and kept out of the gradient.

    Example:
        >>> right = Verdict(score=1.0, parts={"math": 1.0, "format": 1.0}, read="4")
        >>> broken = Verdict(error="math: no answer within 5 s")
        >>> right.error is None, broken.score
        (True, 0.0)
    """

    score: float = 0.0
    parts: Mapping[str, float] = field(default_factory=dict[str, float])
    """Scores by the name of the reward's part."""
    error: str | None = None
    reason: str = ""
    """Explanation for people, in the verifier's words."""
    read: str = ""
    """Answer that the verifier read, in a normal form that does not depend on the gold; empty for none. Votes count these."""
    spans: tuple[RewardSpan, ...] = ()
    """Pieces of the sample that earned parts of the score; the rest is earned by the whole."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A rollout with its verdict.

    Example:
        >>> rollout = Rollout(Prompt("row-7", ()), 0, *[np.array([])] * 3, "stop", version=3, text="4")
        >>> samples = [Scored(rollout, Verdict(score=1.0)), Scored(rollout, Verdict(error="crashed"))]
        >>> [sample.verdict.score for sample in samples if sample.verdict.error is None]  # these are trained on
        [1.0]
    """

    rollout: Rollout
    verdict: Verdict


class _Column:
    """A [A] column of a batch, which raises ValueError when it is read while absent."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, batch: Batch, owner: type) -> Tensor:
        tensor: Tensor | None = getattr(batch, f"_{self.name}")
        if tensor is None:
            name = self.name.removesuffix("_A")
            raise ValueError(f"the batch has no '{name}' yet: add it with batch.add({name}=…)")
        return tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Ragged sequences with named tensors. Columns that every algorithm needs are required; those that some algorithms
    add later (`old`, `ref`, `teacher`, `values`, `rewards`, `advantages`, `returns`, `scale`) raise ValueError when read while absent.

    Example: two sequences of 3 and 2 tokens, whose last 2 and 1 the policy wrote.
        >>> batch = Batch(
        ...     tokens_T=torch.tensor([5, 6, 7, 5, 8]),
        ...     lengths_N=torch.tensor([3, 2]),
        ...     action_mask_T=torch.tensor([False, True, True, False, True]),
        ...     rollout_logprobs_A=torch.tensor([-0.1, -0.2, -0.3]),
        ...     scores_N=torch.tensor([1.0, 0.0]), groups_N=torch.tensor([0, 0]),
        ... )
        >>> batch.actions_N.tolist(), batch.has("values")
        ([2, 1], False)
        >>> batch.add(values=torch.tensor([0.5, 0.6, 0.7])).select([1]).values_A
        tensor([0.7000])
    """

    tokens_T: Tensor  # token ids, int64
    lengths_N: Tensor  # tokens per sequence, int64; sums to T
    action_mask_T: Tensor  # bool, True at actions; never at a sequence's first token, which no logits precede
    rollout_logprobs_A: Tensor  # logprobs under the engine that sampled; zeros for demonstrations
    scores_N: Tensor  # score of each verdict, given at the sequence's last action
    groups_N: Tensor  # group ids, int64; sequences that answer the same prompt share one
    version: int = 0  # of the policy that learns from it, before the update
    clips_N: tuple[tuple[Clip, ...], ...] = ()
    _versions_A: Tensor | None = None
    _old_A: Tensor | None = None
    _ref_A: Tensor | None = None
    _teacher_A: Tensor | None = None
    _values_A: Tensor | None = None
    _rewards_A: Tensor | None = None
    _advantages_A: Tensor | None = None
    _returns_A: Tensor | None = None
    _scale_A: Tensor | None = None
    _placed_A: Tensor | None = None
    names_N: tuple[str, ...] = ()  # ids of the prompts, for messages
    _host: Batch | None = None  # of a batch on a device: the one in the host's memory

    def __post_init__(self) -> None:
        if self._host is not None:
            return  # checked there: a question to a GPU waits for all that it is computing
        assert int(self.lengths_N.sum()) == self.tokens_T.numel() == self.action_mask_T.numel(), (
            "lengths do not sum to T"
        )
        assert int(self.action_mask_T.sum()) == self.rollout_logprobs_A.numel(), "one logprob for each action"
        assert self.scores_N.numel() == self.groups_N.numel() == len(self), "one score and one group for each sequence"

    def __len__(self) -> int:
        return self.lengths_N.numel()

    @property
    def actions_N(self) -> Tensor:
        """Actions per sequence, int64; sums to A."""
        import torch

        # [T + 1] actions before each token: a sequence's count is a difference of two entries, without a loop.
        actions_before_T = torch.nn.functional.pad(self.action_mask_T.cumsum(0), (1, 0))
        ends_N = self.lengths_N.cumsum(0)
        return actions_before_T[ends_N] - actions_before_T[ends_N - self.lengths_N]

    def add(self, **tensors: Tensor | None) -> Batch:
        """Return a copy with more [A] columns: `batch.add(old=…, values=…)`. None (from an absent critic) adds nothing."""
        for name, tensor in tensors.items():
            assert tensor is None or tensor.shape == self.rollout_logprobs_A.shape, (
                f"{name}: expected one entry for each action"
            )
        # Without the host's copy, which lacks them.
        return replace(self, _host=None, **{f"_{name}_A": x for name, x in tensors.items() if x is not None})

    def has(self, name: str) -> bool:
        """Return whether the batch has the column: `batch.has("old")`."""
        return getattr(self, f"_{name}_A") is not None

    def old_logprobs(self, logprobs_A: Tensor) -> Tensor:
        """Return [A] logprobs before the step's first update; `logprobs_A` are the current ones."""
        # A batch without the column is trained on exactly once: then the current logprobs are still the old ones.
        return logprobs_A.detach() if self._old_A is None else self._old_A

    @property
    def host(self) -> Batch:
        """The batch in the host's memory, where lengths are read without waiting for a device."""
        return self if self._host is None else self._host

    def to(self, device: torch.device) -> Batch:
        """Return the batch with its tensors on `device`, from the host's memory. A GPU's work is not waited for."""
        if device.type == "cpu":
            return self.host
        host = {n: x.pin_memory() if device.type == "cuda" else x for n, x in self.host._tensors().items()}
        return replace(self.host, **{n: x.to(device, non_blocking=True) for n, x in host.items()}, _host=self.host)

    def select(self, rows: Sequence[int]) -> Batch:
        """Return the sequences at `rows`, in that order, with every column they have."""
        import torch

        def entries_of(counts_N: Tensor) -> Tensor:
            """Return the indices of the selected sequences' entries in a column with `counts_N` entries per sequence."""
            starts, counts = (counts_N.cumsum(0) - counts_N)[index], counts_N[index]
            # Added to an entry's new position, this gives its position in the old column.
            shift = starts - (counts.cumsum(0) - counts)
            return torch.arange(int(counts.sum()), device=index.device) + shift.repeat_interleave(counts)

        index = torch.as_tensor(rows, dtype=torch.long, device=self.lengths_N.device)
        # By a column's last letter, which is its shape.
        entries = {"N": index, "T": entries_of(self.lengths_N), "A": entries_of(self.actions_N)}
        selected = {name: value[entries[name[-1]]] for name, value in self._tensors().items()}
        clips_N = tuple(self.clips_N[i] for i in rows) if self.clips_N else ()
        names_N = tuple(self.names_N[i] for i in rows) if self.names_N else ()
        return replace(self, _host=None, clips_N=clips_N, names_N=names_N, **selected)

    def _tensors(self) -> dict[str, Tensor]:
        """Return the columns that are present, by field name."""
        names = [f.name for f in fields(self) if f.name not in ("version", "clips_N", "names_N", "_host")]
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def versions_A(self) -> Tensor:
        """Version of the weights that wrote each action, int64; without the column the policy that learns wrote all."""
        if self._versions_A is not None:
            return self._versions_A
        return self.rollout_logprobs_A.new_full((), self.version).long().expand_as(self.rollout_logprobs_A)

    old_A = _Column()
    """Logprobs under the policy as it was before this step's first update."""
    ref_A = _Column()
    """Logprobs under the frozen reference."""
    teacher_A = _Column()
    """Logprobs under the teacher, which may have read another prompt."""
    values_A = _Column()
    """Critic's value of the state before each action."""
    rewards_A = _Column()
    """Token-level rewards: the score at each last action but for what is placed before, minus a KL penalty in the reward."""
    placed_A = _Column()
    """Rewards that are paid before the end of their sequence, as parts of its score."""
    advantages_A = _Column()
    """Advantage of each action, whitened where the objective says so."""
    returns_A = _Column()
    """Returns, the critic's targets."""
    scale_A = _Column()
    """Factor of each action's term in the loss, policy's and critic's: 0 leaves the action out. A batch without the
    column has 1 everywhere. It changes no normalisation: the other terms weigh what they weigh without it."""
