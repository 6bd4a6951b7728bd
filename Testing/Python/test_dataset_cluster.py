"""`batch` on several real worker processes: results are the same, even if one of them is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from fewshot_annotate import __version__
from fewshot_annotate.cli import main
from fewshot_annotate.datasets import cluster
from fewshot_annotate.datasets.status import Status
from support.batches import Dataset, make_dataset
from support.cluster import free_port, start_scheduler, start_worker
from support.processes import Spawned, alive, wait_for
from support.standin_engines import environment_with_standins, register

CASES = [f"case {number}" for number in range(4)]


@pytest.fixture
def dataset(awkward_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    register(monkeypatch.setitem)
    return make_dataset(awkward_path, CASES)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files that a batch in one process gives."""
    serial = make_dataset(tmp_path_factory.mktemp("serial"), CASES)
    assert main(serial.command()) == 0
    results = serial.results()
    assert len(results) == 4 * len(CASES)
    return results


@pytest.fixture
def standins(tmp_path: Path) -> dict[str, str]:
    return {**environment_with_standins(tmp_path), "DASK_TEMPORARY_DIRECTORY": str(tmp_path)}


def waiting_batch(dataset: Dataset, *more: str) -> list[str]:
    """Arguments of a batch whose cases wait for a file."""
    return dataset.command(
        "--option", "quick=0", "--option", f"slow={dataset.folder / 'slow'}", *more, engine="heavy"
    )


def processes_at_a_case(dataset: Dataset, count: int) -> list[int]:
    """Ids of the processes that are at a case, once there are `count`."""
    log = dataset.folder / "slow"
    wait_for(lambda: log.exists() and len(set(log.read_text().split())) >= count)
    return [int(pid) for pid in dict.fromkeys(log.read_text().split())]


def release(dataset: Dataset) -> None:
    (dataset.folder / "slow.go").touch()


@pytest.mark.slow
def test_local_workers_give_the_results_of_one_process_even_if_one_is_killed(
    dataset: Dataset, expected: dict[str, bytes], standins: dict[str, str], spawned: Spawned
) -> None:
    arguments = waiting_batch(dataset, "--workers", "2", "--progress", "json")
    batch = spawned.cli(*arguments, environment=standins)
    first, _ = processes_at_a_case(dataset, 2)
    os.kill(first, signal.SIGKILL)
    release(dataset)
    out, stderr = batch.communicate(timeout=60)
    assert batch.returncode == 0, stderr
    assert dataset.results() == expected
    counts = [json.loads(line)["counts"] for line in out.splitlines()]
    assert max(count["running"] for count in counts) == 2  # no more cases are submitted than there are workers
    assert counts[-1] == {"done": 4, "failed": 0, "running": 0, "total": 4}
    assert stderr == f"{dataset.output}: 4 done\n"


@pytest.mark.slow
def test_workers_of_a_scheduler_give_the_results_of_one_process_even_if_one_is_killed(
    dataset: Dataset, expected: dict[str, bytes], standins: dict[str, str], spawned: Spawned
) -> None:
    address, _ = start_scheduler(spawned, standins)
    for _ in range(2):
        start_worker(spawned, address, standins)
    batch = spawned.cli(*waiting_batch(dataset, "--scheduler", address), environment=standins)
    first, _ = processes_at_a_case(dataset, 2)
    os.kill(first, signal.SIGKILL)
    release(dataset)
    _, stderr = batch.communicate(timeout=60)
    assert batch.returncode == 0, stderr
    assert dataset.results() == expected
    assert {row.status for row in dataset.status().values()} == {Status.DONE}


@pytest.mark.slow
def test_a_case_that_always_kills_its_worker_does_not_stop_the_others(
    dataset: Dataset, standins: dict[str, str], spawned: Spawned
) -> None:
    dataset.rows[2]["engine"] = "crashing"
    dataset.write()
    batch = spawned.cli(*dataset.command("--workers", "2"), environment=standins)
    _, stderr = batch.communicate(timeout=60)
    assert batch.returncode == 1
    status = dataset.status()
    line = "row 4: the process that ran this case crashed (signal 11), 2 times."
    assert status["case 2"].message == line
    assert [row.status for name, row in status.items() if name != "case 2"] == [Status.DONE] * 3
    assert stderr == f"fewshot-annotate: case 2: {line}\n"


@pytest.mark.slow
def test_cancelling_ends_the_workers(dataset: Dataset, standins: dict[str, str], spawned: Spawned) -> None:
    batch = spawned.cli(*waiting_batch(dataset, "--workers", "2"), environment=standins)
    workers = processes_at_a_case(dataset, 2)
    for process in (*workers, batch.pid):  # as a terminal does on Ctrl-C
        os.kill(process, signal.SIGINT)
    _, stderr = batch.communicate(timeout=30)
    assert (batch.returncode, stderr) == (130, "fewshot-annotate: cancelled; --resume runs what is left.\n")
    assert not any(map(alive, workers))
    assert {row.status for row in dataset.status().values()} == {Status.SKIPPED}
    assert main(dataset.command("--resume")) == 0


