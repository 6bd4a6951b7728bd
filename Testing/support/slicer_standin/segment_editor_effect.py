"""Stand-ins for scripted Segment Editor effects: the adaptor, its Python base class and the factory."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import slicer
from PySide6.QtCore import Signal

from support.slicer_standin.qt_module import qt


class AbstractScriptedSegmentEditorEffect:
    """Base class of effects in Python."""

    def __init__(self, scriptedEffect: Any) -> None:
        self.scriptedEffect = scriptedEffect

    def register(self) -> None:
        """Offer the effect to every Segment Editor."""
        qSlicerSegmentEditorEffectFactory.instance().registerEffect(self.scriptedEffect)

    def cleanup(self) -> None:
        """Called before the effect is deleted."""


class IdleEffect(AbstractScriptedSegmentEditorEffect):
    """Effect that does nothing."""

    def clone(self) -> qSlicerSegmentEditorScriptedEffect:
        """Return a new one of the same name."""
        return idle_effect(self.scriptedEffect.name)


def idle_effect(name: str) -> qSlicerSegmentEditorScriptedEffect:
    """Return an effect that does nothing, not yet registered."""
    effect = qSlicerSegmentEditorScriptedEffect(None)
    effect.name = name
    effect._self = IdleEffect(effect)
    return effect


class qSlicerSegmentEditorScriptedEffect:
    """The C++ object behind an effect: calls the Python class, and is what that class calls."""

    name = "UnnamedScriptedEffect"
    title = ""
    perSegment = requireSegments = showEffectCursorInSliceView = True
    showEffectCursorInThreeDView = False

    def __init__(self, parent: Any = None) -> None:
        self._self: Any = None
        self._node: Any = None
        self._active = False
        self._save_state_for_undo: Callable[[], None] | None = None
        self._frame = qt.QFrame()
        qt.QFormLayout(self._frame)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"Attribute '{name}' does not exist: Qt objects take no new attributes")
        super().__setattr__(name, value)

    def setPythonSource(self, path: str) -> bool:
        """Load class `<file>` of a file as a module named as its folder, unless that module has the class already."""
        source = Path(path)
        module_name, class_name = source.parent.name, source.stem
        class_name += "" if class_name.endswith("Effect") else "Effect"
        if not hasattr(sys.modules.get(module_name), class_name):
            spec = importlib.util.spec_from_file_location(module_name, path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[module_name] = module
            spec.loader.exec_module(module)
        self._self = getattr(sys.modules[module_name], class_name)(self)
        setattr(slicer, module_name, self._self)
        return True

    def self(self) -> Any:
        """Return the Python effect."""
        return self._self

    def _call(self, name: str) -> Any:
        method = getattr(self._self, name, None)
        return method() if method is not None else None

    def clone(self) -> qSlicerSegmentEditorScriptedEffect:
        """Return a new effect of the same class."""
        return self._self.clone()

    def activate(self) -> None:
        """Show the options, then call the Python effect."""
        self._frame.visible = True
        self._active = True
        self.updateGUIFromMRML()
        self._call("activate")

    def deactivate(self) -> None:
        """Hide the options, then call the Python effect."""
        self._frame.visible = False
        self._active = False
        self._call("deactivate")

    def active(self) -> bool:
        """Return whether the user has the effect open."""
        return self._active

    def updateGUIFromMRML(self) -> None:
        """Call the Python effect to show the parameter node; only while active."""
        if self._active:
            self._call("updateGUIFromMRML")

    def parameterSetNode(self) -> Any:
        """Return the parameter node of the editor that the effect is in."""
        return self._node

    def setParameterSetNode(self, node: Any) -> None:
        """Called by the editor."""
        self._node = node

    def saveStateForUndo(self) -> None:
        """Ask the editor to save the segmentation's state."""
        assert self._save_state_for_undo is not None
        self._save_state_for_undo()

    @property
    def icon(self) -> Any:
        """Icon of the effect's button; a property in PythonQt, so it cannot be called."""
        return self._call("icon")

    def optionsFrame(self) -> Any:
        """Return the frame of the options."""
        return self._frame

    def addOptionsWidget(self, widget: Any) -> None:
        """Put a widget or a layout into a row of its own."""
        self._frame.layout().addRow(widget)


