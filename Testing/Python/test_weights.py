"""Checks of a file of weights before it is loaded; the table of checkpoints."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
import zipfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import jsonschema
import pytest
import torch
from fewshot_annotate.core.data_folder import HOME_VARIABLE
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.engines.pretrained.base import PretrainedEngine
from fewshot_annotate.engines.registry import engine_class, engine_names
from fewshot_annotate.weights import catalog, store
from fewshot_annotate.weights.catalog import Checkpoint
from fewshot_annotate.weights.loading import load_state, read_state
from safetensors.torch import save_file
from support.hostile_weights import CreatesFile, replace_entry
from support.weights_server import toy_row, use_table

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}
SHAPES = {"a.weight": (2, 3), "a.bias": (2,)}


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def refusal(path: Path, code: str, **options: object) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(InputError) as caught:
        read_state(path, **options)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_table_fits_its_schema() -> None:
    table = json.loads(catalog.TABLE.read_text(encoding="utf-8"))
    jsonschema.validate(table, json.loads(catalog.SCHEMA.read_text(encoding="utf-8")))
    rows = table["checkpoints"]
    for key in ("name", "file", "url"):
        assert len({row[key] for row in rows}) == len(rows), key


def test_every_field_of_the_table_is_one_of_a_checkpoint() -> None:
    schema = json.loads(catalog.SCHEMA.read_text(encoding="utf-8"))
    assert set(schema["properties"]["checkpoints"]["items"]["properties"]) == set(Checkpoint.__dataclass_fields__)


def test_engines_name_checkpoints_of_the_table_and_each_is_used() -> None:
    classes = [engine_class(name) for name in engine_names()]
    named = {
        name
        for engine in classes
        if issubclass(engine, PretrainedEngine)
        for names in engine.checkpoints.values()
        for name in names
    }
    assert named == {checkpoint.name for checkpoint in catalog.checkpoints()}


def test_a_checkpoint_has_the_source_of_its_checksum_or_none() -> None:
    for one in catalog.checkpoints():
        nobody = "recorded when it first arrives" in one.checksum_source
        assert nobody == (one.sha256 is None and one.md5 is None), one.name


@pytest.mark.parametrize("name", ["../evil.pt", "/etc/evil.pt", "a/b.pt", "..", "C:evil.pt", "a\\b.pt", ".hidden"])
def test_a_file_name_that_leaves_the_folder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a plain file name"):
        Checkpoint.from_json(toy_row(file=name))


def test_files_lie_in_the_users_data_folder_or_that_of_the_environment_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    assert store.folder() == tmp_path / "weights"
    monkeypatch.delenv(HOME_VARIABLE)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert "FewShotAnnotate" in store.folder().parts
    assert not store.folder().is_relative_to(Path(catalog.__file__).parents[2])


def test_a_published_checksum_must_match_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = saved(tmp_path / "good.pt", STATE).read_bytes()
    row = toy_row(sha256=hashlib.sha256(good).hexdigest(), size=len(good))
    toy = use_table(tmp_path, monkeypatch, row)
    with pytest.raises(InputError, match="download them first"):
        load_state(toy, SHAPES)
    store.folder().mkdir(parents=True)
    store.path_of(toy).write_bytes(good)
    assert torch.equal(load_state(toy, SHAPES)["a.weight"], STATE["a.weight"])
    store.path_of(toy).write_bytes(good[:-1] + b"x")
    with pytest.raises(InputError) as caught:
        load_state(toy, SHAPES)
    assert caught.value.code == "weights_differ"
    store.path_of(toy).write_bytes(good[:-9])
    with pytest.raises(InputError) as caught:
        load_state(toy, SHAPES)
    assert caught.value.code == "weights_size"


def test_an_md5_is_compared_where_that_is_what_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = saved(tmp_path / "good.pt", STATE).read_bytes()
    toy = use_table(tmp_path, monkeypatch, toy_row(md5=hashlib.md5(good).hexdigest()))
    store.folder().mkdir(parents=True)
    store.path_of(toy).write_bytes(good)
    assert set(load_state(toy)) == set(STATE)
    store.path_of(toy).write_bytes(good + b"x")
    with pytest.raises(InputError, match="MD5"):
        load_state(toy)


def test_a_file_without_any_known_checksum_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = use_table(tmp_path, monkeypatch, toy_row())
    store.folder().mkdir(parents=True)
    saved(store.path_of(toy), STATE)
    assert not store.is_ready(toy)
    with pytest.raises(InputError, match="download 'toy' again"):
        load_state(toy)
    store.record_of(toy).write_text("no checksum\n", encoding="ascii")
    assert not store.is_ready(toy)


@pytest.mark.parametrize("kind", ["endless", "memory"])
def test_a_file_that_cannot_be_checked_is_refused_at_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = use_table(tmp_path, monkeypatch, toy_row(sha256="0" * 64))
    store.folder().mkdir(parents=True)
    if kind == "endless":
        with store.path_of(toy).open("wb") as file:
            file.truncate(store.MAX_UNKNOWN_BYTES + 1)  # takes no room, but minutes to read
    else:
        store.path_of(toy).symlink_to("/proc/self/mem")
    with pytest.raises(InputError) as caught:
        store.verified(toy)
    assert caught.value.code == "weights_damaged"
    assert str(store.path_of(toy)) in str(caught.value)


def test_safetensors_and_torch_files_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    save_file(STATE, path)
    for state in (read_state(path, SHAPES), read_state(saved(tmp_path / "toy.pt", STATE), SHAPES)):
        assert {name: value.tolist() for name, value in state.items()} == {
            name: value.tolist() for name, value in STATE.items()
        }


def test_a_state_dict_inside_a_training_checkpoint_is_found_by_its_key(tmp_path: Path) -> None:
    content = {"model": OrderedDict(STATE), "args": Namespace(lr=0.1), "epoch": 3}
    path = saved(tmp_path / "toy.pt", content)
    assert set(read_state(path, SHAPES, state_key="model")) == set(STATE)
    refusal(path, "weights_no_state", state_key="other")
    refusal(path, "weights_no_state")


def test_a_pickle_with_code_is_refused_and_its_code_does_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = saved(tmp_path / "toy.pt", {**STATE, "a.bias": CreatesFile(mark)})
    refusal(path, "weights_code")
    assert not mark.exists()
    old = tmp_path / "old.pt"
    torch.save({**STATE, "a.bias": CreatesFile(mark)}, old, _use_new_zipfile_serialization=False)
    refusal(old, "weights_damaged")
    bare = tmp_path / "bare.pt"
    bare.write_bytes(pickle.dumps(CreatesFile(mark)))
    refusal(bare, "weights_damaged")
    assert not mark.exists()


def test_code_under_the_name_of_an_allowed_function_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "toy.pt"
    saved(path, STATE)
    replace_entry(path, "data.pkl", b"cposix\nsystem\n(Vtrue\ntR.")
    refusal(path, "weights_code")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.98])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"toy{suffix}"
    state = {"a.weight": torch.zeros(100, 100)}
    save_file(state, path) if suffix == ".safetensors" else saved(path, state)
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    refusal(path, "weights_damaged")


def test_another_architecture_is_refused_in_one_line_without_loading(tmp_path: Path) -> None:
    for path in (tmp_path / "toy.pt", tmp_path / "toy.safetensors"):
        state = {"a.weight": torch.zeros(2, 4), "b.weight": torch.zeros(1), "a.scale": torch.zeros(())}
        save_file(state, path) if path.suffix == ".safetensors" else saved(path, state)
        line = refusal(path, "weights_architecture", expected={**SHAPES, "a.scale": (2,)})
        assert "missing: a.bias" in line
        assert "a.weight is 2x4 and not 2x3" in line
        assert "a.scale is a single number and not 2" in line
        assert "unknown: b.weight" in line


def test_many_missing_names_are_counted(tmp_path: Path) -> None:
    path = saved(tmp_path / "toy.pt", STATE)
    line = refusal(path, "weights_architecture", expected={**SHAPES, **{f"b{n}": (1,) for n in range(9)}})
    assert "b0, b1, b2 and 6 more" in line


def test_a_file_without_a_state_dict_is_refused(tmp_path: Path) -> None:
    for content in (STATE["a.bias"], [STATE], {}, {"a": 1}, {1: STATE["a.bias"]}):
        refusal(saved(tmp_path / "toy.pt", content), "weights_no_state")


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    path = saved(tmp_path / "toy.pt", {"a.weight": torch.zeros(1 << 20)})
    replace_entry(path, "none", b"", zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    refusal(path, "weights_bomb")


def test_a_zip_whose_entries_overlap_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "toy.pt", {"a.weight": torch.zeros(1 << 16)})
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start, largest = archive.start_dir, max(archive.infolist(), key=lambda info: info.file_size)
    entry = content.index(largest.filename.encode(), start) - 46  # in the list of entries at the archive's end
    name, extra, comment = struct.unpack("<HHH", content[entry + 28 : entry + 34])
    listed = content[entry : entry + 46 + name + extra + comment] * 40
    ending = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 40, 40, len(listed), start, 0)
    path.write_bytes(content[:start] + listed + ending)
    refusal(path, "weights_bomb")


def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "toy.pt"
    saved(path, {"a.weight": torch.zeros(4).expand(1 << 30, 4)})
    refusal(path, "weights_bomb")


def test_an_archive_that_names_a_path_outside_is_refused(tmp_path: Path) -> None:
    for name in ("../../evil", "/evil", "toy/../../evil"):
        path = saved(tmp_path / "toy.pt", STATE)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, b"x")
        refusal(path, "weights_escape")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["toy.pt"]


def test_a_web_page_is_refused_as_weights(tmp_path: Path) -> None:
    for suffix in (".pt", ".safetensors"):
        path = tmp_path / f"toy{suffix}"
        path.write_bytes(b"<!DOCTYPE html><html></html>" * 50)
        refusal(path, "weights_damaged")
