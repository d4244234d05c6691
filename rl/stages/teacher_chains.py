"""Chains that another model wrote, as samples that `distill` filters by the criteria of the model's own (SightSound-R1, arXiv
2509.15661: a teacher that sees writes, and what the sound does not bear out is dropped).

A row of the file names its prompt, by the prompt's id (`prompt`, `prompt_id` or `id`) or by the conversation (`messages`, or the
words of the question as `question` or `prompt`), and holds the answer (`response`, or the assistant's last turn), whose chain
stands between tags or in a column of its own (`chain`, `reasoning`, …). `source` says who wrote it. Files that a `distill` stage
of another run has left (`distilled.jsonl`, `samples.jsonl`) are such files.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rl.config import ConfigError
from rl.data.messages import CHAIN_KEYS, one_chain, read_turns
from rl.data.rows import Row, is_missing, text
from rl.stages.sampling import SAMPLES, Sample, judge_rollouts, judge_stream, read_samples
from rl.think import join_think, split_think, to_standard_tags
from rl.types import AUDIO_PATCH, Demonstration, Message, Prompt, Rollout

if TYPE_CHECKING:
    from rl.data.chat import Chat
    from rl.stages.context import Context
    from rl.stages.settings import CandidatesConfig

ENDINGS = (".jsonl", ".json", ".parquet")
"""Endings of the names of files; any other name is that of a data set."""
ID_COLUMNS = ("prompt_id", "prompt", "id")
TURN_COLUMNS = ("messages", "question", "prompt")
CHAIN_COLUMNS = ("chain", *CHAIN_KEYS)
Conversation = tuple[tuple[str, str], ...]
"""(role, words) of the turns up to the answer, without a system turn and without marks of sound."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A row of the file. Example: `Chain("c.jsonl:1", ("row-7",), (), "<think>low</think>B", "qwen-vl")`."""

    place: str
    ids: tuple[str, ...]
    """Values of the columns that may name the prompt, the surest first."""
    conversation: Conversation
    text: str
    """The whole assistant turn, in the standard tags."""
    teacher: str


def is_file(chains: str) -> bool:
    """Return whether `distill.chains` names a file, and not a data set of the recipe."""
    return chains.lower().endswith(ENDINGS)


def read_chains(path: str, place: str) -> Iterator[Chain]:
    """Yield the chains of a file. Raises ValueError, which names the row, for one that names no prompt or holds no answer."""
    from rl.data.arrow import parquet
    from rl.data.json_rows import json_rows
    from rl.data.paths import data_files

    for file in data_files(path, place):
        rows = parquet(file, None, ()) if file.suffix.lower() == ".parquet" else json_rows(file)
        for where, row in rows:
            yield _read_row(row, where)


def _read_row(row: Row, where: str) -> Chain:
    turns: list[Message] = []
    for name in TURN_COLUMNS:
        if not turns and isinstance(row.get(name), str | list):
            turns, _ = read_turns(row[name], name, where)
    last = turns.pop().content if turns and turns[-1].role == "assistant" else None
    named = {name: row.get(name) for name in ID_COLUMNS}
    if isinstance(named["prompt"], list):  # turns, as TRL has them
        del named["prompt"]
    # Ids of prompts are texts; a file may hold them as numbers.
    ids = tuple(text(id, name, where, numbers=True) for name, id in named.items() if not is_missing(id))
    if not ids and not turns:
        raise ValueError(f"{where}: names no prompt; give its id as `prompt`, or the conversation as `messages`")
    column = next((name for name in ("response", "text") if not is_missing(row.get(name))), None)
    response = None if column is None else text(row[column], column, where)
    if response is not None and last is not None:
        raise ValueError(f"{where}: the conversation and column '{column}' both answer; remove one")
    response = last if response is None else response
    if response is None:
        raise ValueError(f"{where}: no answer; give it as `response`, or as the assistant's last turn in `messages`")
    columns = {name: text(row[name], name, where) for name in CHAIN_COLUMNS if not is_missing(row.get(name))}
    turn = to_standard_tags(response)
    if any(columns.values()):
        inner_chain, answer = split_think(turn)
        # A row may hold one chain in several places; of two that differ nobody knows which one was meant.
        turn = join_think(one_chain([*columns.values(), inner_chain], where), answer)
    source = row.get("source")
    teacher = "" if is_missing(source) else text(source, "source", where)
    return Chain(where, ids, _conversation(turns), turn, teacher)


