"""Secrets, kept out of all that a run writes and prints.

A value is taken for a secret by where it comes from (the environment, through `${oc.env:NAME}`, or a key such as `hf_token`)
and by its form (a bearer token, a password in a URL, a provider's key). In texts and saved recipes `${oc.env:NAME}` stands
in place of what came from there, so that a run reads it again from the environment when it is resumed; HIDDEN stands for
the rest.
"""

from __future__ import annotations

import html
import itertools
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar  # for nested recipe values
from urllib.parse import quote

HIDDEN = "<hidden>"
SHORTEST = 6
"""Characters of the shortest value that is looked for in texts: a shorter one (`1`, `true`) is no secret, and stands
everywhere."""
# A key that ends in `token` is a credential (`hf_token`), unless it names a vocabulary entry (`eos_token`).
VOCABULARY = {"eos", "bos", "pad", "unk", "sep", "cls", "mask", "stop", "end", "start", "special", "audio", "image"}
_SECRET_WORDS = {
    *("password", "passwd", "passphrase", "secret", "secrets", "credential", "credentials", "apikey"),
    *("authorization", "bearer", "cookie", "cookies"),
}
_SECRET_PAIRS = {("api", "key"), ("access", "key"), ("private", "key"), ("account", "key"), ("auth", "key")}

_FORMS = (
    # `Authorization: Bearer …`; a digit tells a token from a word.
    (re.compile(r"\b(bearer\s+)(?=[^\s\"',;]*\d)[\w.~+/=-]{6,}", re.IGNORECASE), r"\g<1>" + HIDDEN),
    (re.compile(r"\b(basic\s+)(?=[^\s\"',;]*[\d=])[A-Za-z0-9+/]{6,}={0,2}", re.IGNORECASE), r"\g<1>" + HIDDEN),
    # user:password@host and token@host
    (re.compile(r"\b([a-z][a-z0-9+.-]*://)[^\s/@\"'<>?#]+@", re.IGNORECASE), rf"\g<1>{HIDDEN}@"),
    # ?api_key=…
    (
        re.compile(
            r"([?&;](?:[a-z]+[_-])*(?:api[_-]?key|key|token|auth|authorization|sig|signature|password|passwd|pwd|secret|credential)=)"
            r"[^\s&;#\"'<>]+",
            re.IGNORECASE,
        ),
        r"\g<1>" + HIDDEN,
    ),
    # keys that tell their provider by their beginning, and JSON web tokens
    (
        re.compile(
            r"\b(?:sk-[\w-]{16,}|hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
            r"|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|xox[abeprs]-[\w-]{10,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*)"
        ),
        HIDDEN,
    ),
)


class _Secrets:
    """Secrets that this process has read, by the text that stands for each. A class and not an object: there is one for
    the process."""

    substitutes: ClassVar[dict[str, str]] = {}
    """Secret → what stands in its place."""
    pattern: ClassVar[re.Pattern[str] | None] = None
    """Pattern that finds every secret, in every spelling."""
    spellings: ClassVar[dict[str, str]] = {}
    """Spelling of a secret → what stands in its place."""


def remember(value: str, substitute: str = HIDDEN) -> None:
    """Look for `value` in all that is redacted from now on, and put `substitute` in its place. Left out are values that are
    too short, and paths of this machine: a message that names no path helps nobody."""
    is_path = os.path.isabs(os.path.expanduser(value)) and os.path.exists(os.path.expanduser(value))
    # `${oc.env:USER}` stands in the paths of everything.
    is_in_path = any(value in folder for folder in (os.getcwd(), os.path.expanduser("~")))
    if len(value) < SHORTEST or is_path or is_in_path or value in _Secrets.substitutes:
        return
    _Secrets.substitutes[value] = substitute
    for spelling in _spellings(value):
        _Secrets.spellings.setdefault(spelling, substitute)
    _compile()


