"""Errors that a person can act on."""

from __future__ import annotations


class StomicsError(Exception):
    """Base of every error that this package raises on purpose."""


class UserError(StomicsError):
    """Something that the user can mend.

    Parameters
    ----------
    message
        What is wrong, in the user's words, with the offending value or file.
    hint
        The way out: what to do next.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}"


class JobCancelled(StomicsError):
    """Raised inside a method by :meth:`JobContext.step` once the user has cancelled."""
