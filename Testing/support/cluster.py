"""Schedulers and workers of dask, as users start them."""

from __future__ import annotations

import socket

from support.processes import Spawned


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def start_scheduler(spawned: Spawned, environment: dict[str, str], protocol: str = "tcp") -> tuple[str, int]:
    """A dask scheduler as users start one, with its address and process id."""
    port = free_port()
    options = ("--host", "127.0.0.1", "--port", str(port), "--protocol", protocol, "--no-dashboard", "--no-show")
    process = spawned.python(
        "-W", "ignore", "-m", "distributed.cli.dask_scheduler", *options, environment=environment
    )
    return f"{protocol}://127.0.0.1:{port}", process.pid


def start_worker(spawned: Spawned, address: str, environment: dict[str, str]) -> None:
    options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1")
    spawned.python("-W", "ignore", "-m", "distributed.cli.dask_worker", address, *options, environment=environment)
