"""Parts of the engine `specialist`, each on a small example made by hand."""

import math
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewshot_annotate.engines.base import RunContext, Stopped
from fewshot_annotate.engines.networks.learning_rate import learning_rate_factor
from fewshot_annotate.engines.specialist.ensemble_training import SharedProgress
from fewshot_annotate.engines.specialist.fine_tuning_config import FineTuningConfig
from fewshot_annotate.engines.specialist.plan import SpecialistPlan
from fewshot_annotate.engines.specialist.preparation import PreparedExample
from fewshot_annotate.engines.specialist.sampling import ClassVoxels, PatchSampler
from fewshot_annotate.engines.specialist.training_data import ExampleCache
from fewshot_annotate.engines.specialist.windows import window_boxes

torch = pytest.importorskip("torch")

from fewshot_annotate.engines.specialist.augmentation import Augmentation, AugmentationConfig  # noqa: E402
from fewshot_annotate.engines.specialist.evaluation import HeldOutResult, fit_inverse_temperature  # noqa: E402
from fewshot_annotate.engines.specialist.fine_tuning import fine_tuned  # noqa: E402
from fewshot_annotate.engines.specialist.inference import predict_volume  # noqa: E402
from fewshot_annotate.engines.specialist.network import SpecialistUNet  # noqa: E402

PLAN = SpecialistPlan(
    labels=2,
    dimensions=3,
    axis=0,
    context=0,
    spacing=(1.0, 1.0, 1.0),
    patch=(4, 4, 4),
    batch=2,
    channels=(8, 16),
    fold=(2, 2, 2),
    pools=((1, 2, 2),),
    ct_intensities=None,
)


def example() -> PreparedExample:
    """A small and a large label on slices 4 to 7; slices 0 to 3 are not labelled."""
    labels = np.zeros((8, 8, 8), dtype=np.uint8)
    labels[4:, :, 4:] = 2
    labels[5, 2, 2] = 1
    labels[:4] = 255
    return PreparedExample(np.arange(512, dtype=np.float16).reshape(8, 8, 8), labels)


def test_patches_show_each_label_equally_often_and_only_labelled_slices() -> None:
    random = np.random.default_rng(0)
    voxels = ClassVoxels.of(example(), 2, random)
    drawn = np.array([voxels.draw(random) for _ in range(600)])
    assert drawn[:, 0].min() == 4
    is_small = (drawn == (5, 2, 2)).all(axis=1)
    assert 0.27 < is_small.mean() < 0.4  # half of the 67 % that are drawn from labels


def test_every_example_is_drawn_once_before_any_is_drawn_again() -> None:
    examples = [example(), example(), example()]
    sampler = PatchSampler(examples.__getitem__, [0, 1, 2], PLAN, np.random.default_rng(0))
    drawn = [sampler.draw()[0] for _ in range(6)]
    for once in (drawn[:3], drawn[3:]):
        assert {id(one) for one in once} == {id(one) for one in examples}


def test_a_patch_that_is_not_augmented_is_a_crop() -> None:
    augmentation = Augmentation(PLAN, AugmentationConfig.none(), np.random.default_rng(0))
    image, target = augmentation.patch(example(), np.array([4, 4, 4]))
    np.testing.assert_allclose(image[0], example().image[2:6, 2:6, 2:6], atol=1e-2)
    assert target[:, :2].sum() == 0  # slices 2 and 3 are not labelled
    np.testing.assert_allclose(target[2, 2:, :, 2:], 1, atol=1e-5)


@pytest.mark.parametrize(
    ("fold", "pools", "size"), [((2, 2, 2), ((1, 2, 2),), (4, 8, 8)), ((2, 2), ((2, 2),), (8, 12))]
)
def test_logits_have_the_size_of_the_image(
    fold: tuple[int, ...], pools: tuple[tuple[int, ...], ...], size: tuple[int, ...]
) -> None:
    network = SpecialistUNet(inputs=1, classes=3, channels=(8, 16), fold=fold, pools=pools)
    assert network(torch.zeros(1, 1, *size)).shape == (1, 3, *size)


def pointwise_network(factor: float) -> Any:
    """A network whose logits in each voxel are 0 for the background and plus or minus a multiple of the intensity."""

    def logits(image: torch.Tensor) -> torch.Tensor:
        return torch.cat([0 * image, factor * image, -factor * image], dim=1)

    return logits


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=0)


