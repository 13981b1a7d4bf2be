"""Suggested landmarks on a texture whose deformation is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_stomics.core.errors import JobCancelled
from napari_stomics.core.inputs import ImagePair
from napari_stomics.core.jobs import JobContext
from napari_stomics.methods.registration.suggest import suggest_landmarks

from .test_automatic import EXTENT, SIZE, UM, about_centre, brightfield, moved, section, tissue

AMPLITUDE = 6.0  # pixels


@pytest.fixture(scope="module")
def pair() -> ImagePair:
    density = moved(tissue(5), about_centre(0.0, 1.15, False, (0.0, 0.0)))
    truth = about_centre(40.0, 1.0, False, (0.0, 0.0))
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(float)
    wave = AMPLITUDE * np.sin(2 * np.pi * rows / SIZE)
    bent = ndimage.map_coordinates(moved(density, truth), [rows, columns + wave], order=1)
    return ImagePair(section(brightfield(density), "a"), section(brightfield(bent), "b"))


def test_suggestions_come_nearer_than_the_map(pair: ImagePair) -> None:
    truth = about_centre(40.0, 1.0, False, (0.0, 0.0))
    found = suggest_landmarks(pair, truth, 12, JobContext())
    assert 5 <= len(found) <= 12
    source = np.array([s.source for s in found])
    target = np.array([s.target for s in found])
    straight = truth.apply(source)
    expected = straight.copy()
    expected[:, 0] -= AMPLITUDE * UM * np.sin(2 * np.pi * straight[:, 1] / EXTENT)
    before = np.median(np.linalg.norm(straight - expected, axis=1))
    after = np.median(np.linalg.norm(target - expected, axis=1))
    assert after < 0.6 * before
    assert [s.score for s in found] == sorted((s.score for s in found), reverse=True)
    assert all(0.0 < s.score <= 1.0 for s in found)


def test_suggestions_are_spread_and_repeatable(pair: ImagePair) -> None:
    truth = about_centre(40.0, 1.0, False, (0.0, 0.0))
    found = suggest_landmarks(pair, truth, 8, JobContext(threads=1))
    again = suggest_landmarks(pair, truth, 8, JobContext(threads=2))
    assert found == again
    points = np.array([s.source for s in found])
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2)[np.triu_indices(len(points), 1)]
    assert gaps.min() > 0.015 * EXTENT
    assert gaps.max() > 0.25 * EXTENT


def test_suggesting_can_be_cancelled(pair: ImagePair) -> None:
    truth = about_centre(40.0, 1.0, False, (0.0, 0.0))
    seen: list[str] = []
    ctx = JobContext(
        on_progress=lambda _, text: seen.append(text),
        is_cancelled=lambda: "Matching patches" in seen,
    )
    with pytest.raises(JobCancelled):
        suggest_landmarks(pair, truth, 8, ctx)
    assert seen.count("Matching patches") == 1
