"""Builds the byte tokenizer of models built from scratch: it represents every text, learns nothing and has few tokens.

Chat format and control tokens are those of Step-Audio-R1 (`<|BOT|>role\\n … <|EOT|>`, `<audio_patch>`); a role's header
is one token each, because in a model of this size every token costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rl.think import THINK_CLOSE, THINK_OPEN
from rl.types import AUDIO_PATCH

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, BEGIN_OF_TURN, END_OF_TURN = "<|endoftext|>", "<|BOT|>", "<|EOT|>"  # the padding has the name that Qwen gives it
AUDIO_START, AUDIO_END = "<audio_start>", "<audio_end>"
AUDIO = AUDIO_START + AUDIO_PATCH + AUDIO_END
"""Text that stands in a prompt for one clip."""
CONTROL = (PAD, BEGIN_OF_TURN, END_OF_TURN, AUDIO_START, AUDIO_PATCH, AUDIO_END)
ROLES = ("system\n", "user\n", "assistant\n")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|BOT|>{{ message['role'] }}\n{{ message['content'] }}<|EOT|>{% endfor %}"
    "{% if add_generation_prompt %}<|BOT|>assistant\n<think>\n{% endif %}"
)


def _byte_alphabet() -> list[str]:
    """Return GPT-2's printable stand-in for each of the 256 bytes, in byte order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    stand_ins = iter(range(256, 512))  # for control characters and spaces
    return [chr(byte) if byte in printable else chr(next(stand_ins)) for byte in range(256)]


ADDED_TOKENS = (*CONTROL, THINK_OPEN, THINK_CLOSE, *ROLES)
VOCABULARY = {token: i for i, token in enumerate([*_byte_alphabet(), *ADDED_TOKENS])}
"""Token → id: the 256 bytes, then the added tokens."""


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return the byte tokenizer, with its chat template."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(vocab=VOCABULARY, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(token, special=token in CONTROL, normalized=False) for token in ADDED_TOKENS])
    # Without the clean-up, which would drop blanks before punctuation: every text has to come back as it was.
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END_OF_TURN, pad_token=PAD, clean_up_tokenization_spaces=False
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
