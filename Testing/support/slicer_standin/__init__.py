"""Stand-in for what slicer-core lacks: Qt widgets, the scripted module framework, the application object.

Passing against it proves consistency with the stand-in, not with Slicer itself. `install` is the only way in:
after it, `import qt`, `import ctk` and `from slicer.ScriptedLoadableModule import *` work as in Slicer.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from support.slicer_standin.dialog_recorder import Dialogs

# Exceptions raised in Qt slots and VTK observers, which only print them; tests check this list.
slot_errors: list[BaseException] = []


def install() -> None:
    """Install the stand-in into `sys.modules` and the `slicer` package; once per process."""
    if "qt" in sys.modules:
        return
    from support.mrml import start_mrml

    start_mrml()
    from support.slicer_standin.qt_module import qt

    sys.modules["qt"] = qt
    from support.slicer_standin.application import start_application

    application = start_application()
    from support.slicer_standin.ctk_widgets import make_ctk
    from support.slicer_standin.dialog_recorder import install_dialogs

    sys.modules["ctk"] = make_ctk()
    install_dialogs()
    _extend_slicer(application)
    _record_slot_errors()


def _extend_slicer(application: Any) -> None:
    import slicer

    from support.slicer_standin import i18n, parameter_node, scripted_module
    from support.slicer_standin.mrml_widget import qMRMLWidget
    from support.slicer_standin.node_combo_box import qMRMLNodeComboBox
    from support.slicer_standin.segment_editor_effect import add_effect_modules
    from support.slicer_standin.segment_editor_widget import qMRMLSegmentEditorWidget, qMRMLSegmentsTableView

    slicer.app = application
    add_effect_modules()
    widgets = (qMRMLWidget, qMRMLNodeComboBox, qMRMLSegmentEditorWidget, qMRMLSegmentsTableView)
    scripted = (
        scripted_module.qSlicerScriptedLoadableModule,
        scripted_module.qSlicerScriptedLoadableModuleWidget,
    )
    for cls in (*widgets, *scripted):
        setattr(slicer, cls.__name__, cls)
    bases = ("", "Widget", "Logic", "Test")
    _add_submodule("i18n", {name: getattr(i18n, name) for name in ("tr", "translate", "getContext")})
    _add_submodule("parameterNodeWrapper", {n: getattr(parameter_node, n) for n in parameter_node.__all__})
    _add_submodule(
        "ScriptedLoadableModule",
        {f"ScriptedLoadableModule{n}": getattr(scripted_module, f"ScriptedLoadableModule{n}") for n in bases},
    )


def _add_submodule(name: str, names: dict[str, Any]) -> None:
    import slicer

    module: Any = types.ModuleType(f"slicer.{name}", f"Stand-in for slicer.{name}.")
    vars(module).update(names, __all__=list(names))
    sys.modules[module.__name__] = module
    setattr(slicer, name, module)


def _record_slot_errors() -> None:
    previous = sys.excepthook

    def record(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
        slot_errors.append(error)
        previous(kind, error, traceback)

    sys.excepthook = record


def load_module(path: str | Path, enter: bool = True) -> tuple[Any, Any]:
    """Load a scripted module file and its panel as Slicer does; returns the Python module and the widget."""
    install()
    from support.slicer_standin import scripted_module

    return scripted_module.load_module(path, enter)


def close_module(widget: Any) -> None:
    """Leave and unload a module loaded by `load_module`."""
    from support.slicer_standin import scripted_module

    scripted_module.close_module(widget)


def scripted_effect(name: str) -> Any:
    """Return a Segment Editor effect of another extension, not yet registered, which does nothing."""
    from support.slicer_standin.segment_editor_effect import idle_effect

    return idle_effect(name)


def dialogs() -> Dialogs:
    """Return the recorder of modal dialogs, where tests read what was shown and prepare answers."""
    from support.slicer_standin.dialog_recorder import dialogs as recorder

    return recorder


def process_events(milliseconds: int = 0) -> None:
    """Run the Qt event loop for a while, so that timers and processes advance."""
    from support.slicer_standin.qt_module import qt

    if milliseconds:
        loop = qt.QEventLoop()
        qt.QTimer.singleShot(milliseconds, loop.quit)
        loop.exec()
    qt.QApplication.processEvents()
