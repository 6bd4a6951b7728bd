"""Stand-in for the user in front of a modal dialog: every dialog is recorded and answered at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from support.slicer_standin.qt_module import qt

_ACCEPTING = ("AcceptRole", "YesRole", "ApplyRole")


@dataclass(frozen=True, kw_only=True)
class ShownDialog:
    """What the user would have seen, and what was answered."""

    kind: str
    title: str
    text: str
    detail: str = ""
    buttons: tuple[str, ...] = ()
    answer: str = ""


@dataclass
class Dialogs:
    """All dialogs shown since the last `clear`, and the answers prepared for the coming ones.

    An answer is the text or the standard name of a button ("Yes", "Cancel", "Keep"), "Accepted" or "Rejected"
    for a plain QDialog, a path or a text for a file or input dialog. With none prepared, a message box is
    answered with its accepting button, a plain dialog is accepted, and a file or input dialog is cancelled.
    """

    shown: list[ShownDialog] = field(default_factory=list)
    opened_urls: list[str] = field(default_factory=list)
    _answers: deque[str] = field(default_factory=deque)

    def answer_next(self, *answers: str) -> None:
        """Prepare the answers to the next dialogs, in order."""
        self._answers.extend(str(answer) for answer in answers)

    def clear(self) -> None:
        """Remove the recorded dialogs and the unused answers."""
        self.shown.clear()
        self.opened_urls.clear()
        self._answers.clear()

    @property
    def texts(self) -> list[str]:
        """The main text of each dialog shown."""
        return [dialog.text for dialog in self.shown]

    def _take_answer(self, default: str) -> str:
        return self._answers.popleft() if self._answers else default

    def execute(self, dialog: Any) -> int:
        """Stand in for `QDialog.exec_`."""
        if isinstance(dialog, QtWidgets.QMessageBox):
            return self._execute_message_box(dialog)
        labels = [label.text for label in dialog.findChildren(QtWidgets.QLabel)]
        answer = self._take_answer("Accepted")
        self.shown.append(
            ShownDialog(kind=type(dialog).__name__, title=dialog.windowTitle, text="\n".join(labels), answer=answer)
        )
        dialog.done(int(answer == "Accepted"))
        return dialog.result()

    def _execute_message_box(self, box: Any) -> int:
        if not box.buttons():
            box.setStandardButtons(QtWidgets.QMessageBox.StandardButton.Ok)
        names = {_button_name(box, button): button for button in box.buttons()}
        accepting = [n for n, button in names.items() if box.buttonRole(button).name in _ACCEPTING]
        answer = self._take_answer((accepting or list(names))[0])
        detail = "\n".join(part for part in (box.informativeText, box.detailedText) if part)
        self.shown.append(
            ShownDialog(
                kind=type(box).__name__,
                title=box.windowTitle.strip(),
                text=_as_read(box.text, box.textFormat),
                detail=detail,
                buttons=tuple(names),
                answer=answer,
            )
        )
        if answer not in names:
            raise AssertionError(f"Dialog '{box.text}' has no button '{answer}', only {', '.join(names)}")
        names[answer].click()
        return box.result()

    def choose(self, kind: str, title: str, default: str = "") -> str:
        """Stand in for a static file or input dialog; an empty string is cancel."""
        answer = self._take_answer(default)
        self.shown.append(ShownDialog(kind=kind, title=title, text=title, answer=answer))
        return answer


def _as_read(text: str, text_format: Any) -> str:
    """A text as the user reads it: without its tags if Qt takes it for rich text."""
    formats = QtCore.Qt.TextFormat
    guessed = text_format == formats.AutoText and QtGui.Qt.mightBeRichText(text)
    if guessed or text_format == formats.RichText:
        return QtGui.QTextDocumentFragment.fromHtml(text).toPlainText()
    return text


def _button_name(box: Any, button: Any) -> str:
    standard = box.standardButton(button)
    no_button = QtWidgets.QMessageBox.StandardButton.NoButton
    return button.text.replace("&", "") if standard == no_button else standard.name


dialogs = Dialogs()


def _static_message(kind: str) -> Callable[..., Any]:
    def show(parent: Any, title: str, text: str, buttons: Any = None, default: Any = None) -> Any:
        box = qt.QMessageBox(parent)
        box.windowTitle, box.text = title, text
        box.setStandardButtons(buttons or _DEFAULT_BUTTONS[kind])
        return qt.QMessageBox.StandardButton(dialogs.execute(box))

    return show


_DEFAULT_BUTTONS = {
    "question": qt.QMessageBox.Yes | qt.QMessageBox.No,
    "information": qt.QMessageBox.Ok,
    "warning": qt.QMessageBox.Ok,
    "critical": qt.QMessageBox.Ok,
}


def install_dialogs() -> None:
    """Route modal dialogs of `qt` to `dialogs`. File dialogs return a bare path, as PythonQt's do."""
    for cls in (QtWidgets.QDialog, QtWidgets.QMessageBox, QtWidgets.QFileDialog, QtWidgets.QInputDialog):
        cls.exec = cls.exec_ = lambda self: dialogs.execute(self)  # type: ignore[method-assign, attr-defined]
    for kind in _DEFAULT_BUTTONS:
        setattr(qt.QMessageBox, kind, staticmethod(_static_message(kind)))
    for name in ("getOpenFileName", "getSaveFileName", "getExistingDirectory"):
        setattr(qt.QFileDialog, name, staticmethod(_path_chooser(name)))
    for name in ("getText", "getItem"):
        setattr(qt.QInputDialog, name, staticmethod(_path_chooser(name)))
    qt.QFileDialog.getOpenFileNames = staticmethod(
        lambda parent=None, title="", *more: [p for p in [dialogs.choose("getOpenFileNames", title)] if p]
    )
    qt.QDesktopServices = type("QDesktopServices", (), {"openUrl": staticmethod(_open_url)})


def _path_chooser(kind: str) -> Callable[..., str]:
    def choose(parent: Any = None, title: str = "", *more: Any) -> str:
        return dialogs.choose(kind, title)

    return choose


def _open_url(url: QtGui.QDesktopServices | Any) -> bool:
    dialogs.opened_urls.append(url if isinstance(url, str) else url.toString())
    return True
