"""Stand-in for `slicer.ScriptedLoadableModule` and for the loader that makes a module and its panel."""

from __future__ import annotations

import importlib.util
import logging
import sys
import unittest
from pathlib import Path
from typing import Any

import shiboken6
import slicer

from support.mrml import ModuleStandIn
from support.slicer_standin.mrml_widget import qMRMLWidget
from support.slicer_standin.qt_module import qt


class qSlicerScriptedLoadableModule(ModuleStandIn):
    """The module object that a scripted module describes in its constructor."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name, path=path)
        self.hidden = False

    def self(self) -> Any:
        """Return the Python module instance."""
        return getattr(slicer.modules, f"{self.name}Instance")


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The panel that Slicer hands to a scripted module widget as its parent."""

    def __init__(self, name: str, parent: Any = None) -> None:
        super().__init__(parent)
        self._module_name = name
        self._entered = False
        self.windowTitle = name
        qt.QVBoxLayout(self)
        self.setMRMLScene(slicer.mrmlScene)

    def self(self) -> Any:
        """Return the Python widget."""
        return getattr(slicer.modules, f"{self._module_name}Widget")

    @property
    def isEntered(self) -> bool:
        """Return whether the user has this module open."""
        return self._entered

    def enter(self) -> None:
        """The user opens the module."""
        self._entered = True
        if hasattr(self.self(), "enter"):
            self.self().enter()

    def exit(self) -> None:
        """The user opens another module."""
        self._entered = False
        if hasattr(self.self(), "exit"):
            self.self().exit()

    def reload(self) -> None:
        """Make the Python widget again from the current source; as in Slicer, without entering it."""
        make_widget(sys.modules[self._module_name], self)


class ScriptedLoadableModule:
    """Base class of the module description."""

    def __init__(self, parent: Any) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories, parent.dependencies, parent.contributors = [], [], []
        parent.helpText = parent.acknowledgementText = ""
        for suffix in (".svg", ".png"):
            icon = Path(parent.path).parent / "Resources" / "Icons" / (self.moduleName + suffix)
            if icon.is_file():
                parent.icon = qt.QIcon(str(icon))
                break

    def resourcePath(self, filename: str) -> str:
        """Return the path of a file in the module's Resources folder."""
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        """Return a sentence with a link to the documentation."""
        base = slicer.app.documentationBaseUrl
        url = base + docPage if docPage else slicer.app.moduleDocumentationUrl(self.moduleName)
        return f'<p>For more information see the <a href="{url}">online documentation</a>.</p>'

    def runTest(self, msec: int = 100, **kwargs: Any) -> None:
        """Run the class `<module>Test` of the module's file."""
        test = getattr(sys.modules[type(self).__module__], f"{self.moduleName}Test")()
        test.messageDelay = msec
        test.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """Base class of the panel; without a parent it makes and shows its own."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent if parent else qSlicerScriptedLoadableModuleWidget(self.moduleName)
        self.layout = self.parent.layout()
        if not parent:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        """Return the path of a file in the module's Resources folder."""
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """Fill the panel; Slicer adds its developer section here."""

    def cleanup(self) -> None:
        """Called before the module is unloaded."""

    def onReload(self) -> None:
        """Reload the source and make the panel again."""
        slicer.util.reloadScriptedModule(self.moduleName)

    def _onModuleAboutToBeUnloaded(self, name: str) -> None:
        if name == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """Base class of the logic: owns the parameter node, by default a singleton."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """Return the module's first parameter node, made if there is none."""
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is not None:
                node.SetAttribute("ModuleName", self.moduleName)
                return node
        existing = self.getAllParameterNodes()
        return existing[0] if existing else slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        """Return all parameter nodes of the module in the scene."""
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        """Return a parameter node that is not yet in the scene."""
        node = slicer.vtkMRMLScriptedModuleNode()
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base class of the self-test."""

    messageDelay = 0

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        """Log a message; the stand-in does not wait."""
        logging.info(message)
        slicer.app.processEvents()

    def runTest(self) -> None:
        """Run the tests; overridden by the module."""
        logging.warning("No test is defined in %s", type(self).__name__)


def make_widget(python_module: Any, parent: Any) -> Any:
    """Make a module's Python widget in `parent` and set it up."""
    name = python_module.__name__
    widget = getattr(python_module, f"{name}Widget")(parent)
    setattr(slicer.modules, f"{name}Widget", widget)
    widget.setup()
    return widget


def load_module(path: str | Path, enter: bool = True) -> tuple[Any, Any]:
    """Load a scripted module as Slicer does: import, describe, make the panel, set it up, enter it.

    Returns
    -------
    module, widget
        The imported Python module and the widget object. `slicer.modules` has `<Name>Instance`,
        `<Name>Widget` and the lower-cased module entry.
    """
    path = Path(path).resolve()
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    python_module = importlib.util.module_from_spec(spec)
    sys.modules[name] = python_module
    spec.loader.exec_module(python_module)

    entry = qSlicerScriptedLoadableModule(name, str(path))
    setattr(slicer.modules, name.lower(), entry)
    setattr(slicer.modules, f"{name}Instance", getattr(python_module, name)(entry))
    panel = qSlicerScriptedLoadableModuleWidget(name)
    entry.panel = panel
    widget = make_widget(python_module, panel)
    if enter:
        panel.enter()
    return python_module, widget


def close_module(widget: Any) -> None:
    """Leave and unload a module: `exit`, `cleanup` through the module manager, panel deleted.

    A widget that a reload replaced stands for its replacement; nothing is done for a closed one.
    """
    panel, name = widget.parent, widget.moduleName
    if not shiboken6.isValid(panel):
        return
    panel.exit()
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(name)
    panel.hide()
    panel.deleteLater()
    qt.QCoreApplication.sendPostedEvents(None, qt.QEvent.DeferredDelete)
    for attribute in (name.lower(), f"{name}Instance", f"{name}Widget"):
        if hasattr(slicer.modules, attribute):
            delattr(slicer.modules, attribute)
    sys.modules.pop(name, None)
