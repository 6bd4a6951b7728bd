"""`models`: the engines, what they need, and the weights of those that need any."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from ..core import paths
from ..core.errors import InputError
from ..core.text import shown
from ..engines import engine_class, engine_names
from ..engines.pretrained import download, weights
from ..engines.pretrained.base import PretrainedEngine
from ..engines.pretrained.weights import Checkpoint
from .arguments import add_progress
from .terminal import bar_console, table_console

_MEGABYTE = 1e6


def add(verbs: Any) -> None:
    """Add the command to the parser's subcommands."""
    models = verbs.add_parser("models", help="the engines and their weights: list, download, import, verify, remove")
    actions = models.add_subparsers(required=True, metavar="ACTION")
    _add(actions, "list", _list, "all engines, whether they can run here, and all weights")
    info = _add(actions, "info", _info, "all about some weights")
    fetch = _add(actions, "download", _download, "fetch weights; goes on where an earlier download broke off")
    for action in (info, fetch):
        action.add_argument("names", metavar="NAME", nargs="+", help="of weights, or of an engine that needs them")
    fetch.add_argument("--accept-licence", action="store_true", help="agree to licences that are not permissive")
    add_progress(fetch)
    take_in = _add(actions, "import", _import, "take in weights from a file, where there is no internet")
    take_in.add_argument("name", metavar="NAME", help="of the weights")
    take_in.add_argument("file", metavar="FILE", type=Path)
    verify = _add(actions, "verify", _verify, "compare weights with their checksums")
    verify.add_argument("names", metavar="NAME", nargs="*", help="of weights or engines (default: all that are here)")
    remove = _add(actions, "remove", _remove, "delete weights")
    remove.add_argument("names", metavar="NAME", nargs="+", help="of weights")
    remove.add_argument("--forget", action="store_true", help="also forget the checksum that was recorded")


