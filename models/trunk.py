"""Computes the states of a model's trunk that heads read: those before the actions of a pack.

Suffixes: T tokens of a pack, S those of a rank's share, N sequences, A actions, a those of a rank's share, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from torch import Tensor

from models.hearing import Hearing
from models.sequence_parallel import ALONE, SequenceGroup
from models.shared_prompts import plan_trunk
from models.shares import Share, share_of
from models.varlen import send, take_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def states_before_actions(
    trunk: PreTrainedModel,
    hearing: Hearing | None,
    tokens_T: Tensor,
    lengths_N: Tensor,
    action_mask_T: Tensor,
    sounds: Sequence[Tensor],
    groups_N: Tensor | None,
    group: SequenceGroup,
) -> tuple[Tensor, Share]:
    """Return the trunk's hidden state [a, H] at the token before each action of this rank's share of the pack, which is the
    one that predicts it, and the share: all of it where the rank is alone."""
    groups_N = None if groups_N is None else groups_N.cpu()
    # In the host's memory where they come from a trainer: nothing here waits for a GPU.
    plan = plan_trunk(tokens_T.cpu(), lengths_N.cpu(), action_mask_T.cpu(), groups_N, group.size)
    device = cast("Tensor", trunk.get_input_embeddings().weight).device
    share, segments = share_of(group, plan).to(device), plan.segments.to(device)
    tokens_T, action_mask_T = send(tokens_T, device), send(action_mask_T, device)
    tokens_S = tokens_T[share.tokens_S]
    if hearing is None:
        assert not sounds, "a model of text only takes no clips"
        inputs = {"input_ids": tokens_S[None]}
    else:
        embeddings_SH: Tensor = trunk.get_input_embeddings()(tokens_S)
        embeddings_SH = hearing.place(embeddings_SH, share.tokens_S, tokens_T, action_mask_T, sounds)
        inputs = {"inputs_embeds": embeddings_SH[None]}
    hidden_SH = trunk(
        **inputs,
        position_ids=share.positions_S[None],
        attention_mask=None,
        use_cache=False,  # with a cache neighbours in the pack would silently see each other
        segments=segments,  # transformers hands these down to `models.attention.segment_attention`
        sequence_group=None if group is ALONE else group,
    ).last_hidden_state.squeeze(0)
    return take_rows(hidden_SH, share.before_a), share
