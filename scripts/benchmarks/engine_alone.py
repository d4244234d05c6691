"""Runs vLLM by itself: `LLM.generate` on the requests that one of our engines gets in a step.

Engine options and sampling parameters are the same (a seed for each sample, logprobs on), and each sample gets as many
tokens as ours wrote. peer.py starts a process for each engine.

    python scripts/benchmarks/engine_alone.py LOAD FOLDER ENGINE ENGINES
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import workload
from turns import NoMoreTurns, Turns

from rollouts.serving import ENVIRONMENT

os.environ |= {**ENVIRONMENT, "OMP_NUM_THREADS": "1"}


def main(load_name: str, folder: str, engine: str, engines: str) -> None:
    turns, load, model = Turns(), workload.LOADS[load_name], Path(folder) / "model"
    import torch
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import RequestOutputKind

    from models.load import load_tokenizer
    from rl.data.chat import Chat
    from rl.types import Message
    from rollouts.sampler import seed_of

    torch.set_num_threads(1)
    chat = Chat(load_tokenizer(model))
    questions = [chat.prompt([Message("user", q)]) for q, _ in workload.questions(512)]
    llm = LLM(
        str(model),
        trust_remote_code=False,
        dtype="float32",
        max_model_len=len(questions[0]) + load.max_new,
        max_num_seqs=256,
        max_num_batched_tokens=8192,
        enforce_eager=True,
        enable_chunked_prefill=False,
        logprobs_mode="processed_logprobs",
        distributed_executor_backend="uni",
        kv_cache_memory_bytes=512 << 20,
        disable_log_stats=True,
        seed=0,
    )
    turns.wait()
    for step in range(10_000):
        prompts, settings = [], []
        # As many tokens for each sample as ours wrote in the step before, so that the two differ only in what they
        # cost.
        for i, length in enumerate(workload.read_lengths(Path(folder), int(engine), int(engines))):
            question = (step * workload.PROMPTS_PER_STEP + i // workload.SAMPLES) % len(questions)
            prompts.append({"prompt_token_ids": questions[question]})
            settings.append(
                SamplingParams(
                    temperature=1.0,
                    seed=seed_of(step, engine, i),
                    max_tokens=length,
                    ignore_eos=True,
                    logprobs=0,
                    flat_logprobs=True,
                    detokenize=False,
                    output_kind=RequestOutputKind.FINAL_ONLY,
                )
            )
        outputs = llm.generate(prompts, settings, use_tqdm=False)
        turns.step({"tokens": sum(len(o.outputs[0].token_ids) for o in outputs), "samples": len(outputs)})


if __name__ == "__main__":
    with suppress(NoMoreTurns):
        main(*sys.argv[1:])