def test_windows_are_evenly_spaced_and_overlap() -> None:
    assert [box.start for (box,) in window_boxes((10,), (4,))] == [0, 2, 4, 6]
    assert list(window_boxes((4, 4), (4, 4))) == [(slice(0, 4), slice(0, 4))]


def test_a_volume_in_windows_gets_the_mean_probabilities_of_the_networks() -> None:
    image = np.random.default_rng(0).normal(size=(5, 9, 14)).astype(np.float32)
    fractions: list[float] = []
    predicted = predict_volume(
        [pointwise_network(1.0), pointwise_network(3.0)], PLAN, image, torch.device("cpu"), fractions.append
    )
    expected = np.mean([softmax(np.stack([0 * image, k * image, -k * image])) for k in (1.0, 3.0)], axis=0)
    np.testing.assert_allclose(predicted, expected, atol=2e-3)
    assert len(fractions) > 8
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)


def test_fine_tuning_fits_copies_to_the_labelled_slices_and_distillation_keeps_the_others() -> None:
    labels = example().labels
    truth = np.where(labels == 255, 0, labels)
    labelled = PreparedExample(truth.astype(np.float16), labels)
    torch.manual_seed(0)
    network = SpecialistUNet(inputs=1, classes=3, channels=(8, 16), fold=(2, 2, 2), pools=((1, 2, 2),)).eval()
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    plan, device = replace(PLAN, patch=(8, 8, 8)), torch.device("cpu")

    def tuned(distillation: float, seconds: float = math.inf) -> list[SpecialistUNet] | None:
        config = FineTuningConfig(steps=20, learning_rate=1e-2, distillation=distillation)
        return fine_tuned([network], plan, labelled, device, seconds=seconds, config=config)

    def predicted(networks: Sequence[SpecialistUNet] | None) -> np.ndarray:
        assert networks is not None
        return predict_volume(networks, plan, labelled.image.astype(np.float32), device).astype(float)

    before, free, kept = predicted([network]), predicted(tuned(0)), predicted(tuned(10))
    wrong_before, wrong_after = ((found.argmax(axis=0) != truth)[4:].sum() for found in (before, free))
    assert wrong_after < wrong_before / 2
    change_free, change_kept = (np.abs(found - before)[:, :4].mean() for found in (free, kept))
    assert change_kept < 0.7 * change_free
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert tuned(0, seconds=0) is None


def test_an_example_is_read_from_the_cache_as_it_was_written(tmp_path: Path) -> None:
    cache = ExampleCache(tmp_path)
    assert not cache.holds(3)
    cache.write(3, example())
    assert cache.holds(3)
    np.testing.assert_array_equal(cache.read(3).image, example().image)
    np.testing.assert_array_equal(cache.read(3).labels, example().labels)


@pytest.mark.parametrize(("probability", "share_correct", "sharper"), [(0.9, 0.6, False), (0.6, 0.9, True)])
def test_the_temperature_corrects_over_and_underconfident_probabilities(
    probability: float, share_correct: float, sharper: bool
) -> None:
    truth = (np.arange(100) < 100 * share_correct).astype(int)
    uncertain = np.repeat([[1 - probability], [probability]], 100, axis=1).astype(np.float32)
    result = HeldOutResult(
        patient="a",
        true=np.array([0.8]),
        probabilities=uncertain.astype(np.float16),
        uncertain=uncertain,
        uncertain_truth=truth,
    )
    assert (fit_inverse_temperature([result]) > 1) == sharper


def test_the_learning_rate_rises_during_the_warm_up_and_falls_to_zero() -> None:
    factors = [learning_rate_factor(completed, 0.2) for completed in (0.0, 0.1, 0.2, 0.6, 1.0)]
    assert factors == pytest.approx([0.04, 0.52, 1.0, 0.5, 0.0])


def test_the_progress_of_two_trainings_is_their_mean() -> None:
    reported: list[float] = []
    progress = SharedProgress(RunContext(on_progress=reported.append), 2, first=0.2, last=1.0)
    progress.member(0, 0.5)
    progress.member(1, 0.5)
    assert reported == pytest.approx([0.4, 0.6])


def test_a_training_that_fails_ends_the_others() -> None:
    progress = SharedProgress(RunContext(), 2, first=0.0, last=1.0)
    failed: Future[int] = Future()
    failed.set_exception(OSError("the disk is full"))
    with pytest.raises(OSError, match="full"):
        progress.results([failed])
    with pytest.raises(Stopped):
        progress.member(1, 0.5)
