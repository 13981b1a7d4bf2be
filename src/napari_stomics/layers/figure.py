"""A picture of the view with its scale bar, colour bars and legend, for a paper or a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.layers.tags import real_viewer, tag

if TYPE_CHECKING:
    from napari import Viewer

SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
_MARGIN = 12


def export_figure(
    viewer: Viewer,
    path: str | Path,
    *,
    scale: float = 1.0,
    legend: bool = True,
    whole: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write the canvas as a picture, with the scale bar in micrometres.

    Parameters
    ----------
    viewer
        A viewer whose window is open.
    path
        Where to; PNG, TIFF or JPEG by the suffix.
    scale
        Pixels of the picture per pixel of the screen.
    legend
        Add names and colours of the categories shown, to the right.
    whole
        Show the whole extent of the data rather than the view.
    overwrite
        Replace a file that is there.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    UserError
        If the suffix is not known, the file is there already or cannot be
        written, or the scale is not between 0.1 and 10.
    """
    path = Path(path)
    _check(path, scale, overwrite)
    viewer = real_viewer(viewer)
    bar = viewer.canvas.overlays.scale_bar
    was_visible, bar.visible = bar.visible, True
    try:
        if whole:
            picture = viewer.export_figure(scale_factor=scale, flash=False)
        else:
            picture = viewer.screenshot(scale=scale, canvas_only=True, flash=False)
    finally:
        bar.visible = was_visible
    image = np.asarray(picture)[..., :3]
    entries = shown_legend(viewer) if legend else []
    if entries:
        image = with_legend(image, entries, scale)
    _write(path, image)
    return path


def shown_legend(viewer: Any) -> list[tuple[str, list[tuple[str, str]]]]:
    """Titles and entries (name, colour) of the categories of visible layers, the top one first."""
    found: list[tuple[str, list[tuple[str, str]]]] = []
    for layer in reversed(list(real_viewer(viewer).layers)):
        entries = tag(layer).get("legend")
        if layer.visible and entries:
            colour = tag(layer).get("colour") or {}
            title = f"{tag(layer)['section']}: {colour['key']}" if colour else layer.name
            if not any(entries == other for _, other in found):
                found.append((title, list(entries)))
    return found


def with_legend(
    image: NDArray[np.uint8], groups: list[tuple[str, list[tuple[str, str]]]], scale: float = 1.0
) -> NDArray[np.uint8]:
    """Return the picture with a column of names and colours to its right.

    Parameters
    ----------
    image
        (y, x, 3) picture.
    groups
        A title each, and names with colours.
    scale
        Size of the text, 1 for a screen.
    """
    from PIL import Image, ImageDraw, ImageFont

    size = max(8, round(13 * scale))
    font = ImageFont.load_default(size=size)
    step, margin = round(size * 1.5), round(_MARGIN * scale)
    lines: list[tuple[str, str | None]] = []
    for title, entries in groups:
        lines.append((title, None))
        lines += [(name or "not annotated", colour) for name, colour in entries]
    width = int(max(font.getlength(text) for text, _ in lines)) + 3 * margin + size
    height = max(image.shape[0], step * len(lines) + 2 * margin)
    page = Image.new("RGB", (image.shape[1] + width, height), "white")
    page.paste(Image.fromarray(np.ascontiguousarray(image)), (0, 0))
    draw = ImageDraw.Draw(page)
    left, top = image.shape[1] + margin, margin
    for text, colour in lines:
        if colour is None:
            draw.text((left, top), text, fill="black", font=font)
        else:
            draw.ellipse((left, top, left + size, top + size), fill=colour[:7], outline="black")
            draw.text((left + size + margin, top), text, fill="black", font=font)
        top += step
    return np.asarray(page)


def _check(path: Path, scale: float, overwrite: bool) -> None:
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"A picture cannot be written as {path.suffix or 'a file without a suffix'!r}.",
            f"End the name with one of {', '.join(SUFFIXES)}.",
        )
    if path.exists() and not overwrite:
        raise UserError(f"{path} is there already.", "Choose another name, or allow overwriting.")
    if not 0.1 <= scale <= 10:
        raise UserError(f"A scale of {scale:g} is out of range.", "Give 0.1 to 10.")


def _write(path: Path, image: NDArray[np.uint8]) -> None:
    from PIL import Image

    try:
        Image.fromarray(np.ascontiguousarray(image)).save(path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}).",
            "Choose a folder that exists and that you may write to.",
        ) from error
