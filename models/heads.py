"""What a trainer wraps: a causal LM that answers with logprobs (policy, reference) or with values (critic).

Both take a pack (sequences end to end, see `models.attention`) and answer at the actions only: the head runs on no
prompt token. The hidden state that predicts action i is the one at the token before it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.attention import Segments
from models.load import Dtype, empty_model, load_model
from models.logprobs import chunked_logprobs

CRITIC_FILE = "critic.safetensors"


class LogprobModel(nn.Module):
    """forward(tokens_T, lengths_N, written_T, temperature) -> (logprobs_A, entropy_A), float32."""

    def __init__(self, path: str | Path, dtype: Dtype, gradient_checkpointing: bool = False) -> None:
        super().__init__()
        self.lm = load_model(path, dtype)
        if gradient_checkpointing:
            self.lm.gradient_checkpointing_enable({"use_reentrant": False})

    def forward(
        self, tokens_T: Tensor, lengths_N: Tensor, written_T: Tensor, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        hidden_AH = _states_before_actions(self.lm.get_decoder(), tokens_T, lengths_N, written_T)
        head = self.lm.get_output_embeddings()
        return chunked_logprobs(hidden_AH, head.weight, tokens_T[written_T], temperature)


class ValueModel(nn.Module):
    """forward(tokens_T, lengths_N, written_T) -> values_A, float32: the value of the state before each action.

    The trunk is the policy's (or a path's); the head starts at zero, so that the first advantages are plain returns.
    A folder with an earlier critic's `critic.safetensors` gives trunk and head."""

    def __init__(self, path: str | Path, dtype: Dtype, gradient_checkpointing: bool = False) -> None:
        super().__init__()
        saved = Path(path) / CRITIC_FILE
        lm = empty_model(path, dtype) if saved.exists() else load_model(path, dtype)
        if gradient_checkpointing:
            lm.gradient_checkpointing_enable({"use_reentrant": False})
        self.trunk = lm.get_decoder()
        self.head = nn.Linear(lm.config.get_text_config().hidden_size, 1, dtype=self.trunk.dtype)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        if saved.exists():
            try:
                self.load_state_dict(load_file(saved))
            except (SafetensorError, RuntimeError) as error:
                why = str(error).splitlines()[-1].strip()
                raise ValueError(f"critic {saved}: {why}; expected one of the shape in its config.json") from error

    def save_config(self, folder: str | Path) -> None:
        """Writes the config.json that a folder with `critic.safetensors` needs."""
        self.trunk.config.save_pretrained(folder)

    def forward(self, tokens_T: Tensor, lengths_N: Tensor, written_T: Tensor) -> Tensor:
        return self.head(_states_before_actions(self.trunk, tokens_T, lengths_N, written_T))[:, 0].float()


def _states_before_actions(trunk: nn.Module, tokens_T: Tensor, lengths_N: Tensor, written_T: Tensor) -> Tensor:
    segments = Segments.of(lengths_N.cpu()).to(tokens_T.device)
    hidden_TH = trunk(
        input_ids=tokens_T[None],
        position_ids=segments.positions_T[None],
        attention_mask=None,
        use_cache=False,
        segments=segments,
    ).last_hidden_state[0]
    return hidden_TH[torch.nonzero(written_T)[:, 0] - 1]
