"""The row of a dock that shows how its jobs are doing."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtGui import QFontDatabase, QGuiApplication, QTextOption
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QTextEdit,
    QVBoxLayout,
    QWidget,
)

from napari_stomics.core.errors import UserError
from napari_stomics.docks.jobs import Job, JobRunner, JobState
from napari_stomics.docks.messages import describe_failure

MAX_LINES = 12

REFRESH_MS = 200
"""Progress is drawn this often at most: each drawing redraws napari's whole window."""


class MessageText(QTextEdit):
    """Selectable text that wraps anywhere and is as tall as its words, up to `MAX_LINES`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setReadOnly(True)
        self.setAcceptRichText(False)
        # A path without spaces must not widen the dock.
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setTabChangesFocus(True)
        self.setAccessibleName("Messages")
        self.hide()

    def show_text(self, text: str) -> None:
        """Show the text, or hide when it is empty."""
        if text != self.toPlainText():
            self.setPlainText(text)
            self.updateGeometry()
        self.setVisible(bool(text))

    def sizeHint(self) -> QSize:
        """Height of the wrapped words."""
        document = self.document().clone()
        document.setTextWidth(max(self.viewport().width(), 100))
        line = self.fontMetrics().lineSpacing()
        height = min(document.size().height(), MAX_LINES * line) + 2 * self.frameWidth() + 2
        return QSize(100, int(height))

    def minimumSizeHint(self) -> QSize:
        """As tall as its words, at any width."""
        return QSize(60, self.sizeHint().height())

    def resizeEvent(self, event: Any) -> None:
        """Wrap anew."""
        super().resizeEvent(event)
        self.updateGeometry()


class JobBar(QWidget):
    """Title, step, progress, Cancel, and in words how the last jobs ended.

    What it says stays until a job of the same kind starts, can be selected and
    copied, and does not depend on colour.

    Parameters
    ----------
    runner
        The viewer's runner.
    kinds
        The kinds of job to show, or what tells whether to show a kind; None shows all.
    parent
        Qt parent.
    """

    def __init__(
        self,
        runner: JobRunner,
        kinds: Collection[str] | Callable[[str], bool] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._runner = runner
        self._wanted = kinds if callable(kinds) else _among(kinds)
        self._shown: Job | None = None
        self._endings: dict[str, str] = {}
        self._traceback = ""
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(REFRESH_MS)
        self._later.timeout.connect(self._refresh)
        self._build()
        runner.started.connect(self._on_started)
        runner.progress.connect(self._on_progress)
        runner.warned.connect(self._on_warned)
        runner.finished.connect(self._on_finished)
        running = [job for job in runner.active() if self._concerns(job)]
        if running:
            self._on_started(running[-1])

    def _build(self) -> None:
        self._title = QLabel()
        self._title.setWordWrap(True)
        self._title.setTextFormat(Qt.TextFormat.PlainText)
        self._title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._bar = QProgressBar()
        self._bar.setMinimumWidth(60)
        self._bar.setAccessibleName("Progress")
        self._cancel = QPushButton("Cancel")
        self._cancel.setToolTip("Stop this computation; nothing is changed")
        self._cancel.clicked.connect(self._on_cancel_clicked)
        self._text = MessageText()
        self._details = QPushButton("Copy details")
        self._details.setToolTip("Copy the message and the traceback to the clipboard")
        self._details.clicked.connect(self._on_copy_clicked)
        self._trace = MessageText()
        self._trace.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self._trace.setAccessibleName("Traceback")
        row = QHBoxLayout()
        row.addWidget(self._bar, 1)
        row.addWidget(self._cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._title)
        layout.addLayout(row)
        layout.addWidget(self._text)
        layout.addWidget(self._trace)
        layout.addWidget(self._details, 0, Qt.AlignmentFlag.AlignLeft)
        self._refresh()

    @property
    def text(self) -> str:
        """The words now shown below the bar."""
        return self._text.toPlainText()

    @property
    def traceback(self) -> str:
        """The traceback now shown; empty unless a job failed by a fault in the program."""
        return self._traceback

    def forget(self) -> None:
        """Say no longer how earlier jobs ended: they were about something else."""
        self._endings.clear()
        self._traceback = ""
        self._refresh()

    def refresh(self) -> None:
        """Show the job as it stands now: it may have been paused, which no signal tells."""
        self._refresh()

    def showEvent(self, event: Any) -> None:
        """Once it stands in a window, have the jobs stop with that window."""
        super().showEvent(event)
        self._runner.watch(self)

    def _concerns(self, job: Job) -> bool:
        return self._wanted(job.kind)

    def _on_started(self, job: Job) -> None:
        if self._concerns(job):
            self._endings.pop(job.kind, None)
            self._traceback = ""
            self._shown = job
            self._refresh()

    def _on_progress(self, job: Job, fraction: float | None, message: str) -> None:
        if job is self._shown and not self._later.isActive():
            self._later.start()

    def _on_warned(self, job: Job, text: str) -> None:
        if job is self._shown:
            self._refresh()

    def _on_finished(self, job: Job) -> None:
        if not self._concerns(job) or job.superseded:
            return
        # A success without a warning has nothing to tell once something else has ended.
        self._endings = {kind: text for kind, text in self._endings.items() if _tells(text)}
        self._endings[job.kind] = ending_text(job)
        if job.state is JobState.FAILED and not isinstance(job.error, UserError):
            self._traceback = job.traceback
        if job is self._shown:
            running = [other for other in self._runner.active() if self._concerns(other)]
            self._shown = running[-1] if running else None
        self._refresh()

    def _on_cancel_clicked(self) -> None:
        if self._shown is not None:
            self._shown.cancel()
            self._refresh()

    def _on_copy_clicked(self) -> None:
        QGuiApplication.clipboard().setText(f"{self.text}\n\n{self._traceback}")

    def _refresh(self) -> None:
        job = self._shown
        for widget in (self._title, self._bar, self._cancel):
            widget.setVisible(job is not None)
        lines = list(self._endings.values())
        if job is not None:
            message = "paused" if job.is_paused else job.message
            title = f"{job.title}: {message}" if message else job.title
            if title != self._title.text():
                self._title.setText(title)
            self._show_fraction(job.fraction)
            self._cancel.setEnabled(not job.is_cancelling)
            self._cancel.setText("Cancelling…" if job.is_cancelling else "Cancel")
            lines += _warning_lines(job)
        self._text.show_text("\n".join(lines))
        self._trace.show_text(self._traceback)
        self._details.setVisible(bool(self._traceback))

    def _show_fraction(self, fraction: float | None) -> None:
        self._bar.setRange(0, 0 if fraction is None else 1000)
        if fraction is not None:
            self._bar.setValue(round(1000 * fraction))


def _among(kinds: Collection[str] | None) -> Callable[[str], bool]:
    known = None if kinds is None else frozenset(kinds)
    return lambda kind: known is None or kind in known


def _tells(text: str) -> bool:
    return not text.startswith("Done:") or "\n" in text


def ending_text(job: Job) -> str:
    """Return in words how a job ended, with its warnings.

    Parameters
    ----------
    job
        A job that has ended.
    """
    if job.state is JobState.FAILED and job.error is not None:
        text = describe_failure(job.error, job.title)
    elif job.state is JobState.CANCELLED:
        text = f"Cancelled: {job.title}. Nothing was changed."
    else:
        text = f"Done: {job.title} ({_duration(job.seconds)})."
    return "\n".join([text, *_warning_lines(job)])


def _warning_lines(job: Job) -> list[str]:
    return [f"Warning: {text}" for text in job.warnings]


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"
