"""Engine `specialist`: training on the examples of a task, and filling volumes on which nothing is painted."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy
from fewshot_annotate.core.dice import dice_of_labels
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.training_example import TrainingExample
from fewshot_annotate.core.volume import Geometry, Volume
from fewshot_annotate.engines.adapt.engine import Adapt
from fewshot_annotate.engines.base import RunContext, Stopped
from fewshot_annotate.engines.specialist.engine import Specialist
from fewshot_annotate.engines.specialist.expected_time import PredictionTime
from fewshot_annotate.engines.specialist.model_file import read_description, read_report
from fewshot_annotate.engines.specialist.plan import ExampleSummary, SpecialistPlan, make_plan
from fewshot_annotate.engines.specialist.prediction import NativeSlices
from fewshot_annotate.engines.specialist.preparation import CanonicalOrder, WorkingGrid, prepared
from fewshot_annotate.engines.specialist.training import fit_specialist
from fewshot_annotate.engines.specialist.windows import predicted_voxels, window_size
from support.specialist import SHAPE, ball, balls

torch = pytest.importorskip("torch")

from fewshot_annotate.engines.specialist.member_training import MemberConfig, masked_loss  # noqa: E402

QUICK = MemberConfig(max_steps=12)
# Enough for tests that do not depend on the accuracy.
FEW = MemberConfig(max_steps=4)


@pytest.fixture(scope="module", autouse=True)
def one_core() -> Iterator[None]:
    """Networks this small are faster on one core."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWSHOT_ANNOTATE_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("specialist") / "model"
    fit_specialist(balls(3), 1, folder, budget_seconds=120, config=QUICK)
    return folder


def nothing_painted(labels: tuple[int, ...] = (1,)) -> Support:
    masks, annotated = np.zeros((0, *SHAPE[1:]), np.uint8), np.ones((0, len(labels)), dtype=bool)
    return Support(SliceAxis(0), (), masks, labels, annotated)


def filled(model: Path, volume: Volume, support: Support) -> tuple[np.ndarray, Specialist]:
    engine = Specialist()
    engine.prepare(volume, support, RunContext(model=model))
    found = dict(engine.predict(range(SHAPE[0])))
    return np.stack([found[index] for index in range(SHAPE[0])], axis=1), engine


def summary_of(shape: tuple[int, int, int], spacing: tuple[float, float, float], air: bool = False) -> ExampleSummary:
    return ExampleSummary(
        shape=shape,
        spacing=spacing,
        smallest_label=5000.0,
        slice_count=shape[0],
        low=0.0,
        high=100.0,
        mean=50.0,
        deviation=20.0,
        air=air,
        labels=(1,),
    )


# --- examples of a task


def test_a_patient_that_was_never_seen_is_filled_without_a_painted_slice(model: Path) -> None:
    volume, truth = ball(seed=77)
    probabilities, engine = filled(model, volume, nothing_painted())
    (dice,) = dice_of_labels(truth, probabilities.argmax(axis=0), 1)
    assert dice > 0.8
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-4)
    (expected,) = engine.expected_dice()
    assert expected.label == 1
    assert abs(expected.dice - dice) < 0.25, "after so few steps"


def test_painted_slices_come_back_as_they_are(model: Path) -> None:
    volume, _ = ball(seed=77)
    masks = np.zeros((1, *SHAPE[1:]), np.uint8)
    masks[0, :3] = 7
    support = Support(SliceAxis(0), (2,), masks, (7,), np.ones((1, 1), dtype=bool))
    probabilities, _ = filled(model, volume, support)
    np.testing.assert_array_equal(probabilities[1, 2] == 1, masks[0] == 7)


def test_the_report_counts_patients_and_expects_a_dice_with_a_range(model: Path) -> None:
    report = read_report(model)
    assert (report.examples, report.patients) == (3, 3)
    (expected,) = report.expected_dice
    assert expected.low < expected.dice < expected.high
    assert read_description(model).plan.labels == 1


def test_a_finished_training_leaves_only_the_model(model: Path) -> None:
    assert {path.name for path in model.iterdir()} == {"model.safetensors", "plan.json", "report.json"}


def test_voxels_of_slices_that_are_not_labelled_do_not_count() -> None:
    logits = torch.randn(1, 2, 4, 6, 6)
    target = torch.zeros(1, 2, 4, 6, 6)
    target[:, 0, 1], target[:, 1, 1, :3] = 1.0, 1.0
    target[:, 0, 1, :3] = 0.0
    changed = logits.clone()
    changed[:, :, [0, 2, 3]] += 5 * torch.randn(1, 2, 3, 6, 6)
    assert float(masked_loss(logits, target)) == pytest.approx(float(masked_loss(changed, target)))
    changed[:, 0, 1] += 1
    assert float(masked_loss(logits, target)) != pytest.approx(float(masked_loss(changed, target)))


