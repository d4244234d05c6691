"""Encoding of text in which a template's control tokens stand beside letters of a user that look like them.

Two kinds of signs travel in the text, and no user can type either, for both hold a random number: a guard before letters
that must stay letters, and a mark in the place of one control token. All is encoded in one piece, because normalizers and
merges look across the borders: text without such letters has exactly the ids that the tokenizer itself gives it.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer


class ControlTokens:
    """The control tokens of a fast tokenizer.

    Example: with `controls.guard` around what a user wrote,
    `controls.encode("<|im_start|>user\\n" + controls.guard("<|im_end|>") + "<|im_end|>")` has one `<|im_end|>`."""

    def __init__(self, tokenizer: Any) -> None:  # transformers has no common type for fast tokenizers of all models
        self.tokenizer = tokenizer
        self.secret = secrets.token_hex(8)
        # From a plane for private use: neither white space nor letters, and no normalizer changes them.
        self.guard_sign, self.guard_end = f"\U000f0000{self.secret}\U000f0001", f"\U000f0003{self.secret}\U000f0001"

    @cached_property
    def ids(self) -> dict[str, int]:
        """Ids of the control tokens by their text."""
        added: dict[int, AddedToken] = self.tokenizer.backend_tokenizer.get_added_tokens_decoder()
        return {token.content: i for i, token in added.items() if _is_control(token)}

    @cached_property
    def literals(self) -> re.Pattern[str]:
        """Return the pattern that finds control tokens that are not guarded, the longest at each place."""
        return re.compile(f"(?<!{re.escape(self.guard_sign)}){_any_of(self.ids)}")

    @cached_property
    def lookalikes(self) -> re.Pattern[str]:
        """Return the pattern of places at which letters of a control token begin, also of one that the end of the text
        cuts off: the template's next letters might complete it."""
        return re.compile(f"(?={_any_of(self.ids, cut_off=True)})(.)", re.DOTALL)

    def guard(self, text: str) -> str:
        """Return the text with a guard around the first letter of everything in it that looks like a control token. The
        template's program does not see the token then, either."""
        return self.lookalikes.sub(rf"{self.guard_sign}\1{self.guard_end}", text) if self.ids else text

    def mark(self, token_id: int) -> str:
        """Return the sign that is encoded as this control token."""
        return f"\U000f0002{self.secret}.{token_id}\U000f0001"

    def first(self, text: str) -> re.Match[str] | None:
        """Return the match of the first control token that is not guarded."""
        return self.literals.search(text) if self.ids else None

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text with guards and marks in it; what is neither guarded nor marked is the template's."""
        if self.secret not in text:
            ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
            control_ids = {*self.ids.values()}
            # A normalizer may make control tokens of letters that do not look like them (full-width ones, capitals).
            if sum(i in control_ids for i in ids) == (len(self.literals.findall(text)) if self.ids else 0):
                return ids
        marked = self.literals.sub(lambda match: self.mark(self.ids[match[0]]), text) if self.ids else text
        letters = marked.replace(self.guard_sign, "").replace(self.guard_end, "")
        return self._marked_tokenizer.encode(letters, add_special_tokens=False).ids

    @cached_property
    def _marked_tokenizer(self) -> Tokenizer:
        """The tokenizer with each control token renamed to its mark, so that no letters give a control token."""
        from tokenizers import Tokenizer

        layout: dict[str, Any] = json.loads(self.tokenizer.backend_tokenizer.to_str())
        marks = {text: self.mark(i) for text, i in self.ids.items()}
        for token in layout["added_tokens"]:
            if token["content"] in marks:
                token |= {"content": marks[token["content"]], "single_word": False}
        _rename(layout["model"], marks)
        # A post-processor would add tokens such as BOS; truncation belongs to whoever made the file.
        layout |= {"post_processor": None, "truncation": None, "padding": None}
        renamed_tokenizer = Tokenizer.from_str(json.dumps(layout))
        if any(renamed_tokenizer.token_to_id(mark) != self.ids[text] for text, mark in marks.items()):
            raise ValueError("the tokenizer's added tokens cannot be told from text; save it anew with transformers")
        return renamed_tokenizer


def _is_control(token: AddedToken) -> bool:
    """Return whether an added token steers the model. White space and plain words that were added are text."""
    plain = token.content.strip("▁ ")
    return token.special or not (token.content.isspace() or not plain or plain.isalnum())


def _rename(model: dict[str, Any], marks: dict[str, str]) -> None:
    """Rename tokens in the model of a tokenizer's layout, where BPE has a mapping and Unigram a list of pairs."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):
        model["vocab"] = [[marks.get(text, text), score] for text, score in vocabulary]
        return
    model["vocab"] = {marks.get(text, text): i for text, i in vocabulary.items()}
    if model.get("unk_token") in marks:
        model["unk_token"] = marks[model["unk_token"]]
    # A merge of a renamed token would name a text that the vocabulary lacks, and such a file is refused.
    if "merges" in model and not marks.keys().isdisjoint(vocabulary):
        model["merges"] = [merge for merge in model["merges"] if marks.keys().isdisjoint(_merge_tokens(merge))]


def _merge_tokens(merge: str | list[str]) -> tuple[str, str, str]:
    """Return the two parts of a merge, which older files write as one text, and what they become."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right, left + right


def _any_of(texts: Iterable[str], cut_off: bool = False) -> str:
    """Return a pattern of the texts, the longest first; with `cut_off` also of their beginnings at the end of a string.
    It is a tree, since models have thousands of control tokens that begin alike."""
    tree: dict[str, Any] = {}
    for text in texts:
        node = tree
        for letter in text:
            node = node.setdefault(letter, {})
        node[""] = {}  # here a text ends
    return _branches(tree, cut_off, root=True)


def _branches(node: dict[str, Any], cut_off: bool, root: bool = False) -> str:
    options = [re.escape(letter) + _branches(child, cut_off) for letter, child in node.items() if letter]
    if not options:
        return ""
    if cut_off and not root and "" not in node:
        options.append(r"\Z")
    return f"(?:{'|'.join(options)})" + ("?" if "" in node else "")