def forget(names: Iterable[str]) -> None:
    """Stop looking for what stands in one of `names`: the names of runs, stages and data, which name files too."""
    for secret in [secret for secret in _Secrets.substitutes if any(secret in name for name in names)]:
        del _Secrets.substitutes[secret]
    _Secrets.spellings = {
        spelling: substitute for value, substitute in _Secrets.substitutes.items() for spelling in _spellings(value)
    }
    _compile()


def redact_text(text: str) -> str:
    """Return `text` without the secrets that this process has read, and without what has the form of one."""
    text = redact_origins(text)
    for form, replacement in _FORMS:
        text = form.sub(replacement, text)
    return text


def redact_origins(text: str) -> str:
    """Return `text` without the secrets that this process has read."""
    if _Secrets.pattern is None:
        return text
    return _Secrets.pattern.sub(lambda match: _Secrets.spellings[match[0]], text)


def redact(config: Any) -> Any:
    """Return a copy of a recipe (nested mappings and lists) in which every value is hidden that came from the environment,
    whose key looks secret, or that has the form of a secret."""
    if isinstance(config, Mapping):
        return {key: _hide(value) if is_secret(str(key), value) else redact(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [redact(value) for value in config]
    return _redact_leaf(config)


def keep_interpolations(config: Any) -> Any:
    """Return a copy of a recipe (nested mappings and lists) in which `${oc.env:NAME}` stands in place of what came from the
    environment."""
    if isinstance(config, Mapping):
        return {key: keep_interpolations(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [keep_interpolations(value) for value in config]
    if isinstance(config, str):
        for secret, substitute in sorted(_Secrets.substitutes.items(), key=lambda pair: -len(pair[0])):
            if substitute != HIDDEN:
                config = config.replace(secret, substitute)
    return config


def variables_in(text: str) -> list[str]:
    """Return the names of the variables that a saved recipe takes from the environment."""
    return sorted(set(re.findall(r"\$\{oc\.env:(\w+)", text)))


def remember_secrets(config: Any) -> None:
    """Remember the values of a recipe whose keys look secret: they may come back in an error or a verifier's reason."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            if is_secret(str(key), value):
                _remember_leaves(value)
            else:
                remember_secrets(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            remember_secrets(value)


def is_secret(key: str, value: object) -> bool:
    """Return whether `key` names a secret: `hf_token`, `x-api-key`, `Authorization`."""
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", key).lower())  # authToken: auth, token
    is_key = any(pair in _SECRET_PAIRS for pair in itertools.pairwise(words))
    is_token = words[-1:] == ["token"] and isinstance(value, str) and not VOCABULARY & set(words)
    # `api_key_env: NAME` names a variable and holds no secret.
    return (bool(_SECRET_WORDS & set(words)) or is_key or is_token) and words[-1:] != ["env"]


def _spellings(value: str) -> set[str]:
    """Return `value` as it may stand in a text: as it is, and as Python, JSON, HTML and URLs quote it."""
    as_json = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    return {value, repr(value)[1:-1], html.escape(value), quote(value), quote(value, safe=""), *as_json}


def _compile() -> None:
    # The longest first: one secret may be a part of another.
    longest_first = sorted(_Secrets.spellings, key=len, reverse=True)
    _Secrets.pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _redact_leaf(value: Any) -> Any:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and str(value) in _Secrets.substitutes:
        substitute = _Secrets.substitutes[str(value)]
        return f"${{oc.decode:{substitute}}}" if substitute.startswith("${") else substitute
    return value


def _hide(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _hide(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hide(inner) for inner in value]
    if isinstance(value, str) and redact_origins(value) != value:
        return redact_text(value)  # from the environment, where a resumed run finds it again
    # None, "" and `use_auth_token: true` give nothing away, and tell a reader what was set.
    return value if value is None or isinstance(value, bool) or value == "" else HIDDEN


def _remember_leaves(value: Any) -> None:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for inner in value:
            _remember_leaves(inner)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        remember(str(value))