def _conversation(turns: Iterable[Message]) -> Conversation:
    # Whoever wrote the chains may not have heard the sound, or may have had a system turn of its own.
    words = ((turn.role, turn.content.replace(AUDIO_PATCH, "").strip()) for turn in turns)
    return tuple((role, content) for role, content in words if role != "system")


def demonstrations(prompts: Iterable[Prompt], name: str) -> Iterator[Chain]:
    """Yield the demonstrations of a data set as chains of the prompts of the same ids. Raises ValueError for a row without."""
    for prompt in prompts:
        if prompt.demonstration is None:
            raise ValueError(f"data.{name}: prompt '{prompt.id}' has no demonstration; map `response:` in its fields")
        turn = join_think(prompt.demonstration.reasoning, prompt.demonstration.response)
        yield Chain(f"data.{name}", (prompt.id,), (), turn, name)


def match_chains(chains: Iterable[Chain], prompts: Sequence[Prompt]) -> tuple[list[tuple[Prompt, Chain]], int]:
    """Return (each chain with its prompt, in the order of the prompts; number of chains in all). Chains of other prompts are
    left out. Raises ValueError for a conversation that several prompts begin with, and for an id and a conversation that name two
    prompts."""
    by_id = {prompt.id: prompt for prompt in prompts}
    by_words: dict[Conversation, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        by_words[_conversation(prompt.messages)].append(prompt)
    of_prompt: dict[str, list[Chain]] = {prompt.id: [] for prompt in prompts}
    count = 0
    for chain in chains:
        count += 1
        id = next((id for id in chain.ids if id in by_id), None)
        if id is not None:
            namesakes = [prompt.id for prompt in by_words.get(chain.conversation, [])]
            if not _agrees(chain.conversation, id, by_id[id], namesakes):
                said = chain.conversation[-1][1]
                raise ValueError(
                    f"{chain.place}: names prompt '{id}' and says '{said[:60]}', which is not its question; name the prompt as "
                    "`prompt_id`, or remove what numbers the rows"
                )
        elif chain.conversation:
            namesakes = by_words.get(chain.conversation, [])
            if len(namesakes) > 1:
                first, second = namesakes[0].id, namesakes[1].id
                raise ValueError(
                    f"{chain.place}: {len(namesakes):,} prompts say the same ('{first}', '{second}', …); name one by its id, as `prompt`"
                )
            id = namesakes[0].id if namesakes else None
        if id is not None:
            of_prompt[id].append(chain)
    return [(by_id[id], chain) for id, group in of_prompt.items() for chain in group], count


def _agrees(conversation: Conversation, id: str, prompt: Prompt, namesakes: Sequence[str]) -> bool:
    """Return whether a row's conversation may be that of the prompt that its id names: a file may number its own rows."""
    if namesakes or not conversation:
        return id in namesakes or not conversation
    if conversation == (("user", id),):  # column `prompt` held the id
        return True
    # A data set's question may stand among options or a format in the prompt, and a teacher may read more than the policy.
    asked = [" ".join(content for _, content in turns) for turns in (conversation, _conversation(prompt.messages))]
    return asked[0] in asked[1] or asked[1] in asked[0]


def collect_chains(
    chains: str, config: CandidatesConfig, context: Context, sources: Mapping[str, Sequence[Prompt]]
) -> tuple[list[Sample], dict[str, int], dict[str, int]]:
    """Return (the judged samples of the `chains`, a file or a data set; the funnel up to them; how many each reason dropped).
    Each is stored the moment it is judged, and judged once. Raises ValueError where no chain has a prompt, or too many cannot be judged."""
    source_of = {prompt.id: name for name, prompts in sources.items() for prompt in prompts}
    matches, count = match_chains(
        _load(chains, config.split, context), [prompt for prompts in sources.values() for prompt in prompts]
    )
    if not matches:
        ids = ", ".join(f"'{id}'" for id in [*source_of][:2])
        raise ValueError(
            f"{context.name}.chains: none of {count:,} chains in {chains} is on one of {len(source_of):,} prompts "
            f"({ids}, …); name these by id, as `prompt`"
        )
    counts, rollouts, writers = Counter[str](), list[Rollout](), dict[tuple[str, int], str]()
    for prompt, chain in matches:
        rollout = to_rollout(prompt, counts[prompt.id], chain.text, context.cluster.chat)
        # Also for one that is too long: stored verdicts are found by a sample's number, which is its place among the
        # file's chains on the prompt, whatever the limit.
        counts[prompt.id] += 1
        if len(rollout.tokens) <= config.max_sequence_tokens:
            rollouts.append(rollout)
            writers[prompt.id, rollout.sample] = chain.teacher
    stored_samples = {
        sample.key: sample
        for sample in read_samples(context.folder / SAMPLES)
        if sample.error is None and sample.key in writers
    }
    # A file that was changed since has other texts under the same numbers.
    fresh = [r for r in rollouts if (old := stored_samples.get((r.prompt.id, r.sample))) is None or old.text != r.text]
    fresh_keys = {(rollout.prompt.id, rollout.sample) for rollout in fresh}
    samples = {key: sample for key, sample in stored_samples.items() if key not in fresh_keys}
    # A reward of the stage's own is started only where there is something to judge.
    if fresh:
        with context.reward_service(config.stage_reward) as rewards:
            judge_stream(
                context,
                judge_rollouts(rewards, fresh),
                samples,
                len(rollouts),
                lambda id: (source_of[id], config.split),
            )
    funnel = {"chains": count, "on prompts": len(matches), "short enough": len(rollouts)}
    longer = f"longer than {config.max_sequence_tokens:,} tokens"
    drop_counts = {"on no prompt that is asked": count - len(matches), longer: len(matches) - len(rollouts)}
    by_teacher = [replace(samples[key], teacher=teacher or None) for key, teacher in writers.items()]
    return by_teacher, funnel, {reason: number for reason, number in drop_counts.items() if number}


def _load(chains: str, split: str | None, context: Context) -> Iterator[Chain]:
    if is_file(chains):
        return read_chains(chains, f"{context.name}.chains")
    return demonstrations(context.data(chains, split, None), chains)


def to_rollout(prompt: Prompt, sample: int, turn: str, chat: Chat) -> Rollout:
    """Return a turn that somebody else wrote as a sample of the prompt, in the tokens that the model would learn."""
    import numpy as np

    question = chat.prompt(prompt.messages, prompt.clips, expand=True)
    answer = chat.demonstration(Demonstration(*split_think(turn)))
    tokens = np.asarray([*question, *answer], dtype=np.int64)
    logprobs = np.zeros(len(answer), dtype=np.float32)  # no engine of ours sampled it
    return Rollout(prompt, sample, tokens, np.arange(len(tokens)) >= len(question), logprobs, "stop", 0, turn)


def check_file(path: str, place: str) -> list[str]:
    """Return what is wrong with a file of chains, in one line; empty where every row can be read."""
    try:
        count = sum(1 for _ in read_chains(path, place))
    except (ConfigError, ValueError) as error:
        return [str(error)]
    return [] if count else [f"{place}: {Path(path).name} holds no chain; name a file of rows"]
