"""The text of a first recipe: every line that a reader may want to change says what it is for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from rl.starter.columns import CODE_COLUMNS, MOST_LABELS
from rl.starter.guesses import DataGuess

TRAIN_NAMES, TEST_NAMES = ("train", "training"), ("test", "testing", "validation", "valid", "val", "dev", "eval")
DATA, TEST_DATA = "questions", "held_out"
"""Names of the data sets in a first recipe."""
JUDGE_SHARE, ENGINE_SHARE = 0.3, 0.5
"""Shares of a GPU's memory for a judge and for an engine of the policy, where the two share it."""
# YAML reads these as something else than a text.
NO_TEXT = re.compile(r"(?i)y|n|yes|no|on|off|true|false|null|none")


@dataclass(frozen=True)
class Sizes:
    """Lengths and batches of a first recipe, as they fit the machine."""

    answer_tokens: int
    prompt_tokens: int
    tokens_per_microbatch: int
    zero_stage: int = 0
    gradient_checkpointing: bool = False
    engine_gpus: int = 1

    @property
    def sequence_tokens(self) -> int:
        """Tokens of prompt and answer together."""
        return self.prompt_tokens + self.answer_tokens


@dataclass(frozen=True)
class Choices:
    """Choices that a first recipe is written from."""

    name: str
    model: Mapping[str, str]
    """The recipe's `model:`, path and dtype."""
    data: DataGuess
    test_path: str | None
    """A file of other prompts to measure on; None: the data's own."""
    reward: str
    """A key of `REWARDS`, FILE.py:FUNCTION, or "" to imitate demonstrations only."""
    gpus: int
    gpu_memory_gb: float
    cpus: int
    judge: str | None = None
    """The model that the reward `judge` asks; None: the model that is trained."""
    skips_bad_rows: bool = False
    is_large: bool = False
    """True if the model's weights are not here to be planned with, and its name says that one GPU is too small for it."""
    train_rows: int | None = None
    """Rows to train on; None where that is not known."""


def render(choices: Choices, sizes: Sizes) -> str:
    """Return the YAML of a first recipe."""
    train, test = split_names(choices.data)
    lines = [
        f"# Written by `rl init` from {choices.data.path}: change what does not fit. Every key is explained by `rl recipes --reference`.",
        f"name: {quote(choices.name)}",
        "seed: 0",
        *_model(choices, sizes),
        "data:",
        *_data(DATA, choices.data.path, choices),
        *(_data(TEST_DATA, choices.test_path, choices) if choices.test_path else []),
        *_reward(choices),
        *_machine(choices, sizes),
        "stages:",
    ]
    if not choices.reward:
        return "\n".join([*lines, *_imitation(choices, sizes, train)]) + "\n"
    test_data, split = (TEST_DATA, None) if choices.test_path else (DATA, test)
    if not choices.test_path and test == train:
        lines.append(
            "  # No rows are held out: what is measured is also trained on. `rl init --test FILE` names other ones."
        )
    lines += [_evaluate("before", test_data, split, choices, sizes), *_rlvr(choices, sizes, train)]
    return "\n".join([*lines, _evaluate("after", test_data, split, choices, sizes)]) + "\n"


def split_names(data: DataGuess) -> tuple[str | None, str | None]:
    """Return the split to train on and that to measure on; None where rows have none, or none that can be told apart."""
    names = {name.casefold(): name for name in data.splits}
    train = next((names[name] for name in TRAIN_NAMES if name in names), None)
    test = next((names[name] for name in TEST_NAMES if name in names), None)
    if train is None:
        train = next((name for name in data.splits if name.casefold() not in TEST_NAMES), test)
    return train, test if test is not None else train


def quote(text: str) -> str:
    """Return a text as YAML reads it back, in quotes where it would be read as something else."""
    if re.fullmatch(r"[^\W\d][\w./-]*", text) and not NO_TEXT.fullmatch(text):
        return text
    return json.dumps(text.replace("${", "\\${"), ensure_ascii=False)


def _model(choices: Choices, sizes: Sizes) -> list[str]:
    option = ", gradient_checkpointing: true" if sizes.gradient_checkpointing else ""
    model = ", ".join(f"{key}: {quote(value)}" for key, value in choices.model.items())
    return [f"model: {{{model}{option}}}  # `model.lora: {{rank: 16}}` trains an adapter in place of all weights"]


def _data(name: str, path: str, choices: Choices) -> list[str]:
    data = choices.data
    # answer and id need no mapping where the columns have these names
    fields = {key: column for key, column in data.fields.items() if (key, column) != ("answer", "answer")}
    if choices.reward == "code":
        fields |= {c.name: c.name for c in data.columns if c.name in CODE_COLUMNS and c.name not in fields.values()}
    # Demonstrations are of use to imitation alone; RL does not read them.
    fields.pop("response" if choices.reward else "", None)
    mapping = ", ".join(f"{quote(key)}: {quote(column)}" for key, column in fields.items())
    lines = [f"  {name}:", f"    source: {data.source}", f"    path: {quote(path)}"]
    if mapping:
        lines.append(f"    fields: {{{mapping}}}  # part of a prompt: the column that holds it")
    if data.final_mark:
        lines.append(f"    final_mark: {quote(data.final_mark)}  # the answer is what stands after it")
    if template := _template(data):
        lines.append(f"    template: {json.dumps(template, ensure_ascii=False)}  # the user's message")
    if choices.skips_bad_rows:
        lines.append("    on_bad_row: skip  # some rows cannot be read; `rl check` says how many and why")
    return lines


