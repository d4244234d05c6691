from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.tokenizer import ADDED_TOKENS, CONTROL, ROLES, VOCABULARY, byte_tokenizer
from rl.think import THINK_CLOSE, THINK_OPEN

TOKENIZER = byte_tokenizer()
TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # all but lone surrogates, which UTF-8 cannot write


@given(TEXT)
def test_any_text_comes_back(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False).input_ids
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == text


def test_the_vocabulary_is_bytes_and_control_tokens() -> None:
    assert len(TOKENIZER) == len(VOCABULARY) == 256 + len(ADDED_TOKENS)
    assert sorted(VOCABULARY.values()) == list(range(len(VOCABULARY)))
    assert TOKENIZER("Aé", add_special_tokens=False).input_ids == [65, 0xC3, 0xA9]
    for token in (*CONTROL, THINK_OPEN, THINK_CLOSE, *ROLES):
        assert TOKENIZER(token, add_special_tokens=False).input_ids == [VOCABULARY[token]]
    assert TOKENIZER.convert_ids_to_tokens(TOKENIZER.eos_token_id) == "<|EOT|>"


def test_it_is_the_same_from_disk(tmp_path: str) -> None:
    from models.load import load_tokenizer

    TOKENIZER.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    text = f"naïve\n<|BOT|>user\n{THINK_OPEN} 私 {THINK_CLOSE}<|EOT|>"
    assert loaded(text).input_ids == TOKENIZER(text).input_ids
    assert loaded.chat_template == TOKENIZER.chat_template
