"""Files of a trained model: plan, report and the weights of all networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError
from ...core.reading import DamagedContentError, read_json_as
from ...core.storage import write_bytes, write_json
from .dice_model import DiceModel
from .plan import SpecialistPlan
from .report import REPORT_FILE, SpecialistReport

if TYPE_CHECKING:
    from torch import Tensor

    from .network import SpecialistUNet

MODEL_FILE = "model.safetensors"
PLAN_FILE = "plan.json"
MODEL_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """Everything about a model except its weights.

    Attributes
    ----------
    plan : SpecialistPlan
    members : int
        Number of networks of the ensemble.
    inverse_temperature : float
        Factor of the logarithms of the probabilities that calibrates them.
    dice : DiceModel or None
        None after training on a single patient.
    folds : mapping of str to int
        Fold of each patient by digest: the network with this number was trained without the patient.
    fingerprint : str
        Fingerprint of the arguments of the training.
    """

    plan: SpecialistPlan
    members: int
    inverse_temperature: float
    dice: DiceModel | None
    folds: Mapping[str, int]
    fingerprint: str

    def to_json(self) -> dict[str, Any]:
        """Dict of plain values, with the version of the format."""
        return {
            "version": MODEL_VERSION,
            "members": self.members,
            "inverse_temperature": self.inverse_temperature,
            "plan": self.plan.to_json(),
            "dice": None if self.dice is None else self.dice.to_json(),
            "folds": dict(self.folds),
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelDescription:
        """The inverse of `to_json`; raises `ValueError`, `KeyError` or `TypeError` for anything else."""
        if data["version"] != MODEL_VERSION:
            raise ValueError(f"model version {data['version']}, this program reads {MODEL_VERSION}")
        plan = SpecialistPlan.from_json(data["plan"])
        dice = None if data["dice"] is None else DiceModel.from_json(data["dice"])
        members, temperature = int(data["members"]), float(data["inverse_temperature"])
        if not 1 <= members <= 100 or not 0 < temperature < 100 or (dice and len(dice.dice) != plan.labels):
            raise ValueError("members, temperature or labels")
        return cls(
            plan=plan,
            members=members,
            inverse_temperature=temperature,
            dice=dice,
            folds={str(digest): int(fold) for digest, fold in data["folds"].items()},
            fingerprint=str(data["fingerprint"]),
        )


def read_description(folder: Path) -> ModelDescription:
    """Description of the model in a folder.

    Raises
    ------
    InputError
        The folder holds no model, or the model is damaged or of another version.
    """
    if not (folder / PLAN_FILE).is_file() or not (folder / MODEL_FILE).is_file():
        raise InputError("model_missing", path=folder)
    try:
        return read_json_as(folder / PLAN_FILE, ModelDescription.from_json)
    except (OSError, DamagedContentError) as error:
        raise InputError("model_damaged", path=folder, detail=str(error)) from None


def read_report(folder: Path) -> SpecialistReport:
    """Report of the model in a folder.

    Raises
    ------
    InputError
        The folder holds no report, or the report is damaged or of another version.
    """
    if not (folder / REPORT_FILE).is_file():
        raise InputError("model_missing", path=folder)
    try:
        return read_json_as(folder / REPORT_FILE, SpecialistReport.from_json)
    except (OSError, DamagedContentError) as error:
        raise InputError("model_damaged", path=folder, detail=str(error)) from None


def require_labels(folder: Path, labels: int) -> ModelDescription:
    """Description of the model in a folder, which must have a given number of labels.

    Raises
    ------
    InputError
        As `read_description`; or the model has another number of labels.
    """
    description = read_description(folder)
    if description.plan.labels != labels:
        raise InputError("model_labels_differ", path=folder, found=description.plan.labels, wanted=labels)
    return description


def write_model(
    folder: Path,
    description: ModelDescription,
    members: Sequence[Mapping[str, Tensor]],
    report: SpecialistReport,
) -> None:
    """Write all files. The weights are written last, so that an incomplete folder counts as one without a model.

    Raises
    ------
    InputError
        A file cannot be written.
    """
    from safetensors.torch import save

    tensors = {
        f"{number}.{name}": value.detach().cpu().contiguous()
        for number, state in enumerate(members)
        for name, value in state.items()
    }
    write_json(folder / REPORT_FILE, report.to_json(), indent=2)
    write_json(folder / PLAN_FILE, description.to_json(), indent=2)
    write_bytes(folder / MODEL_FILE, save(tensors))


def load_members(folder: Path, description: ModelDescription) -> list[SpecialistUNet]:
    """Networks of the ensemble in evaluation mode, on the CPU.

    Raises
    ------
    InputError
        The weights are damaged or do not belong to the plan.
    """
    from ...weights.loading import read_state
    from .member_training import new_network

    networks = [new_network(description.plan) for _ in range(description.members)]
    expected = {
        f"{number}.{name}": tuple(value.shape)
        for number, network in enumerate(networks)
        for name, value in network.state_dict().items()
    }
    try:
        state = read_state(folder / MODEL_FILE, expected)
    except InputError as error:
        raise InputError("model_damaged", path=folder, detail=error.data.get("detail", error.code)) from None
    for number, network in enumerate(networks):
        member_state = {
            name.partition(".")[2]: value for name, value in state.items() if name.startswith(f"{number}.")
        }
        network.load_state_dict(member_state)
        network.eval()
    return networks


def is_loadable(folder: Path, labels: int) -> bool:
    """Whether a folder holds a model with this number of labels whose networks can be loaded."""
    try:
        load_members(folder, require_labels(folder, labels))
    except InputError:
        return False
    return True


def load_start(
    folder: Path | None, plan: SpecialistPlan, folds: Mapping[str, int], members: int
) -> list[dict[str, Tensor]]:
    """Weights of the networks of an earlier model to start from, one for each fold.

    Empty if no earlier model is given, if its plan or number of networks differs, or if one of its networks was
    trained on a patient whom it must now hold out.

    Raises
    ------
    InputError
        The earlier model is damaged or has other labels.
    """
    if folder is None:
        return []
    description = require_labels(folder, plan.labels)
    if description.plan != plan or description.members != members or not description.folds:
        return []
    if any(folds.get(digest, fold) != fold for digest, fold in description.folds.items()):
        return []
    return [dict(network.state_dict()) for network in load_members(folder, description)]
