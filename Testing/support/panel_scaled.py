"""The panel at a scale of the display, which applies to a whole process: prints cut texts, saves a picture.

QT_SCALE_FACTOR=1.5 python -m support.panel_scaled NAME WIDTH
"""

from __future__ import annotations

import sys

from support import slicer_standin
from support.panel import Panel
from support.panel_themes import cut_texts
from support.scene_cases import case, scene_of


def main(name: str, width: int) -> None:
    """Open the panel on a case and all of its sections."""
    panel = Panel(scene_of(case("ct_liver", 1), step=5))
    panel.ready()
    panel.until(lambda: panel.ui.engineList.count > 1)
    for section in ("dataset", "compare", "settings"):
        getattr(panel.ui, f"{section}Section").collapsed = False
    for step in ("volume", "label", "fill", "review", "export", "tools"):
        panel.widget.accordion.open(step)
        panel.picture(f"{name}_{step}", width)
        for text in cut_texts(panel.widget.parent, width):
            print(step, text)
    slicer_standin.close_module(panel.widget)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
