"""The error of a stream of weights, apart from what raises it, which needs torch."""

from __future__ import annotations


class TransferError(RuntimeError):
    """Error for a stream that did not come to its end, because the other side failed or died."""
