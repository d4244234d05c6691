"""The sequence that engines and trainer score after every update of the weights, drawn for a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rl.audio import SAMPLE_RATE, encode
from rl.types import Batch, Clip
from rollouts.probe import Probe

if TYPE_CHECKING:
    from rl.data.chat import Chat

PROBE_TOKENS = 64
LEAST_TOKENS = 8
"""Tokens that are scored at least, beside a clip."""
CLIP_S = 0.5


def draw_probe(chat: Chat, vocabulary: int | None, max_tokens: int, seed: int) -> Probe | None:
    """Return a probe of at most `max_tokens`, after a clip if the model listens; None where that leaves too few to score.
    `vocabulary` is the number of tokens that the model has, where it is known; the tokenizer may have more."""
    if max_tokens <= LEAST_TOKENS:
        return None
    random = np.random.default_rng(seed)
    control = {*chat.controls.ids.values()}
    ids: list[int] = sorted(chat.tokenizer.get_vocab().values())
    ordinary = [i for i in ids if i not in control and (vocabulary is None or i < vocabulary)]
    clips, head, expanded_ids = (), list[int](), list[int]()
    if chat.count_audio_tokens is not None and chat.clip_ids:
        clip = Clip(data=encode(_sweep(random)))
        opening, patch, closing = chat.clip_ids
        count = chat.count_audio_tokens(clip)
        # 2: the tokens that open and close the clip.
        if count + 2 + LEAST_TOKENS <= min(PROBE_TOKENS, max_tokens):
            clips = (clip,)
            head, expanded_ids = [opening, patch, closing], [opening, *[patch] * count, closing]
    # The first token follows nothing, so nothing scores it: it may as well be a clip's.
    words = random.choice(ordinary, min(PROBE_TOKENS, max_tokens) - len(expanded_ids)).tolist()
    return Probe((*head, *words), (*expanded_ids, *words), max(len(expanded_ids), 1), clips)


def _sweep(random: np.random.Generator) -> np.ndarray:
    """Return half a second of a rising tone in noise, [S] at 16 kHz."""
    time_S = np.arange(round(CLIP_S * SAMPLE_RATE)) / SAMPLE_RATE
    return 0.3 * np.sin(2 * np.pi * (300 + 1200 * time_S) * time_S) + random.uniform(-0.05, 0.05, len(time_S))


def probe_batch(probe: Probe) -> Batch:
    """Return the probe as a batch of one sequence, whose scored tokens are its actions."""
    import torch

    length = len(probe.tokens)
    return Batch(
        tokens_T=torch.tensor(probe.tokens),
        lengths_N=torch.tensor([length]),
        action_mask_T=torch.arange(length) >= probe.start,
        rollout_logprobs_A=torch.zeros(length - probe.start),
        scores_N=torch.zeros(1),
        groups_N=torch.zeros(1, dtype=torch.long),
        clips_N=(probe.clips,),
        names_N=("probe",),
    )