def _add(
    actions: Any, name: str, command: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    action: argparse.ArgumentParser = actions.add_parser(name, help=summary)
    action.set_defaults(command=command)
    return action


def _list(_options: argparse.Namespace) -> int:
    console = table_console()
    engines = Table("engine", "state", "library", "licence", "what it does")
    for name in engine_names():
        engine = engine_class(name)
        library = "yes" if engine.uses_library else "no"
        engines.add_row(name, engine.cannot_run() or "ready", library, engine.licence, engine.summary)
    console.print(engines)
    print(f"auto is {engine_class('auto').name} here. {_where_computed()}")
    print("library: whether labelled slices of other patients (`library`) are enough for it.")
    table = Table("weights", "state", "MB", "licence", "good at")
    for one in weights.checkpoints():
        table.add_row(one.name, _state(one), _megabytes(one.size), one.licence, one.good_at)
    console.print(table)
    print(f"Weights lie in {shown(weights.folder())}.")
    return 0


def _info(options: argparse.Namespace) -> int:
    for one in _named(options.names):
        _tell(one, sys.stdout)
    return 0


def _download(options: argparse.Namespace) -> int:
    wanted = _named(options.names)
    for one in wanted:
        accepted = one.permissive or options.accept_licence or _agreed(one)
        with _shown(options.progress, one) as progress:
            path = download.download(one, accepted, progress)
        _say(options.progress, f"{one.name}: {path}")
        if one.sha256 is None and one.md5 is None:
            _say(
                options.progress, f"  Nobody published a checksum; that of this file is in {weights.record_of(one)}."
            )
    return 0


def _import(options: argparse.Namespace) -> int:
    (one,) = _named([options.name])
    path = download.take_in(one, options.file)
    print(f"{one.name}: {shown(path)}")
    if not one.permissive:
        print(f"  Licence {one.licence}: {one.restrictions}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    chosen = _named(options.names) if options.names else [one for one in weights.checkpoints() if _is_there(one)]
    worst = 0
    for one in chosen:
        try:
            weights.verified(one)
        except InputError as error:
            print(f"fewshot-annotate: {error}", file=sys.stderr)
            worst = 2
        else:
            print(f"{one.name}: as {'published' if one.sha256 or one.md5 else 'first seen'}")
    if not chosen:
        print("There are no weights here.")
    return worst


def _remove(options: argparse.Namespace) -> int:
    for one in [weights.checkpoint(name) for name in options.names]:
        print(f"{one.name}: {'deleted' if download.remove(one, options.forget) else 'was not here'}")
    return 0


def _named(names: Iterable[str]) -> list[Checkpoint]:
    """Checkpoints by their names; an engine stands for the preferred ones of all it needs."""
    found: dict[str, Checkpoint] = {}
    for name in names:
        engine = engine_class(name) if name in engine_names() else None
        if engine is not None and issubclass(engine, PretrainedEngine):
            chosen = [weights.checkpoint(alternatives[0]) for alternatives in engine.checkpoints.values()]
        else:
            chosen = [weights.checkpoint(name)]
        found |= {one.name: one for one in chosen}
    return list(found.values())


def _agreed(one: Checkpoint) -> bool:
    """Ask the user to agree to the licence, where there is somebody to ask."""
    if weights.is_ready(one):
        return True
    _tell(one, sys.stderr)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(
        f"Do you agree to the licence {one.licence} ({one.licence_url})? [y/N] ", end="", file=sys.stderr, flush=True
    )
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _tell(one: Checkpoint, stream: Any) -> None:
    used = [name for name in engine_names() if _uses(name, one)]
    seconds = "not measured" if one.seconds_per_slice is None else f"about {one.seconds_per_slice:g} on two cores"
    rows = {
        "state": _state(one),
        "file": weights.path_of(one),
        "published at": one.url,
        "revision": one.revision or "none",
        "size in MB": _megabytes(one.size),
        "SHA-256": one.sha256 or weights.known_digests(one).get("sha256", "none yet"),
        "MD5": one.md5 or "none",
        "checksum": one.checksum_source,
        "licence": f"{one.licence}, {one.licence_url}",
        "restrictions": one.restrictions,
        "cite": one.citation,
        "good at": one.good_at,
        "used by": ", ".join(used) or "no engine",
        "seconds a slice": seconds,
    }
    print(f"{one.name}: {one.title}", file=stream)
    for name, value in rows.items():
        print(f"  {name + ':':<17}{shown(value)}", file=stream)


def _uses(engine_name: str, one: Checkpoint) -> bool:
    engine = engine_class(engine_name)
    return issubclass(engine, PretrainedEngine) and any(one.name in names for names in engine.checkpoints.values())


def _is_there(one: Checkpoint) -> bool:
    return paths.is_file(weights.path_of(one))


def _state(one: Checkpoint) -> str:
    if _is_there(one):
        return "here" if weights.is_ready(one) else "here, but of unknown origin"
    partial = download.partial_of(one)
    return f"partly here ({_megabytes(paths.size(partial))} MB)" if paths.is_file(partial) else "not here"


def _megabytes(size: int | None) -> str:
    return "unknown" if size is None else f"{size / _MEGABYTE:.1f}"


def _where_computed() -> str:
    """Where engines that use torch compute, and why."""
    try:
        from ..engines.device import why_no_gpu
    except ImportError:
        return "torch is not installed."
    reason = why_no_gpu()
    return f"torch computes on the processor: {reason}." if reason else "torch computes on the NVIDIA GPU."


def _say(kind: str, text: str) -> None:
    if kind != "json":
        print(text)


@contextmanager
def _shown(kind: str, one: Checkpoint) -> Iterator[download.Progress]:
    """Shows a download as a bar on stderr, as JSON lines on stdout, or not at all."""
    if kind == "json":
        yield lambda done, total: print(
            json.dumps({"event": "download", "name": one.name, "done": done, "total": total}), flush=True
        )
    elif kind == "none":
        yield lambda done, total: None
    else:
        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
        with Progress(*columns, TimeRemainingColumn(), console=bar_console()) as bar:
            task = bar.add_task(one.name, total=one.size)
            yield lambda done, total: bar.update(task, completed=done, total=total or one.size)
