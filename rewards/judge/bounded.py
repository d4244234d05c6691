"""Bounds what is read of a judge's reply, counted after decompression: 2 MB of gzip can hold gigabytes."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from httpx2 import AsyncByteStream, Response

MAX_REPLY_BYTES = 4 << 20
"""Bytes of the longest reply that is read; a verdict has a few hundred."""
REQUEST_HEADERS = {"Accept-Encoding": "gzip"}
"""Headers of each request: no other compression is read."""
_ANY_HEADER = 32 + zlib.MAX_WBITS  # zlib tells gzip's header from its own
_COMPRESSIONS = ("gzip", "x-gzip", "deflate")


class UnusableAnswer(ValueError):
    """An answer that cannot be read, or a refusal: another try may do better."""


async def bound_reply(reply: Response) -> None:
    """Bound the body of `reply`, which is not read yet: beyond MAX_REPLY_BYTES reading raises UnusableAnswer. For the
    `response` hooks of an HTTP client."""
    from httpx2 import AsyncByteStream

    source = reply.stream
    assert isinstance(source, AsyncByteStream), "the client is an asynchronous one"
    # Decompressed here, since the client would decompress each piece whole, however large it becomes; without the
    # header it takes the body for plain bytes.
    encoding = reply.headers.pop("content-encoding", "identity").strip().lower()

    class Bounded(AsyncByteStream):
        def __aiter__(self) -> AsyncIterator[bytes]:
            return _read(source, encoding)

        async def aclose(self) -> None:
            await source.aclose()

    reply.stream = Bounded()


async def _read(source: AsyncByteStream, encoding: str) -> AsyncIterator[bytes]:
    """Yield the decompressed pieces of a body. Raises UnusableAnswer for one that is too long or cannot be decompressed."""
    if encoding not in ("", "identity", *_COMPRESSIONS):
        raise UnusableAnswer(f"the judge's reply is compressed as {encoding[:40]!r}, which was not asked for")
    decoder = zlib.decompressobj(_ANY_HEADER) if encoding in _COMPRESSIONS else None
    received = total = 0
    async for piece in source:
        received += len(piece)
        if decoder:
            try:
                piece = decoder.decompress(piece, MAX_REPLY_BYTES + 1 - total)
            except zlib.error as error:
                raise UnusableAnswer(f"the judge's reply is not the {encoding} that it says") from error
        total += len(piece)
        if max(total, received) > MAX_REPLY_BYTES:
            raise UnusableAnswer(f"the judge's reply is longer than {MAX_REPLY_BYTES >> 20} MiB; the rest is not read")
        yield piece
