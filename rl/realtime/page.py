"""The page of `rl talk`: one file, which asks nothing but its own server."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

PAGE = Path(__file__).with_name("page.html")


@cache
def read_page() -> bytes:
    """Return the page."""
    return PAGE.read_bytes()


@cache
def page_headers() -> dict[str, str]:
    """Return the headers by which a browser runs the page's own script and nothing else, whatever a model has written."""
    (script,) = re.findall(r"<script>(.*?)</script>", read_page().decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; connect-src 'self'; "
        "img-src data:; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    }