class qSlicerSegmentEditorEffectFactory(qt.QObject):
    """Knows the effects that every Segment Editor clones."""

    effectRegistered = Signal(str)
    _instance: ClassVar[Any] = None

    def __init__(self) -> None:
        super().__init__()
        self._registered: list[qSlicerSegmentEditorScriptedEffect] = []

    @classmethod
    def instance(cls) -> qSlicerSegmentEditorEffectFactory:
        """Return the one factory."""
        if cls._instance is None:
            cls._instance = cls()
        return cls._instance

    def registerEffect(self, effect: qSlicerSegmentEditorScriptedEffect) -> bool:
        """Add an effect; false if there is one of this name already."""
        if any(effect.name == other.name for other in self._registered):
            return False
        self._registered.append(effect)
        self.effectRegistered.emit(effect.name)
        return True

    def unregister_all(self) -> None:
        """Remove all effects; not in Slicer."""
        self._registered.clear()

    def clones(self, known: list[str]) -> list[qSlicerSegmentEditorScriptedEffect]:
        """Clones of those effects whose names are not known."""
        return [effect.clone() for effect in self._registered if effect.name not in known]


class EditorEffects:
    """The scripted effects inside one Segment Editor.

    Parameters
    ----------
    editor : qMRMLSegmentEditorWidget
    """

    def __init__(self, editor: Any) -> None:
        self._editor = editor
        self._effects: dict[str, qSlicerSegmentEditorScriptedEffect] = {}

    def update(self) -> None:
        """Clone the effects registered since the last call."""
        for effect in qSlicerSegmentEditorEffectFactory.instance().clones(list(self._effects)):
            effect._save_state_for_undo = self._editor.saveStateForUndo
            effect.setParameterSetNode(self._editor.mrmlSegmentEditorNode())
            effect._call("setupOptionsFrame")
            effect.optionsFrame().visible = False
            self._editor.options_layout().addWidget(effect.optionsFrame())
            self._effects[effect.name] = effect

    def set_node(self, node: Any) -> None:
        """Give all effects the parameter node."""
        for effect in self._effects.values():
            effect.setParameterSetNode(node)

    def by_name(self, name: str) -> Any:
        """Return an effect, or None."""
        return self._effects.get(name)

    def names(self) -> list[str]:
        """Return the names of all effects."""
        return list(self._effects)

    def activate(self, name: str) -> None:
        """Make the effect of a name the active one, if it is scripted; end the one that was."""
        for effect in self._effects.values():
            if effect.active() and effect.name != name:
                effect.deactivate()
        chosen = self.by_name(name)
        if chosen is not None and not chosen.active():
            chosen.activate()

    def show(self) -> None:
        """Something in the editor changed."""
        for effect in self._effects.values():
            effect.updateGUIFromMRML()

    def clean_up(self) -> None:
        """The editor is about to be deleted."""
        for effect in self._effects.values():
            effect._call("cleanup")
        self._effects.clear()


def add_effect_modules() -> None:
    """Make the modules that effects import."""
    modules: dict[str, dict[str, Any]] = {
        "SegmentEditorEffects": {"AbstractScriptedSegmentEditorEffect": AbstractScriptedSegmentEditorEffect},
        "qSlicerSegmentationsEditorEffectsPythonQt": {
            "qSlicerSegmentEditorScriptedEffect": qSlicerSegmentEditorScriptedEffect
        },
    }
    for name, contents in modules.items():
        module = types.ModuleType(name, f"Stand-in for Slicer's {name}.")
        vars(module).update(contents)
        sys.modules[name] = module
    slicer.qSlicerSegmentEditorEffectFactory = qSlicerSegmentEditorEffectFactory
