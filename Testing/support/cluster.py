"""Dask schedulers and workers, started by the commands that users run."""

from __future__ import annotations

import socket

from support.processes import Spawned


def free_port() -> int:
    """A TCP port of this machine that is not in use."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def start_scheduler(spawned: Spawned, environment: dict[str, str], protocol: str = "tcp") -> tuple[str, int]:
    """Start a dask scheduler; returns its address and process id."""
    port = free_port()
    options = ("--host", "127.0.0.1", "--port", str(port), "--protocol", protocol, "--no-dashboard", "--no-show")
    process = spawned.python(
        "-W", "ignore", "-m", "distributed.cli.dask_scheduler", *options, environment=environment
    )
    return f"{protocol}://127.0.0.1:{port}", process.pid


def start_worker(spawned: Spawned, address: str, environment: dict[str, str]) -> None:
    """Start a dask worker of the scheduler at an address."""
    options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1")
    spawned.python("-W", "ignore", "-m", "distributed.cli.dask_worker", address, *options, environment=environment)
