"""A tokenizer's tokens, read from its file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from models.vocabulary import read_vocabulary


@pytest.mark.parametrize("entry", [[], "a", None])
def test_an_entry_without_a_token_is_one_line(tmp_path: Path, entry: object) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps({"model": {"vocab": [["a", 0.0], entry]}}))
    line = f"{file}: model.vocab[1] is not [token, score]; fetch the file again"
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        read_vocabulary(tmp_path)
