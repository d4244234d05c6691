"""The meeting of a trainer's ranks: the first one listens on its node's address, where the others find it."""

from __future__ import annotations

import socket
from typing import cast

import ray
import torch.distributed as dist


class Rendezvous:
    """One rank's side of the meeting."""

    def __init__(self) -> None:
        self._listener: socket.socket | None = None
        self._store: dist.TCPStore | None = None  # pyright: ignore[reportPrivateImportUsage]

    def listen(self) -> tuple[str, int]:
        """Listen on a free port of this node's address; return (address, port). For the first rank."""
        host = cast("str", ray.util.get_node_ip_address())  # loopback in a Ray of this machine's own
        self._listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        return host, int(self._listener.getsockname()[1])

    def open_store(self) -> tuple[str, int]:
        """Open a store at another free port of the address, once, for whoever connects to it; return (address, port)."""
        if self._store is None:
            meeting = Rendezvous()
            host, port = meeting.listen()
            assert meeting._listener is not None, "it listens"
            self._store = dist.TCPStore(  # pyright: ignore[reportPrivateImportUsage] # torch does not export the name
                host, port, is_master=True, wait_for_workers=False, master_listen_fd=meeting._listener.detach()
            )
        return self._store.host, int(self._store.port)

    def join(self, backend: str, host: str, port: int, rank: int, world: int) -> None:
        """Join the process group of `world` ranks whose first one listens at `host`. Collective."""
        # With a socket of our own: torch would listen on every address of the machine.
        listener = self._listener.detach() if self._listener else None
        store = dist.TCPStore(host, port, world, is_master=rank == 0, master_listen_fd=listener)  # pyright: ignore[reportPrivateImportUsage]
        dist.init_process_group(backend, store=store, rank=rank, world_size=world)
