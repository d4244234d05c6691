"""Text of a run as HTML, and as JSON inside HTML."""

from __future__ import annotations

import html
import json

from rl.redaction import redact_text
from rl.terminal import UNSAFE, printable, visible


def escape(text: str) -> str:
    """Return `text` with HTML's special characters escaped, and with control characters and marks that change the order of
    reading made visible."""
    return html.escape(printable(text))


def to_json(values: object) -> str:
    """Return `values` as JSON for a script element, with marks that change the order of reading made visible."""
    text = redact_text(json.dumps(values, ensure_ascii=False, separators=(",", ":")))
    # A second backslash: the escape is to be read by people, not by the page's script.
    return UNSAFE.sub(lambda match: "\\" + visible(match[0]), text).replace("<", "\\u003c")


def format_share(value: float) -> str:
    return f"{100 * value:.1f} %"
