"""Runs TRL's side: `GRPOTrainer` with transformers generation, in TRL's own environment (started by peer.py).

    python scripts/benchmarks/theirs.py LOAD MODEL THREADS MICRO_BATCH

Its settings are the fastest that we know for it on this machine (docs/benchmarks.md): the whole step generated as one
batch, no gradient checkpointing, no float16 casts, no logging, no KL model; threads and micro-batch from the arguments.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import workload
from datasets import Dataset
from letters import share
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from turns import NoMoreTurns, Turns

sys.path.insert(0, str(Path(__file__).parents[2]))
from rewards.answers.texts import answer_text, normalise_text

SAMPLES = workload.PROMPTS_PER_STEP * workload.SAMPLES


def text(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    """Return the scores of our verifier `text`."""
    predictions = [answer_text(turn[0]["content"]) for turn in completions]
    return [
        float(normalise_text(pred) == normalise_text(gold) != "")
        for pred, gold in zip(predictions, answer, strict=True)
    ]


def letters(completions: list[Any], **_: Any) -> list[float]:
    """Return the scores of our verifier `letters`."""
    return [share(turn[0]["content"]) for turn in completions]


class TimedTrainer(GRPOTrainer):
    """A trainer that times what the table calls generate and verify; the rest of a step is the update."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seconds: dict[str, float] = defaultdict(float)
        self.counts: dict[str, float] = {}
        self.update_start = 0.0

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        ids, logprobs = super()._generate_single_turn(*args, **kwargs)
        self.seconds["generate"] += time.perf_counter() - start
        lengths = [len(sample) for sample in ids]
        self.counts = {"samples": len(lengths), "tokens": sum(lengths), "longest": max(lengths)}
        return ids, logprobs

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        rewards = super()._calculate_rewards(*args, **kwargs)
        self.seconds["verify"] += time.perf_counter() - start
        return rewards

    def _prepare_inputs(self, *args: Any, **kwargs: Any) -> Any:
        inputs = super()._prepare_inputs(*args, **kwargs)
        self.update_start = self.update_start or time.perf_counter()  # the first micro-batch of a step
        return inputs


class Gate(TrainerCallback):
    """A callback that ends the contestant's turn after each step."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.turns.wait(threads=torch.get_num_threads())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        trainer = self.trainer
        trainer.seconds["update"] += time.perf_counter() - trainer.update_start
        self.turns.step({**trainer.seconds, **trainer.counts})
        trainer.seconds.clear()
        trainer.update_start = 0.0


def main(load_name: str, model: str, threads: str, micro_batch: str) -> None:
    turns, load = Turns(), workload.LOADS[load_name]
    torch.set_num_threads(int(threads))
    rows = [{"prompt": [{"role": "user", "content": q}], "answer": a} for q, a in workload.questions(512)]
    config = GRPOConfig(
        output_dir=str(Path(model).parent / "trl"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=int(micro_batch),
        gradient_accumulation_steps=SAMPLES // int(micro_batch),
        num_generations=workload.SAMPLES,
        max_completion_length=load.max_new,
        learning_rate=workload.LEARNING_RATE,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        beta=0.0,
        loss_type="grpo",
        reward_weights=[0.5, 0.5],
        max_steps=10_000,
        logging_steps=1_000_000,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
        model_init_kwargs={"dtype": "float32"},
    )
    gate = Gate(turns)
    trainer = TimedTrainer(
        model=model,
        processing_class=AutoTokenizer.from_pretrained(model, trust_remote_code=False),
        reward_funcs=[text, letters],
        args=config,
        train_dataset=Dataset.from_list(rows),
        callbacks=[gate],
    )
    gate.trainer = trainer
    with suppress(NoMoreTurns):
        trainer.train()


if __name__ == "__main__":
    main(*sys.argv[1:])