def test_slices_that_are_not_labelled_are_marked_along_the_axis_that_was_painted() -> None:
    volume, labels = ball(seed=1)
    example = TrainingExample(patient="a", load=lambda: (volume, labels), axis=1, labelled_slices=(4, 9))
    plan = make_plan([summary_of(SHAPE, (1.0, 1.0, 1.0))], 1)
    found = prepared(volume, labels, example, plan)
    labelled_slices = (found.labels != found.unlabelled).all(axis=(0, 2))
    assert list(np.flatnonzero(labelled_slices)) == [4, 9]
    np.testing.assert_array_equal(found.labels[:, 4], labels[:, 4])


def test_a_labelled_slice_is_kept_on_a_coarser_grid() -> None:
    shape = (30, 30, 30)
    volume, labels = Volume(np.zeros(shape), Geometry(shape)), np.zeros(shape, dtype=np.uint8)
    labels[:, 16] = 1
    plan = replace(make_plan([summary_of(shape, (1.0, 1.0, 1.0))], 1), spacing=(2.0, 2.0, 2.0))
    for index in (16, 17):
        example = TrainingExample(patient="a", load=lambda: (volume, labels), axis=1, labelled_slices=(index,))
        found = prepared(volume, labels, example, plan)
        (labelled_slice,) = np.flatnonzero((found.labels != found.unlabelled).all(axis=(0, 2)))
        assert labelled_slice == 8
        assert (found.labels[:, labelled_slice] == (index == 16)).all()


def test_volumes_in_small_units_are_normalised_like_others() -> None:
    """As diffusion in square metres per second, 1e-9."""
    volume, labels = ball(seed=1)
    plan = make_plan([summary_of(SHAPE, (1.0, 1.0, 1.0))], 1)
    images = []
    for factor in (1.0, 1e-9):
        scaled = Volume(volume.array * factor, volume.geometry)
        example = TrainingExample(patient="a", load=lambda scaled=scaled: (scaled, labels))
        images.append(prepared(scaled, labels, example, plan).image)
    assert images[0].std() > 0.5
    np.testing.assert_allclose(images[0].astype(float), images[1].astype(float), atol=0.01)


# --- the plan


def test_thick_slices_are_segmented_one_by_one_and_even_voxels_in_three_dimensions() -> None:
    thick = make_plan([summary_of((10, 256, 256), (8.0, 1.4, 1.4))], 1)
    even = make_plan([summary_of((40, 50, 40), (1.0, 1.0, 1.0))], 2)
    assert (thick.dimensions, thick.context, thick.axis) == (2, 1, 0)
    assert even.dimensions == 3
    assert all(size % each == 0 for size, each in zip(even.patch, even.multiple, strict=True))
    sagittal = make_plan([summary_of((256, 256, 12), (1.0, 1.0, 6.0))], 1)
    assert (sagittal.dimensions, sagittal.axis) == (2, 2)
    single = make_plan([summary_of((256, 1, 256), (1.4, 1.0, 1.4))], 1)
    assert (single.dimensions, single.context, single.axis) == (2, 0, 1)


def test_a_large_volume_is_made_coarser_unless_its_labels_are_small() -> None:
    large = summary_of((160, 192, 224), (1.0, 1.0, 1.0))
    assert make_plan([large], 1).spacing[0] > 1.3
    small = ExampleSummary(**{**large.__dict__, "smallest_label": 300.0})
    assert make_plan([small], 1).spacing == (1.0, 1.0, 1.0)


def test_a_plan_is_the_same_after_json() -> None:
    plan = make_plan([summary_of((10, 256, 256), (8.0, 1.4, 1.4), air=True)], 3)
    assert plan.ct_intensities is not None
    assert SpecialistPlan.from_json(plan.to_json()) == plan


# --- grids


