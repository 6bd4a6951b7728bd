"""The manifest: valid tables of cases, and invalid ones, which are refused in one line that names the row."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.datasets.manifest import read_manifest, require_case_name
from fewshot_annotate.datasets.status import StatusFile
from hypothesis import given
from hypothesis import strategies as st
from support.batches import Dataset, make_dataset, read_valid_manifest

pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture
def dataset(awkward_path: Path) -> Dataset:
    return make_dataset(awkward_path)


def write_manifest(dataset: Dataset, text: str, encoding: str = "utf-8") -> None:
    dataset.manifest.write_bytes(text.encode(encoding))


def refusal(dataset: Dataset) -> str:
    with pytest.raises(InputError) as refused:
        read_valid_manifest(dataset.manifest)
    return str(refused.value)


def test_two_columns_are_enough_and_the_image_names_the_case(dataset: Dataset) -> None:
    write_manifest(dataset, "image,support\nimage.nii.gz,support.nii.gz\n")
    (case,) = read_valid_manifest(dataset.manifest).cases
    assert (case.row, case.name, case.engine, case.axis, case.labelled_slices) == (2, "image", "", None, None)
    assert (case.image, case.support) == (dataset.image, dataset.support)


def test_columns_are_read_in_any_order_and_rows_are_numbered_as_in_a_spreadsheet(dataset: Dataset) -> None:
    write_manifest(
        dataset,
        "name,support,axis,image,labelled_slices,engine,library\n"
        'a,support.nii.gz,1,image.nii.gz,"3, 10,20",adapt,liver\n'
        "\n"
        ",,,,,,\n"
        "b,support.nii.gz,auto,image.nii.gz,3;10;20,,\n",
    )
    first, second = read_valid_manifest(dataset.manifest).cases
    assert (first.axis, first.labelled_slices, first.engine, first.library) == (
        SliceAxis(1),
        (3, 10, 20),
        "adapt",
        "liver",
    )
    assert (second.row, second.axis, second.labelled_slices) == (5, None, (3, 10, 20))


@pytest.mark.parametrize("separator", ",;\t")
def test_a_table_from_a_spreadsheet_is_read_with_any_usual_separator(dataset: Dataset, separator: str) -> None:
    rows = (("Image", "Support", "Name"), ("image.nii.gz", "support.nii.gz", "été"))
    write_manifest(dataset, "\r\n".join(map(separator.join, rows)), "utf-8-sig")
    assert read_valid_manifest(dataset.manifest).cases[0].name == "été"


def test_paths_are_relative_to_the_folder_of_the_manifest_or_absolute(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    write_manifest(dataset, f"image,support\n{dataset.image},./support.nii.gz\n")
    (case,) = read_valid_manifest(dataset.manifest).cases
    assert case.image.samefile(dataset.image)
    assert case.support is not None
    assert case.support.samefile(dataset.support)


def test_without_a_support_there_must_be_a_library_task(dataset: Dataset) -> None:
    write_manifest(dataset, "image,support,library\nimage.nii.gz,,liver\n")
    assert read_valid_manifest(dataset.manifest).cases[0].support is None
    write_manifest(dataset, "image,support,library\nimage.nii.gz,,\n")
    assert "row 2: nothing is in column support" in refusal(dataset)


def test_a_table_without_images_is_refused_although_a_task_needs_no_support(dataset: Dataset) -> None:
    write_manifest(dataset, "picture,name\nimage.nii.gz,a\n")
    with pytest.raises(InputError, match="has no column image;"):
        read_manifest(dataset.manifest, "liver")


def test_unknown_columns_are_named(dataset: Dataset) -> None:
    write_manifest(dataset, "image,support,labeled_slices,age\nimage.nii.gz,support.nii.gz,3,70\n")
    assert read_valid_manifest(dataset.manifest).unknown == ("labeled_slices", "age")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("image,name\nimage.nii.gz,a\n", "the manifest has no column support;"),
        ("picture\nimage.nii.gz\n", "the manifest has no column image and support;"),
        ("", "the manifest has no column image and support;"),
        ("image,support,image\na,b,c\n", "two columns image"),
        ("image,support\n", "the manifest lists no case"),
        ("image,support\n\n,\n", "the manifest lists no case"),
        ("image,support\nimage.nii.gz,support.nii.gz,3,10\n", "row 2: it has 4 cells and the header 2"),
        ("image,support\n,support.nii.gz\n", "row 2: nothing is in column image"),
        ("image,support\n/nowhere/at/all.nii.gz,support.nii.gz\n", "row 2: /nowhere/at/all.nii.gz: no such file"),
        ("image,support\nimage.nii.gz,elsewhere.nii.gz\n", "elsewhere.nii.gz: no such file"),
        ("image,support\nimage.nii.gz,a\0b\n", "row 2: "),
        ("image,support\nimage.nii.gz," + "x" * 5000 + "\n", "row 2: "),
        ("image,support,axis\nimage.nii.gz,support.nii.gz,3\n", "row 2: Axis 3 does not exist"),
        ("image,support,labelled_slices\nimage.nii.gz,support.nii.gz,three\n", "row 2: 'three' is not a list"),
        ("image,support,name\nimage.nii.gz,support.nii.gz,../a\n", "row 2: '../a' cannot name a case"),
        ("image,support,name\nimage.nii.gz,support.nii.gz,status.csv\n", "row 2: 'status.csv' cannot name a case"),
        (
            "image,support,name\nimage.nii.gz,support.nii.gz,a\nimage.nii.gz,support.nii.gz,a\n",
            "row 3: case 'a' is in row 2 already",
        ),
        (
            "image,support\nimage.nii.gz,support.nii.gz\nimage.nii.gz,support.nii.gz\n",
            "row 3: case 'image' is in row 2 already",
        ),
        ('image,support\n"image.nii.gz,support.nii.gz\n', "the manifest cannot be read"),
    ],
)
def test_an_unusable_table_is_refused_in_one_line_and_nothing_is_written(
    dataset: Dataset, text: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(dataset, text)
    assert main(dataset.command()) == 2
    stderr = capsys.readouterr().err
    assert line in stderr
    assert stderr.startswith(f"fewshot-annotate: {dataset.manifest}")
    assert stderr.count("\n") == 1
    assert not dataset.output.exists()


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_table_in_another_encoding_is_refused(dataset: Dataset, encoding: str) -> None:
    write_manifest(dataset, "image,support,name\nimage.nii.gz,support.nii.gz,été\n", encoding)
    assert "save it as CSV in UTF-8" in refusal(dataset)


@pytest.mark.parametrize("path", [lambda d: d.folder / "none.csv", lambda d: d.folder])
def test_a_missing_table_is_refused(dataset: Dataset, path: Callable[[Dataset], Path]) -> None:
    with pytest.raises(InputError):
        read_valid_manifest(path(dataset))


def test_names_that_some_file_system_does_not_distinguish_are_refused(dataset: Dataset) -> None:
    dataset.add("Étude", "e\u0301tude")
    assert "row 3: case" in refusal(dataset)


@pytest.mark.parametrize(
    "name",
    [
        "..",
        ".",
        "a/b",
        "a\\b",
        "/etc",
        "C:x",
        "nul",
        "COM1.txt",
        ".hidden",
        "a.",
        "a ",
        "a\nb",
        "x" * 121,
        "COM¹",
        "lpt³.ct",
        "con .ct",
        "CONIN$",
        "\U0001f9e0" * 64,
        "a\udcff",
    ],
)
def test_names_that_leave_the_folder_or_are_invalid_on_some_system_are_refused(name: str) -> None:
    with pytest.raises(InputError) as refused:
        require_case_name(name)
    assert "\n" not in str(refused.value)


@given(st.text(min_size=1, max_size=8))
def test_an_accepted_name_lies_directly_in_its_folder(name: str) -> None:
    try:
        require_case_name(name)
    except InputError:
        return
    assert (Path("/out") / name).parent == Path("/out")
    assert name not in (".", "..")


def test_an_engine_that_does_not_exist_is_refused_with_its_row(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.add("a")
    dataset.add("b", engine="magic")
    assert main(dataset.command()) == 2
    assert "row 3: There is no engine named 'magic'" in capsys.readouterr().err
    assert not dataset.output.exists()


def test_input_that_lies_in_the_output_folder_is_refused(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.add("a")
    assert main([*dataset.command()[:2], "-o", str(dataset.folder)]) == 2
    assert "row 2: " in capsys.readouterr().err


def test_a_case_folder_that_is_a_link_is_refused(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    dataset.add("a")
    assert main(dataset.command()) == 0
    elsewhere = dataset.folder / "elsewhere"
    (dataset.output / "a").rename(elsewhere)
    (dataset.output / "a").symlink_to(elsewhere)
    assert main(dataset.command("--resume")) == 2
    assert "row 2: " in capsys.readouterr().err


def test_all_invalid_rows_are_listed_at_once_and_nothing_is_run(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.add("a")
    dataset.add("b", axis="7")
    dataset.add("c", engine="magic")
    dataset.add("d", image="none.nii.gz")
    assert main(dataset.command()) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [re.search(r"row (\d)", line)[1] for line in lines] == ["3", "4", "5"]  # type: ignore[index]
    assert lines[-1].endswith("(--skip-bad-rows runs the other rows)")
    assert not dataset.output.exists()


def test_valid_rows_run_on_request_and_invalid_ones_are_listed_in_the_table_and_on_the_page(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.add("bad", axis="7")
    dataset.add("good")
    dataset.add("good", image="none.nii.gz")
    assert main(dataset.command("--skip-bad-rows")) == 1
    output, errors = capsys.readouterr()
    assert "1 done, 2 failed" in output
    assert errors.count("row 2: Axis 7 does not exist") == 1
    assert errors.count("row 4") == 1, "a row without a name of its own is named once"
    rows = StatusFile(dataset.output / "status.csv").read()
    assert {name: str(row.status) for name, row in rows.items()} == {
        "bad": "failed",
        "good": "done",
        "row 4": "failed",
    }
    page = (dataset.output / "index.html").read_text(encoding="utf-8")
    assert "row 2: Axis 7 does not exist" in page
    assert page.index('data-name="bad"') < page.index('data-name="good"') < page.index('data-name="row 4"')


def test_nothing_is_run_if_every_row_is_invalid(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    dataset.add("bad", axis="7")
    assert main(dataset.command("--skip-bad-rows")) == 2
    assert "--skip-bad-rows" not in capsys.readouterr().err
    assert not dataset.output.exists()
