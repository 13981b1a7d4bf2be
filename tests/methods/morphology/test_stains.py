import numpy as np

from napari_stomics.methods.morphology.stains import (
    FIXED,
    REFERENCE,
    amounts_of,
    estimate_stains,
    normalised_amounts,
    normalised_image,
    optical_density,
)
from tests.methods.morphology.slides import EOSIN, GLASS, HAEMATOXYLIN, amounts, coloured


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return float(np.degrees(np.arccos(min(cosine, 1.0))))


def test_the_stains_of_a_section_are_found():
    h, e = amounts()
    density = optical_density(coloured(h, e), np.full(3, GLASS))
    found = estimate_stains(density, np.full(3, GLASS))
    assert found.estimated
    assert _angle(found.vectors[0], HAEMATOXYLIN) < 4
    assert _angle(found.vectors[1], EOSIN) < 4


def test_two_differently_stained_copies_agree_after_normalisation():
    h, e = amounts()
    other = (np.array([0.55, 0.76, 0.35]), np.array([0.14, 0.86, 0.49]))
    copies = [coloured(h, e), coloured(h, e, other, (0.7, 1.4))]
    glass = np.full(3, GLASS)
    densities = [optical_density(c, glass) for c in copies]
    stains = [estimate_stains(d, glass) for d in densities]
    evened = [normalised_amounts(d, s) for d, s in zip(densities, stains, strict=True)]
    fixed = [amounts_of(d, FIXED) for d in densities]

    def apart(pair: list[np.ndarray]) -> float:
        return float(np.abs(pair[0] - pair[1]).mean() / pair[0].mean())

    assert apart(evened) < 0.1 < apart(fixed)
    images = [normalised_image(c, s).astype(float) for c, s in zip(copies, stains, strict=True)]
    before = np.abs(copies[0].astype(float) - copies[1]).mean()
    assert np.abs(images[0] - images[1]).mean() < 0.25 * before


def test_one_stain_alone_falls_back_on_the_fixed_colours():
    h, _ = amounts()
    density = optical_density(coloured(h + 0.3, np.zeros_like(h)), np.full(3, GLASS))
    found = estimate_stains(density, np.full(3, GLASS))
    assert not found.estimated
    np.testing.assert_allclose(found.vectors, FIXED / np.linalg.norm(FIXED, axis=1, keepdims=True))


def test_glass_has_no_density_and_the_reference_is_a_pair_of_directions():
    assert optical_density(np.full((4, 4, 3), GLASS), np.full(3, GLASS)).max() == 0
    np.testing.assert_allclose(np.linalg.norm(REFERENCE.vectors, axis=1), 1, atol=1e-3)
