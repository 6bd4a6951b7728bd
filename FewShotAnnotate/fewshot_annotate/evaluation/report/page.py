"""Report: one HTML file that needs nothing else. Needs jinja2, matplotlib and Pillow, of the extra 'report'."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ... import __version__
from ...core.errors import InputError
from ...core.storage import write_text
from ...jobs.planning import EngineSettings
from ..case import ComparisonCase
from ..design import TrialDesign
from ..recommendation import NEGLIGIBLE_DIFFERENCE, Evidence, duration, painted
from ..results import Comparison, HeldOutSlice
from .pictures import SliceRenderer
from .plot import colour_of, curve_png

REQUIRED_PACKAGES = {"jinja2": "jinja2", "matplotlib": "matplotlib", "PIL": "pillow"}
BADGES = {
    Evidence.CLEAR: "clear lead",
    Evidence.PROBABLE: "probably the best",
    Evidence.POSSIBLE: "ahead, perhaps by chance",
    Evidence.EQUAL: "nearly as good as the best, and quicker",
    Evidence.TOO_LITTLE: "too little evidence",
    Evidence.ONE_ENGINE: "nothing to compare with",
}
# Slices and engines that are shown, so that a row fits a screen.
PICTURED_SLICES = 3
PICTURED_ENGINES = 4


@dataclass(frozen=True)
class EngineRow:
    """An engine in the report's tables."""

    name: str
    colour: str
    points: tuple[Any, ...]
    duration: str
    settings: str


@dataclass(frozen=True)
class LabelRow:
    """A label in the report's table; Dice in the order of the engines."""

    name: str
    colour: str
    dice: tuple[float, ...]
    voxels: int


def missing_packages() -> list[str]:
    """Packages for plots and reports that are not installed, as `pip` calls them."""
    return [package for module, package in REQUIRED_PACKAGES.items() if find_spec(module) is None]


def require_packages() -> None:
    """Raise `InputError` if a package for plots and reports is missing; before hours of work, not after."""
    for package in missing_packages():
        raise InputError("package_missing", package=package, install='"fewshot-annotate[report]"')


def write_report(
    path: Path,
    case: ComparisonCase,
    comparison: Comparison,
    engine_settings: Sequence[EngineSettings],
    design: TrialDesign,
    plot: bytes,
) -> None:
    """Write the report of a comparison. The only names in it are those of labels; it holds no paths.

    Parameters
    ----------
    path : Path
    case : ComparisonCase
    comparison : Comparison
    engine_settings : sequence of EngineSettings
        Settings of the compared engines.
    design : TrialDesign
    plot : bytes
        PNG image from `comparison_png`.
    """
    advice, size = comparison.recommendation, comparison.sizes[-1]
    too_little = advice.evidence is Evidence.TOO_LITTLE
    write_html(
        path,
        "report.html",
        comparison=comparison,
        labelled=len(case.indices),
        plane=case.axis.describe(case.volume.geometry),
        answer="Paint more slices first" if too_little else f"Use {advice.engine}",
        badge=BADGES[advice.evidence],
        plot=data_uri(plot),
        painted=painted(size),
        to_fill=case.to_fill,
        engines=_engine_rows(case, comparison, engine_settings),
        best={n: max(point.dice for point in comparison.points if point.size == n) for n in comparison.sizes},
        labels=_label_rows(case, comparison),
        pictures=_pictures(case, comparison),
        pictured=comparison.engines[:PICTURED_ENGINES],
        left_out=comparison.engines[PICTURED_ENGINES:],
        folds=comparison.folds,
        draws=max(point.draws for point in comparison.points),
        design=design,
        negligible=NEGLIGIBLE_DIFFERENCE,
    )


def comparison_png(comparison: Comparison) -> bytes:
    """The plot of a comparison."""
    return curve_png({"": comparison.points}, comparison.engines)


def write_html(path: Path, template: str, **context: Any) -> None:
    """Fill a template of this folder and write it; `InputError` where that cannot be."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template(template).render(version=__version__, **context)
    write_text(path, text)


def data_uri(png: bytes) -> str:
    """A PNG as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def settings_of(settings: EngineSettings) -> str:
    """Description of an engine's settings."""
    options = ", ".join(f"{name} = {value}" for name, value in settings.options.items()) or "its usual options"
    limit = "" if settings.budget is None else f", time limit {settings.budget:g} s"
    return f"{options}, device {settings.device}{limit}"


def _engine_rows(
    case: ComparisonCase, comparison: Comparison, engine_settings: Sequence[EngineSettings]
) -> list[EngineRow]:
    settings = {engine.engine: settings_of(engine) for engine in engine_settings}
    rows = []
    for engine in comparison.engines:
        points = tuple(comparison.at(engine, size) for size in comparison.sizes)
        time = duration(points[-1].fill_seconds(case.to_fill)).removeprefix("about ")
        rows.append(EngineRow(engine, colour_of(engine, comparison.engines), points, time, settings[engine]))
    return rows


def _label_rows(case: ComparisonCase, comparison: Comparison) -> list[LabelRow]:
    """Rows in ascending order of the recommended engine's Dice."""
    size = comparison.sizes[-1]
    colours = {structure.segment.name: structure.segment.colour for structure in case.structures}
    voxels = comparison.counts[comparison.engines[0], size][0, :, :, 0].sum(axis=0)
    rows = []
    for position, name in enumerate(comparison.labels):
        red, green, blue = (round(255 * colour) for colour in colours[name])
        scores = tuple(comparison.at(engine, size).by_label[position] for engine in comparison.engines)
        rows.append(LabelRow(name, f"rgb({red}, {green}, {blue})", scores, int(voxels[position])))
    recommended = comparison.engines.index(comparison.recommendation.engine)
    return sorted(rows, key=lambda row: row.dice[recommended])


def _pictures(case: ComparisonCase, comparison: Comparison) -> list[Mapping[str, Any]]:
    """The worst and the best slices of the recommended engine, without repetition."""
    samples, engine = comparison.samples, comparison.recommendation.engine
    count = min(PICTURED_SLICES, len(samples) // 2)
    groups = [
        (f"Where {engine} is worst", samples[::-1][: max(count, 1)]),
        (f"Where {engine} is best", samples[:count]),
    ]
    renderer = SliceRenderer(case)
    return [
        {"title": title, "slices": [_pictured(renderer, comparison, sample) for sample in shown]}
        for title, shown in groups
        if shown
    ]


def _pictured(renderer: SliceRenderer, comparison: Comparison, sample: HeldOutSlice) -> Mapping[str, Any]:
    return {
        "index": sample.index,
        "truth": data_uri(renderer.png(sample.support_index, None)),
        "engines": [
            {
                "name": engine,
                "picture": data_uri(renderer.png(sample.support_index, sample.masks[engine])),
                "dice": "" if sample.dice[engine] != sample.dice[engine] else f"{sample.dice[engine]:.3f}",
            }
            for engine in comparison.engines[:PICTURED_ENGINES]
        ],
    }