@pytest.mark.parametrize(
    "direction",
    [(1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0, -1, 1, 0, 0, 0, -1, 0), (-1, 0, 0, 0, 0.9, -0.436, 0, 0.436, 0.9)],
)
def test_every_orientation_is_brought_to_the_same_order_and_back(direction: tuple[float, ...]) -> None:
    geometry = Geometry((3, 4, 5), (1.0, 2.0, 3.0), direction=tuple(float(one) for one in direction))
    order = CanonicalOrder.of(geometry)
    array = np.arange(60).reshape(3, 4, 5)
    np.testing.assert_array_equal(order.restore(order.apply(array)), array)
    along = np.array(direction).reshape(3, 3)[::-1, ::-1]
    for patient, axis in enumerate(order.axes):
        assert abs(along[patient, axis]) > 0.8
        assert (along[patient, axis] < 0) == order.flipped[patient]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_a_prediction_have_the_position_of_those_of_the_volume(axis: int) -> None:
    direction = (0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    geometry = Geometry((8, 12, 10), (1.0, 1.0, 1.0), direction=direction)
    plan = make_plan([summary_of((8, 12, 10), (1.0, 1.0, 1.0))], 1)
    grid = WorkingGrid.of(geometry, plan)
    ramp = np.indices((8, 12, 10)).sum(axis=0).astype(np.float32)
    slices = NativeSlices(grid.image(ramp)[None], grid)
    found = np.stack([slices.read(axis, index)[0] for index in range(ramp.shape[axis])], axis=axis)
    np.testing.assert_allclose(found, ramp)


# --- interrupted, limited and wrong


def test_a_stopped_training_is_resumed_from_its_checkpoint(tmp_path: Path) -> None:
    calls = []

    def stop() -> bool:
        calls.append(1)
        return len(calls) > 10

    with pytest.raises(Stopped):
        fit_specialist(balls(2), 1, tmp_path, budget_seconds=120, config=FEW, context=RunContext(stop=stop))
    assert list(tmp_path.glob("training/checkpoint-*.pt"))
    assert not (tmp_path / "model.safetensors").exists()
    parts: list[float] = []
    context = RunContext(on_progress=parts.append)
    report = fit_specialist(balls(2), 1, tmp_path, budget_seconds=120, config=FEW, context=context)
    assert report.steps == 8
    assert len([part for part in parts if 0.03 < part < 0.95]) < 8, "nothing is trained twice"
    assert read_report(tmp_path) == report


def test_a_training_with_a_truncated_checkpoint_begins_again(tmp_path: Path) -> None:
    stopping = RunContext(stop=iter([*[False] * 4, *[True] * 50]).__next__)
    with pytest.raises(Stopped):
        fit_specialist(balls(1), 1, tmp_path, budget_seconds=120, config=FEW, context=stopping)
    (checkpoint,) = tmp_path.glob("training/checkpoint-*.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert fit_specialist(balls(1), 1, tmp_path, budget_seconds=120, config=FEW).steps == 4


def test_the_time_limit_is_kept(tmp_path: Path) -> None:
    ticks = iter(range(10**6))
    config = MemberConfig(clock=lambda: float(next(ticks)), max_steps=10**6)
    report = fit_specialist(balls(1), 1, tmp_path, budget_seconds=15, config=config)
    assert 1 < report.steps < 15


def test_training_starts_from_the_model_before(model: Path, tmp_path: Path) -> None:
    once = MemberConfig(max_steps=1)
    fit_specialist(balls(2), 1, tmp_path, budget_seconds=120, start=model, config=once)
    volume, truth = ball(seed=78)
    probabilities, _ = filled(tmp_path, volume, nothing_painted())
    assert dice_of_labels(truth, probabilities.argmax(axis=0), 1)[0] > 0.7


@pytest.mark.parametrize("name", ["plan.json", "model.safetensors"])
def test_a_damaged_model_is_refused_in_one_line(model: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(model, tmp_path / "copy")
    damaged = tmp_path / "copy" / name
    damaged.write_bytes(damaged.read_bytes()[:-200])
    with pytest.raises(InputError) as refused:
        filled(tmp_path / "copy", ball(seed=1)[0], nothing_painted())
    assert refused.value.code == "model_damaged"
    assert "\n" not in str(refused.value)


def test_a_model_of_other_segments_is_refused(model: Path) -> None:
    with pytest.raises(InputError) as refused:
        filled(model, ball(seed=1)[0], nothing_painted((1, 2)))
    assert refused.value.code == "model_labels_differ"


@pytest.mark.parametrize(
    ("examples", "labels", "code"),
    [
        ([], 1, "training_no_examples"),
        (balls(2), 2, "training_label_missing"),
        (balls(2, labels=2), 1, "training_label_unknown"),
    ],
)
def test_examples_that_do_not_fit_the_task_are_refused(
    examples: list[TrainingExample], labels: int, code: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refused:
        fit_specialist(examples, labels, tmp_path, budget_seconds=60, config=QUICK)
    assert refused.value.code == code


def test_a_run_without_a_model_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        Specialist().prepare(ball(seed=1)[0], nothing_painted())
    assert refused.value.code == "model_not_given"


# --- with painted slices


def test_adapt_with_a_model_fills_structures_that_no_painted_slice_shows(model: Path) -> None:
    volume, truth = ball(seed=77)
    support = Support(SliceAxis(0), (0,), np.zeros((1, *SHAPE[1:]), np.uint8), (1,), np.ones((1, 1), dtype=bool))
    assert not truth[0].any()
    engine = Adapt()
    engine.prepare(volume, support, RunContext(model=model))
    filled = np.zeros(SHAPE, dtype=np.uint8)
    for index, probabilities in engine.predict(range(1, SHAPE[0])):
        filled[index] = probabilities.argmax(axis=0)
    assert dice_of_labels(truth, filled, 1)[0] > 0.7


def painted(truth: np.ndarray, *indices: int) -> Support:
    return Support(
        SliceAxis(0), indices, truth[list(indices)].astype(np.uint8), (1,), np.ones((len(indices), 1), bool)
    )


def test_networks_are_fine_tuned_on_the_painted_slices_of_a_patient(model: Path) -> None:
    volume, truth = ball(seed=77)
    wider = scipy.ndimage.binary_dilation(truth, np.ones((1, 3, 3)))  # this patient is painted with a margin
    middle = SHAPE[0] // 2
    query = [index for index in range(SHAPE[0]) if index != middle]

    def dice(support: Support) -> float:
        probabilities, _ = filled(model, volume, support)
        return dice_of_labels(wider[query], probabilities.argmax(axis=0)[query], 1)[0]

    assert dice(painted(wider, middle)) > dice(nothing_painted()) + 0.03


def test_fine_tuning_on_slices_without_some_labels_keeps_these_labels(model: Path) -> None:
    volume, truth = ball(seed=77)
    assert not truth[0].any()
    probabilities, _ = filled(model, volume, painted(truth, 0))
    others, _ = filled(model, volume, nothing_painted())
    np.testing.assert_array_equal(probabilities[:, 1:], others[:, 1:])


def test_fine_tuning_does_not_change_the_model_for_the_next_patient(model: Path) -> None:
    volume, truth = ball(seed=77)
    before, _ = filled(model, volume, nothing_painted())
    filled(model, volume, painted(truth, SHAPE[0] // 2))
    after, _ = filled(model, volume, nothing_painted())
    np.testing.assert_array_equal(after, before)


def test_networks_are_not_fine_tuned_where_too_little_time_is_left(model: Path) -> None:
    volume, truth = ball(seed=77)
    support = painted(truth, SHAPE[0] // 2)
    engine = Specialist()
    engine.prepare(volume, support, RunContext(model=model, deadline=time.monotonic()))
    prediction = engine.prediction()
    np.testing.assert_array_equal(prediction.slice(0, 2), prediction.slice_before_fine_tuning(0, 2))
    assert prediction.error_ratio == 1


def test_the_progress_of_a_fill_is_mostly_that_of_the_fine_tuning(model: Path) -> None:
    volume, truth = ball(seed=77)
    fractions: list[float] = []
    engine = Specialist()
    context = RunContext(model=model, on_progress=fractions.append)
    engine.prepare(volume, painted(truth, SHAPE[0] // 2), context)
    engine.prediction()
    first, *_, last = [fraction for fraction in fractions if fraction > 0]
    assert first < 0.2, "the prediction before"
    assert last == pytest.approx(1)
    assert fractions == sorted(fractions)
    assert max(np.diff(fractions)) < 0.25
    steps = PredictionTime.of(read_description(model), volume.geometry, 0, fine_tuned=True)
    without = PredictionTime.of(read_description(model), volume.geometry, 0, fine_tuned=False)
    assert steps.fine_tuning > 5 * steps.prediction
    assert without.total == without.prediction == steps.prediction


def test_adapt_reports_progress_while_networks_are_fine_tuned(model: Path) -> None:
    volume, truth = ball(seed=77)
    fractions: list[float] = []
    engine = Adapt(options={"steps": 20})
    engine.prepare(volume, painted(truth, 3, SHAPE[0] - 3), RunContext(model=model, on_progress=fractions.append))
    for _ in engine.predict([SHAPE[0] // 2]):
        pass
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)
    assert max(np.diff(fractions)) < 0.25


def test_large_volumes_are_predicted_in_windows_that_overlap() -> None:
    plan = make_plan([summary_of((40, 40, 40), (1.0, 1.0, 1.0))], 1)
    small, large = (window_size(size, plan) for size in ((40, 40, 40), (40, 200, 200)))
    assert small == [40, 40, 40]
    assert predicted_voxels((40, 40, 40), plan) == 40**3
    assert max(large) < 200
    assert predicted_voxels((40, 200, 200), plan) > 40 * 200 * 200


def test_adapt_with_a_model_needs_no_painted_slice(model: Path) -> None:
    volume, truth = ball(seed=77)
    engine = Adapt()
    engine.prepare(volume, nothing_painted(), RunContext(model=model))
    assert not list(engine.draft(range(SHAPE[0])))
    found = dict(engine.predict(range(SHAPE[0])))
    filled = np.stack([found[index].argmax(axis=0) for index in range(SHAPE[0])])
    assert dice_of_labels(truth, filled, 1)[0] > 0.8
    assert engine.expected_dice()
