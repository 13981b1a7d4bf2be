"""Messages to the user: napari's notifications, and the same words for the docks."""

from __future__ import annotations

import html
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from napari.utils.notifications import (
    ErrorNotification,
    Notification,
    NotificationSeverity,
    notification_manager,
)

from napari_stomics.core.errors import UserError


def describe_failure(error: BaseException, title: str = "") -> str:
    """Return the words for an error.

    Parameters
    ----------
    error
        A :class:`UserError` is told as message and way out; anything else is a bug.
    title
        What was being done.
    """
    head = f"Failed: {title}." if title else "Failed."
    if isinstance(error, UserError):
        return f"{head}\n{error.message}\nWhat to do: {error.hint}"
    return (
        f"{head}\nUnexpected {type(error).__name__}: {error}\n"
        "This is a fault in the program, not in what you did. "
        "The details say where it happened; please send them with a report."
    )


def failure_text(error: BaseException, title: str = "") -> str:
    """Return the words for an error; with the traceback where it is a fault in the program."""
    text = describe_failure(error, title)
    if isinstance(error, UserError):
        return text
    return f"{text}\n{''.join(traceback.format_exception(error))}"


class BugNotification(ErrorNotification):
    """A napari error with its traceback as text, so that no frame is kept alive.

    Parameters
    ----------
    error
        What was raised.
    message
        What the user reads.
    details
        The traceback as text.
    """

    def __init__(self, error: BaseException, message: str, details: str) -> None:
        super().__init__(error)
        self.message = message
        self.details = details

    def as_text(self) -> str:
        """Return the traceback."""
        return self.details

    def as_html(self) -> str:
        """Return the traceback as HTML."""
        return f"<pre>{html.escape(self.details)}</pre>"

    def __str__(self) -> str:
        return f"{self.message}\n{self.details}"


def show_failure(error: BaseException, title: str = "", details: str = "") -> None:
    """Show an error as a napari notification (call it in the GUI thread).

    A :class:`UserError` shows its message and hint. Any other error is a bug:
    it carries napari's button for the traceback, which is also printed.

    Parameters
    ----------
    error
        What was raised.
    title
        What was being done, for instance the job's title.
    details
        The traceback as text; taken from the error when empty.
    """
    # A folded notification shows one line only: no line break before the message.
    text = describe_failure(error, title).replace("\n", " ")
    if isinstance(error, UserError):
        note = Notification(text, NotificationSeverity.ERROR)
    else:
        note = BugNotification(error, text, details or "".join(traceback.format_exception(error)))
    notification_manager.dispatch(note)


def show_warning(text: str, title: str = "") -> None:
    """Show a warning as a napari notification (call it in the GUI thread)."""
    message = f"{title}: {text}" if title else text
    notification_manager.dispatch(Notification(message, NotificationSeverity.WARNING))


def show_info(text: str) -> None:
    """Show a plain message as a napari notification (call it in the GUI thread)."""
    notification_manager.dispatch(Notification(text, NotificationSeverity.INFO))


@contextmanager
def told_to_user(title: str = "") -> Iterator[None]:
    """Show whatever goes wrong within the block, instead of letting a slot die of it."""
    try:
        yield
    except Exception as error:
        show_failure(error, title)
