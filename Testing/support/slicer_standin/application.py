"""Stand-in for `slicer.app` and its main window: a QApplication with the members that modules ask for."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import slicer
from PySide6.QtCore import Qt, Signal

from support.mrml import application_logic, start_mrml
from support.slicer_standin.qt_module import qt


class ModuleManagerStandIn(qt.QObject):
    """Finds modules in `slicer.modules`."""

    moduleAboutToBeUnloaded = Signal(str)

    def module(self, name: str) -> Any:
        """Return the entry of `slicer.modules`, or None."""
        return getattr(slicer.modules, name.lower(), None)

    def factoryManager(self) -> Any:
        """Return an object that lists the loaded modules."""
        entries = vars(slicer.modules).values()
        names = sorted(entry.name for entry in entries if hasattr(entry, "widgetRepresentation"))
        return SimpleNamespace(loadedModuleNames=lambda: names, isLoaded=names.__contains__)


class ApplicationStandIn(qt.QApplication):
    """What Slicer calls qSlicerApplication, reduced to what a module without views can use."""

    startupCompleted = Signal()
    majorVersion, minorVersion = 5, 12
    revision, releaseType = "0", "Release"
    slicerHome = launcherExecutableFilePath = launcherSettingsFilePath = ""
    documentationBaseUrl = "https://slicer.readthedocs.io/en/latest/"
    isInstalled = True

    def __init__(self) -> None:
        super().__init__(sys.argv[:1])
        self._folder = tempfile.mkdtemp(prefix="slicer-app-")
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        self._module_manager = ModuleManagerStandIn(self)
        self._testing = False
        self.pauses = 0
        self.render_pauses = 0
        self.setApplicationName("Slicer")
        self.setOrganizationName("NA-MIC")
        qt.QSettings.setDefaultFormat(qt.QSettings.IniFormat)
        qt.QSettings.setPath(qt.QSettings.IniFormat, qt.QSettings.UserScope, self._folder)
        self.main_window = _make_main_window()

    @property
    def temporaryPath(self) -> str:
        """Folder for temporary files, removed when the process ends."""
        return self._folder

    @property
    def cachePath(self) -> str:
        """Folder for downloads, removed when the process ends."""
        return str(Path(self._folder) / "cache")

    def applicationLogic(self) -> Any:
        """Return the real vtkSlicerApplicationLogic."""
        return application_logic()

    def mrmlScene(self) -> Any:
        """Return the current scene."""
        return start_mrml()

    def moduleManager(self) -> ModuleManagerStandIn:
        """Return the stand-in module manager."""
        return self._module_manager

    def layoutManager(self) -> Any:
        """Return None, as Slicer does without a main window: there are no views."""
        return None

    def settings(self) -> Any:
        """Return the settings, which live in a temporary folder."""
        return qt.QSettings()

    def userSettings(self) -> Any:
        """Return the settings, which live in a temporary folder."""
        return qt.QSettings()

    def testingEnabled(self) -> bool:
        """Return whether `slicer.util` skips its dialogs; off, so that they are recorded."""
        return self._testing

    def setTestingEnabled(self, enabled: bool) -> None:
        """Make `slicer.util` skip its dialogs, as Slicer's own test runner does."""
        self._testing = enabled

    def startupEnvironment(self) -> Any:
        """Return the environment of this process."""
        return qt.QProcessEnvironment.systemEnvironment()

    def pauseRender(self) -> None:
        """Count: `pauses` is the number of open pauses, `render_pauses` that of all so far."""
        self.pauses += 1
        self.render_pauses += 1

    def resumeRender(self) -> None:
        """End one `pauseRender`."""
        self.pauses -= 1

    def moduleDocumentationUrl(self, name: str) -> str:
        """Return where the documentation of a module would be."""
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"


# Keys of Slicer's own menus and of its module selector, which hold in the whole application.
RESERVED_KEYS = (
    *("Ctrl+Left", "Ctrl+Right", "Alt+Left", "Alt+Right"),
    *(f"Ctrl+{letter}" for letter in "FOSWZYXCVH"),
    *(f"Ctrl+{digit}" for digit in range(7)),
)


def _make_main_window() -> Any:
    window = qt.QMainWindow()
    window.objectName = "qSlicerMainWindow"
    window.statusBar()
    for keys in RESERVED_KEYS:
        action = qt.QAction(window)
        action.setShortcut(qt.QKeySequence(keys))
        action.setShortcutContext(Qt.ShortcutContext.ApplicationShortcut)
        window.addAction(action)
    return window


def _use_readable_font(app: Any) -> None:
    """The offscreen platform may find no font at all: use the one in matplotlib, if it is installed."""
    spec = find_spec("matplotlib")
    for folder in spec.submodule_search_locations or () if spec else ():
        fonts = Path(folder) / "mpl-data" / "fonts" / "ttf"
        ids = [qt.QFontDatabase.addApplicationFont(str(p)) for p in sorted(fonts.glob("DejaVuSans*.ttf"))]
        if any(font_id >= 0 for font_id in ids):
            app.setFont(qt.QFont("DejaVu Sans", 9))
            return


def start_application() -> ApplicationStandIn:
    """Return the one application of this process, offscreen unless the environment says otherwise."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    app = qt.QApplication.instance()
    if app is None:
        app = ApplicationStandIn()
        app.setStyle("Fusion")
        _use_readable_font(app)
    return app
