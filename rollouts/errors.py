"""The error of a stream of weights, apart from what raises it, which needs torch."""

from __future__ import annotations

STREAM = "the stream of weights"
"""Words with which the text of each TransferError begins: of an error in a tensor-parallel engine's worker no more than its text
reaches the driver."""


class TransferError(RuntimeError):
    """Error for a stream that did not come to its end, because the other side failed or died."""
