"""`models`: list engines, and manage pretrained weights."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..core import paths
from ..core.errors import InputError
from ..core.exit_codes import ExitCode
from ..core.text import printable
from ..engines.base import Engine
from ..engines.gpu import why_no_gpu_before_loading
from ..engines.pretrained.base import PretrainedEngine
from ..engines.pretrained.engine_weights import engine_using
from ..engines.registry import engine_class, engine_names
from ..weights import catalog, download, store
from ..weights.catalog import Checkpoint
from .activity_indicator import activity_indicator
from .arguments import add_progress
from .consent import add_yes, require_yes
from .messages import error_text
from .progress import Column, Display, open_display
from .terminal import table_console, text_table

_MEGABYTE = 1e6
_SHORT_STATES = {
    "needs_package": "needs packages",
    "needs_packages": "needs packages",
    "needs_weights": "needs weights",
}


def add_arguments(models: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    actions = models.add_subparsers(required=True, metavar="ACTION")
    _add(actions, "list", _list, "all engines, whether they can run here, and all weights")
    info = _add(actions, "info", _info, "all about an engine, its options and its weights")
    download = _add(actions, "download", _download, "download weights; goes on where an earlier download broke off")
    for action in (info, download):
        action.add_argument("names", metavar="NAME", nargs="+", help="of weights or of an engine")
    download.add_argument("--accept-licence", action="store_true", help="agree to licences that are not permissive")
    add_progress(download)
    import_parser = _add(actions, "import", _import, "import weights from a file, for use without internet")
    import_parser.add_argument("name", metavar="NAME", help="of the weights")
    import_parser.add_argument("file", metavar="FILE", type=Path, help="file that was downloaded elsewhere")
    verify = _add(actions, "verify", _verify, "compare weights with their checksums")
    verify.add_argument("names", metavar="NAME", nargs="*", help="of weights or engines (default: all that are here)")
    remove = _add(actions, "remove", _remove, "delete weights")
    remove.add_argument("names", metavar="NAME", nargs="+", help="of weights")
    add_yes(remove)
    remove.add_argument("--forget", action="store_true", help="also delete the recorded checksum")


def _add(
    actions: Any, name: str, command: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    action: argparse.ArgumentParser = actions.add_parser(name, help=summary)
    action.set_defaults(command=command)
    return action


def _list(_options: argparse.Namespace) -> int:
    console = table_console()
    engines = text_table("engine", "state", "what it does")
    for name in engine_names():
        engines.add_row(name, _short_state(engine_class(name)), engine_class(name).summary)
    console.print(engines)
    print(f"auto is {engine_class('auto').name} here. {_where_computed()}")
    table = text_table("weights", "state", "MB", "licence")
    for checkpoint in catalog.checkpoints():
        table.add_row(checkpoint.name, _state(checkpoint), _megabytes(checkpoint.size), checkpoint.licence)
    console.print(table)
    print(f"Weights lie in {printable(store.folder())}.")
    print("All about an engine or its weights: fewshot-annotate models info NAME")
    return ExitCode.DONE


def _info(options: argparse.Namespace) -> int:
    for name in options.names:
        if name in engine_names():
            _print_engine(engine_class(name))
    for checkpoint in _named(name for name in options.names if not _is_built_in(name)):
        _print_details(checkpoint, sys.stdout)
    return ExitCode.DONE


def _is_built_in(name: str) -> bool:
    return name in engine_names() and not issubclass(engine_class(name), PretrainedEngine)


def _print_engine(engine: type[Engine]) -> None:
    """Print what an engine does, needs and lets users set."""
    rows = {
        "state": _readiness(engine),
        "what it does": engine.summary,
        "licence": engine.licence,
        "devices": ", ".join(map(str, engine.devices)),
        "needs": "the model of a task or labelled slices of the volume" if engine.uses_model else _support_of(engine),
        "weights": ", ".join(" or ".join(names) for names in _checkpoint_names(engine)) or "none",
    }
    print(f"{engine.name}: {engine.title}")
    for name, value in rows.items():
        print(f"  {name + ':':<17}{printable(value)}")
    if not engine.options:
        print("  It has no options.")
        return
    table = text_table("option", "default", "allowed", "what it sets", title="Options, set with --option NAME=VALUE")
    for name, option in engine.options.items():
        table.add_row(name, str(option.default), str(option.allowed()), option.help)
    table_console().print(table)


def _support_of(engine: type[Engine]) -> str:
    if engine.uses_library:
        return "labelled slices of the volume, or of other patients"
    return "labelled slices of the volume"


def _checkpoint_names(engine: type[Engine]) -> list[tuple[str, ...]]:
    return list(engine.checkpoints.values()) if issubclass(engine, PretrainedEngine) else []


def _short_state(engine: type[Engine]) -> str:
    """State of an engine in one or two words."""
    reason = engine.unavailable_reason()
    if reason is None:
        return "ready"
    return _SHORT_STATES.get(reason.code, "cannot run here")


def _download(options: argparse.Namespace) -> int:
    chosen = _named(options.names)
    for checkpoint in chosen:
        accepted = checkpoint.permissive or options.accept_licence or _agreed(checkpoint)
        with open_display(options.progress, _download_display(checkpoint)) as show:
            path = download.download(
                checkpoint, accepted, engine_using(checkpoint), lambda done, total: show((done, total))
            )
        _print_unless_json(options.progress, f"{checkpoint.name}: {path}")
        if checkpoint.sha256 is None and checkpoint.md5 is None:
            _print_unless_json(
                options.progress,
                f"  Nobody published a checksum; that of this file is in {store.record_of(checkpoint)}.",
            )
    return ExitCode.DONE


def _import(options: argparse.Namespace) -> int:
    (checkpoint,) = _named([options.name])
    with activity_indicator("bar", "Reading"):
        path = download.import_file(checkpoint, options.file, engine_using(checkpoint))
    print(f"{checkpoint.name}: {printable(path)}")
    if not checkpoint.permissive:
        print(f"  Licence {checkpoint.licence}: {checkpoint.restrictions}")
    return ExitCode.DONE


def _verify(options: argparse.Namespace) -> int:
    chosen = (
        _named(options.names)
        if options.names
        else [checkpoint for checkpoint in catalog.checkpoints() if _is_downloaded(checkpoint)]
    )
    worst = 0
    for checkpoint in chosen:
        try:
            with activity_indicator("bar", f"Verifying {checkpoint.name}"):
                store.verified(checkpoint)
        except InputError as error:
            print(f"fewshot-annotate: {error_text(error)}", file=sys.stderr)
            worst = 2
        else:
            print(f"{checkpoint.name}: as {'published' if checkpoint.sha256 or checkpoint.md5 else 'first seen'}")
    if not chosen:
        print("There are no weights here.")
    return worst


def _remove(options: argparse.Namespace) -> int:
    chosen = [catalog.checkpoint(name) for name in options.names]
    there = [checkpoint.name for checkpoint in chosen if _state(checkpoint) != "not here"]
    if there:
        require_yes(options, f"the downloaded file of {', '.join(there)}")
    for checkpoint in chosen:
        print(f"{checkpoint.name}: {'deleted' if download.remove(checkpoint, options.forget) else 'was not here'}")
    return ExitCode.DONE


def _named(names: Iterable[str]) -> list[Checkpoint]:
    """Checkpoints by name; for an engine name, the preferred checkpoints that it needs.

    Raises
    ------
    InputError
        A name is that of nothing, or of an engine without weights.
    """
    by_name: dict[str, Checkpoint] = {}
    for name in names:
        engine = engine_class(name) if name in engine_names() else None
        if engine is not None and issubclass(engine, PretrainedEngine):
            chosen = [catalog.checkpoint(alternatives[0]) for alternatives in engine.checkpoints.values()]
        elif engine is not None:
            raise InputError("engine_without_weights", engine=name)
        elif name in {checkpoint.name for checkpoint in catalog.checkpoints()}:
            chosen = [catalog.checkpoint(name)]
        else:
            raise InputError("model_unknown", name=name)
        by_name |= {checkpoint.name: checkpoint for checkpoint in chosen}
    return list(by_name.values())


def _agreed(checkpoint: Checkpoint) -> bool:
    """Ask the user to agree to the licence, if run interactively."""
    if store.is_ready(checkpoint):
        return True
    _print_details(checkpoint, sys.stderr)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(
        f"Do you agree to the licence {checkpoint.licence} ({checkpoint.licence_url})? [y/N] ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _print_details(checkpoint: Checkpoint, stream: Any) -> None:
    used = [name for name in engine_names() if _uses(name, checkpoint)]
    seconds = (
        "not measured"
        if checkpoint.seconds_per_slice is None
        else f"about {checkpoint.seconds_per_slice:g} on two cores"
    )
    rows = {
        "state": _state(checkpoint),
        "file": store.path_of(checkpoint),
        "published at": checkpoint.url,
        "revision": checkpoint.revision or "none",
        "size in MB": _megabytes(checkpoint.size),
        "SHA-256": checkpoint.sha256 or store.known_digests(checkpoint).get("sha256", "none yet"),
        "MD5": checkpoint.md5 or "none",
        "checksum": checkpoint.checksum_source,
        "licence": f"{checkpoint.licence}, {checkpoint.licence_url}",
        "restrictions": checkpoint.restrictions,
        "cite": checkpoint.citation,
        "good at": checkpoint.good_at,
        "used by": ", ".join(used) or "no engine",
        "seconds a slice": seconds,
    }
    print(f"{checkpoint.name}: {checkpoint.title}", file=stream)
    for name, value in rows.items():
        print(f"  {name + ':':<17}{printable(value)}", file=stream)


def _uses(engine_name: str, checkpoint: Checkpoint) -> bool:
    engine = engine_class(engine_name)
    return issubclass(engine, PretrainedEngine) and any(
        checkpoint.name in names for names in engine.checkpoints.values()
    )


def _is_downloaded(checkpoint: Checkpoint) -> bool:
    return paths.is_file(store.path_of(checkpoint))


def _state(checkpoint: Checkpoint) -> str:
    if _is_downloaded(checkpoint):
        return "here" if store.is_ready(checkpoint) else "here, but of unknown origin"
    partial = store.partial_of(checkpoint)
    return f"partly here ({_megabytes(paths.size(partial))} MB)" if paths.is_file(partial) else "not here"


def _readiness(engine: type[Engine]) -> str:
    reason = engine.unavailable_reason()
    return "ready" if reason is None else error_text(reason)


def _megabytes(size: int | None) -> str:
    return "unknown" if size is None else f"{size / _MEGABYTE:.1f}"


def _where_computed() -> str:
    """Sentence on the device that torch uses, and why."""
    try:
        reason = why_no_gpu_before_loading()
    except ImportError:
        return "torch is not installed."
    if reason is None:
        return "torch computes on the NVIDIA GPU."
    return f"torch computes on the processor: {error_text(reason)}."


def _print_unless_json(kind: str, text: str) -> None:
    if kind != "json":
        print(text)


def _download_display(checkpoint: Checkpoint) -> Display[tuple[int, int | None]]:
    """How bytes that have arrived, and those of the whole file if that is known, are shown."""

    def line_of(step: tuple[int, int | None]) -> str:
        return json.dumps({"event": "download", "name": checkpoint.name, "done": step[0], "total": step[1]})

    return Display(
        columns=(Column.DOWNLOADED, Column.SPEED, Column.REMAINING),
        show=lambda bar, step: bar.update(checkpoint.name, step[0], step[1] or checkpoint.size),
        line_of=line_of,
    )
