"""How good the registration is, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_stomics.core.results import Registration
from napari_stomics.docks.layout import wrapped_label
from napari_stomics.metrics.registration import ErrorSummary, summarise_errors

if TYPE_CHECKING:
    from napari_stomics.session.estimate import LiveEstimate

MODELS = {
    "rigid": "rigid map",
    "similarity": "similarity",
    "affine": "affine map",
    "tps": "thin-plate spline",
}


class QualityPanel(QWidget):
    """The figures of the live estimate, or why there is none and what to do."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._problem = wrapped_label()
        self._figures = wrapped_label()
        self._problem.setAccessibleName("Why there is no registration")
        self._figures.setAccessibleName("Quality of the registration")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._problem)
        column.addWidget(self._figures)

    @property
    def text(self) -> str:
        """What is shown."""
        return self._problem.text() or self._figures.text()

    def show_estimate(self, estimate: LiveEstimate, pixel_size: float | None) -> None:
        """Show the figures.

        Parameters
        ----------
        estimate
            The live estimate.
        pixel_size
            Micrometres per pixel of the fixed section, None if unknown.
        """
        found = estimate.registration
        problem = f"⚠ {estimate.problem}" if estimate.problem else ""
        _set(self._problem, problem)
        _set(self._figures, "" if found is None else "\n".join(quality_lines(found, pixel_size)))


def quality_lines(found: Registration, pixel_size: float | None) -> list[str]:
    """Return the figures of a registration, a line each.

    Parameters
    ----------
    found
        The registration.
    pixel_size
        Micrometres per pixel in which errors are also given; None if unknown.
    """
    flagged = [n for n, bad in zip(found.names, found.outliers, strict=True) if bad]
    return [
        f"{len(found.names)} pairs, {MODELS.get(found.model, found.model)}{_stiffness(found)}",
        f"Left-out error: {_error_text(summarise_errors(found.leave_one_out, pixel_size))}",
        f"Residual: {_error_text(summarise_errors(found.residuals, pixel_size))}",
        f"Outliers: {', '.join(f'⚠ {name}' for name in flagged) or 'none'}",
        f"Folds: {fold_text(found.fold_fraction)}",
        *(["The section is mirrored."] if _mirrors(found) else []),
    ]


def fold_text(fraction: float) -> str:
    """Say how much of the area a warp folds."""
    if not fraction > 0:
        return "no folds"
    return f"⚠ {100 * fraction:.1f} % of the area folds; raise the stiffness or check the pairs"


def _error_text(summary: ErrorSummary) -> str:
    if not summary.count:
        return "not known with so few pairs"
    median, worse = f"{summary.median_um:.0f} µm", f"{summary.p90_um:.0f} µm"
    if np.isfinite(summary.pixel_size):
        median += f" ({summary.median_px:.1f} px)"
        worse += f" ({summary.p90_px:.1f} px)"
    return f"median {median}, 90th percentile {worse}"


def _stiffness(found: Registration) -> str:
    value = getattr(found.transform, "stiffness", None)
    if value is None:
        return ""
    return f", stiffness {value:.2g}" if np.isfinite(value) else ", stiff as an affine map"


def _mirrors(found: Registration) -> bool:
    return bool(np.linalg.det(found.transform.linear_part().matrix[:2, :2]) < 0)


def _set(label: QLabel, text: str) -> None:
    if label.text() != text:
        label.setText(text)
    label.setVisible(bool(text))