def _template(data: DataGuess) -> str | None:
    """Return the template of the user's message; None where the question alone does."""
    if "messages" in data.fields:
        return None
    if "options" in data.fields:
        return "{question}\n{options}"
    if "question" in data.fields:
        return None
    labels = data.labels
    # A label with a brace would be read as a name that the template fills in.
    if 1 < len(labels) <= MOST_LABELS and not any(set("{}") & {*label} for label in labels):
        return f"What do you hear? Answer with one of: {', '.join(labels)}."
    return "What do you hear?"


def _reward(choices: Choices) -> list[str]:
    reward = choices.reward
    if not reward:
        return ["reward: {parts: [{verifier: text}]}  # every recipe has one; imitation does not ask it"]
    if reward == "judge":
        judge = quote(choices.judge or choices.model["path"])
        share = f", vllm: {{gpu_memory_utilization: {JUDGE_SHARE}}}" if choices.gpus else ""
        return [
            "judges:  # the run serves it; the reward asks it about every sample",
            f"  critic: {{model: {judge}, max_sequence_tokens: 4096, max_answer_tokens: 256{share}}}",
            "reward:",
            "  parts:",
            "    - verifier: judge",
            "      name: quality",
            "      args: {served: critic, rubric: right, timeout_s: 120}  # or a rubric of your own: {NAME: what gets full marks}",
        ]
    comment = "" if ":" in reward else f"  # `rl verifiers attack {reward}` tries known reward hacks on it"
    return ["reward:", "  parts:", f"    - {{verifier: {quote(reward)}}}{comment}"]


def _machine(choices: Choices, sizes: Sizes) -> list[str]:
    batch = f"tokens_per_microbatch: {sizes.tokens_per_microbatch}"
    if not choices.gpus:
        threads = max(1, choices.cpus)
        return [
            f"engines: {{threads: {threads}}}",
            f"trainer: {{threads: {threads}, {batch}}}  # lower it where memory is short",
        ]
    gpus = f", gpus: {sizes.engine_gpus}" if sizes.engine_gpus > 1 else ""
    zero = f", zero_stage: {sizes.zero_stage}" if sizes.zero_stage else ""
    count = max(1, choices.gpus // sizes.engine_gpus)
    machine = f"nodes: 1, gpus_per_node: {choices.gpus}, gpu_memory_gb: {choices.gpu_memory_gb:g}"
    share = f", vllm: {{gpu_memory_utilization: {ENGINE_SHARE}}}" if choices.reward == "judge" else ""
    return [
        f"engines: {{count: {count}{gpus}{share}}}  # engines and trainers take turns on the same GPUs",
        f"trainer: {{ranks: {choices.gpus}{zero}, {batch}}}",
        f"cluster: {{expect: {{{machine}}}}}  # `rl check` plans for this machine, wherever it runs",
    ]


def _evaluate(name: str, data: str, split: str | None, choices: Choices, sizes: Sizes) -> str:
    limit, samples = (500, 4) if choices.gpus else (32, 2)
    settings = f"limit: {limit}, samples: {samples}, max_sequence_tokens: {sizes.sequence_tokens}"
    return f"  - evaluate: {{name: {name}, data: {data}, split: {_split(split)}, {settings}}}"


def _rlvr(choices: Choices, sizes: Sizes, train: str | None) -> list[str]:
    prompts, samples, steps = (32, 8, 200) if choices.gpus else (4, 8, 20)
    prompts = min(prompts, choices.train_rows or prompts)
    return [
        "  - rlvr:",
        f"      data: {DATA}",
        f"      split: {_split(train)}  # null: all rows",
        "      algorithm: grpo  # or ppo, rloo, reinforce++, dr_grpo, dapo, gspo, cispo, icepop",
        f"      steps: {steps}",
        f"      prompts_per_step: {prompts}",
        f"      samples_per_prompt: {samples}",
        f"      max_sequence_tokens: {sizes.sequence_tokens}  # prompt (about {sizes.prompt_tokens} at most) and answer together",
        "      optimizer: {learning_rate: 1e-6, warmup_steps: 5}",
    ]


def _imitation(choices: Choices, sizes: Sizes, train: str | None) -> list[str]:
    sequences = 32 if choices.gpus else 8
    sequences = min(sequences, choices.train_rows or sequences)
    return [
        "  # Nothing to compare answers with was found, and answers to imitate were: `--reward judge` would add RL.",
        "  - sft:",
        f"      data: {DATA}",
        f"      split: {_split(train)}  # null: all rows",
        "      epochs: 1",
        f"      sequences_per_step: {sequences}",
        f"      max_sequence_tokens: {sizes.sequence_tokens}",
        "      optimizer: {learning_rate: 1e-5, warmup_steps: 5}",
    ]


def _split(name: str | None) -> str:
    return "null" if name is None else quote(name)