@pytest.mark.slow
def test_workers_do_not_outlive_a_batch_that_is_killed(
    dataset: Dataset, standins: dict[str, str], spawned: Spawned
) -> None:
    batch = spawned.cli(*waiting_batch(dataset, "--workers", "2"), environment=standins)
    workers = processes_at_a_case(dataset, 2)
    batch.kill()
    batch.wait()
    wait_for(lambda: not any(map(alive, workers)), 15)
    assert main(dataset.command("--resume")) == 0
    assert {row.status for row in dataset.status().values()} == {Status.DONE}


@pytest.mark.slow
def test_a_batch_whose_scheduler_dies_ends_with_one_line(
    dataset: Dataset, standins: dict[str, str], spawned: Spawned
) -> None:
    address, scheduler = start_scheduler(spawned, standins)
    start_worker(spawned, address, standins)
    batch = spawned.cli(*waiting_batch(dataset, "--scheduler", address), environment=standins)
    processes_at_a_case(dataset, 1)
    os.kill(scheduler, signal.SIGKILL)
    began = time.monotonic()
    _, stderr = batch.communicate(timeout=60)
    assert time.monotonic() - began < 30
    assert batch.returncode == 1
    warning, stderr = stderr.splitlines()
    assert f"{address}: everybody who reaches this port can run programs as you" in warning
    assert (
        stderr == "fewshot-annotate: The dask scheduler no longer answers; start it again and continue with --resume."
    )
    assert {row.status for row in dataset.status().values()} == {Status.SKIPPED}


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{port}", "nonsense", "unknown://host:1"])
def test_an_address_where_no_scheduler_answers_is_refused(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    assert main(dataset.command("--scheduler", address.format(port=free_port()))) == 2
    stderr = capsys.readouterr().err
    assert "no dask scheduler answers there" in stderr
    assert stderr.count("\n") == 1


def test_workers_of_another_version_are_refused(
    dataset: Dataset, standins: dict[str, str], spawned: Spawned, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import Client  # takes half a second, of each process that collects the tests

    address, _ = start_scheduler(spawned, standins)
    start_worker(spawned, address, standins)
    code = (
        "import sys, fewshot_annotate; fewshot_annotate.__version__ = '9'\n"
        "from fewshot_annotate.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    with Client(address) as client:
        client.wait_for_workers(1, timeout=30)
    newer = spawned.python("-c", code, *dataset.command("--scheduler", address), environment=standins)
    _, stderr = newer.communicate(timeout=60)
    assert newer.returncode == 2
    assert f"its workers do not have this version of fewshot-annotate (version {__version__})" in stderr


def test_local_workers_cannot_be_reached_by_other_users(
    dataset: Dataset, standins: dict[str, str], spawned: Spawned
) -> None:
    batch = spawned.cli(*waiting_batch(dataset, "--workers", "2"), environment=standins)
    processes_at_a_case(dataset, 2)
    batch_process = psutil.Process(batch.pid)
    processes = [batch_process, *batch_process.children(recursive=True)]
    assert len(processes) >= 3
    assert [process.net_connections("inet") for process in processes] == [[]] * len(processes)
    addresses = [socket.laddr for process in processes for socket in process.net_connections("unix") if socket.laddr]
    assert addresses == []  # sockets without a name cannot be opened by others
    release(dataset)
    assert batch.wait(60) == 0


def certificates(folder: Path) -> dict[str, str]:
    """Environment that configures dask with a certificate made for the test."""
    key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
    arguments = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test")
    subprocess.run(["openssl", *arguments, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    environment = {"DASK_DISTRIBUTED__COMM__TLS__CA_FILE": certificate}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        environment[f"DASK_DISTRIBUTED__COMM__TLS__{role}__KEY"] = key
        environment[f"DASK_DISTRIBUTED__COMM__TLS__{role}__CERT"] = certificate
    return environment


@pytest.mark.slow
def test_a_scheduler_with_certificates_can_be_used_only_with_one(
    dataset: Dataset, expected: dict[str, bytes], standins: dict[str, str], spawned: Spawned, tmp_path: Path
) -> None:
    environment = {**standins, **certificates(tmp_path)}
    address, _ = start_scheduler(spawned, environment, "tls")
    start_worker(spawned, address, environment)
    batch = spawned.cli(*dataset.command("--scheduler", address), environment=environment)
    _, stderr = batch.communicate(timeout=60)
    assert (batch.returncode, stderr) == (0, "")
    assert dataset.results() == expected
    dataset.output.rename(dataset.folder / "with certificate")
    host_and_port = address.partition("://")[2]
    for url in (f"tcp://{host_and_port}", f"tls://{host_and_port}"):
        without_certificate = spawned.cli(*dataset.command("--resume", "--scheduler", url), environment=standins)
        _, stderr = without_certificate.communicate(timeout=60)
        assert without_certificate.returncode == 2
        assert "no dask scheduler answers there" in stderr
        assert stderr.count("\n") == 1
