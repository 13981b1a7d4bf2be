"""Counts and images of simulated studies follow the known means and the asked noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_stomics.data.simulate import Simulation, SimulationParams, simulate

FIRST, SECOND = "section_1", "section_2"


def simulated(**changes: Any) -> Simulation:
    """Simulate without an image, small unless told otherwise."""
    defaults: dict[str, Any] = {"um_per_px": None, "n_spots": 600, "n_genes": 60}
    return simulate(SimulationParams(**{**defaults, **changes}))


# --- counts -------------------------------------------------------------------


def test_counts_are_negative_binomial_about_the_known_means() -> None:
    simulation = simulated(n_spots=6000, n_sections=1, rna_dispersion=3.0, n_genes=40)
    counts = simulation.study.section(FIRST).spots("rna").x.toarray().astype(float)
    mean = simulation.truth.expected(FIRST, "rna").astype(float)
    z = (counts - mean) / np.sqrt(mean + mean**2 / 3.0)
    assert z.mean() == pytest.approx(0, abs=0.01)
    assert z.var() == pytest.approx(1, abs=0.03)
    # A Poisson or another dispersion would not pass.
    assert ((counts - mean) ** 2 / mean).mean() > 2


def test_protein_is_more_dispersed_and_has_background() -> None:
    simulation = simulated(n_spots=6000, n_sections=1, protein_dispersion=1.5)
    counts = simulation.study.section(FIRST).spots("protein").x.toarray().astype(float)
    mean = simulation.truth.expected(FIRST, "protein").astype(float)
    z = (counts - mean) / np.sqrt(mean + mean**2 / 1.5)
    assert z.mean() == pytest.approx(0, abs=0.01)
    assert z.var() == pytest.approx(1, abs=0.05)
    only = simulated(protein_noise=1.0, depth_variation=0.0, batch=0.0)
    mean = only.truth.expected(FIRST, "protein")
    np.testing.assert_allclose(mean, np.broadcast_to(mean[0], mean.shape), rtol=1e-5)


def test_dropout_and_depth_are_as_asked() -> None:
    plain = simulated(n_spots=2000, rna_dropout=0.0, rna_depth=800.0)
    lossy = simulated(n_spots=2000, rna_dropout=0.4, rna_depth=800.0)
    depth = plain.study.section(FIRST).spots("rna").x.sum(axis=1)
    assert np.median(np.asarray(depth)) == pytest.approx(800, rel=0.06)
    ratio = lossy.study.section(FIRST).spots("rna").x.sum() / depth.sum()
    assert ratio == pytest.approx(0.6, abs=0.02)
    known = lossy.truth.expected(FIRST, "rna").sum()
    assert lossy.study.section(FIRST).spots("rna").x.sum() == pytest.approx(known, rel=0.02)


def test_housekeeping_genes_do_not_know_the_domain() -> None:
    simulation = simulated(n_sections=1, depth_variation=0.0, rna_gradient=0.0)
    kind = simulation.study.section(FIRST).table("rna").var["kind"].to_numpy()
    mean = simulation.truth.expected(FIRST, "rna")
    share = mean / mean[:, kind == "housekeeping"].sum(axis=1, keepdims=True)
    spread = share.std(axis=0) / share.mean(axis=0)
    assert spread[kind == "housekeeping"].max() < 1e-3
    assert spread[kind == "marker"].min() > 1e-3
    assert (kind == "housekeeping").sum() == 6


def separation(simulation: Simulation, modality: str, classes: Any = None) -> float:
    """Return the silhouette of the domains in the leading components of a modality."""
    from sklearn.decomposition import PCA
    from sklearn.metrics import silhouette_score

    x = simulation.study.section(FIRST).spots(modality).x.toarray().astype(float)
    x = np.log1p(x / np.maximum(x.sum(axis=1, keepdims=True), 1) * 1e3)
    known = simulation.truth.sections[FIRST].domains
    values = PCA(6, random_state=0).fit_transform(x)
    return float(silhouette_score(values, known if classes is None else classes[known]))


@pytest.mark.parametrize("modality", ["rna", "protein"])
def test_noise_hides_the_domains(modality: str) -> None:
    strong = {"rna_effect": 1.0, "protein_effect": 1.0, "protein_sees": "all"}
    scores = [
        separation(simulated(n_sections=1, **strong, **{f"{modality}_noise": noise}), modality)
        for noise in (0.0, 0.5, 0.8, 1.0)
    ]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.2
    assert scores[-1] < 0.0


def test_a_modality_shows_only_the_domains_it_is_told_to() -> None:
    simulation = simulated(
        n_sections=1, n_domains=4, rna_sees="pairs", protein_sees="shifted pairs",
        rna_gradient=0.0, depth_variation=0.0, protein_noise=0.0, um_per_px=20.0, image_sees="none",
    )  # fmt: skip
    truth = simulation.truth
    assert list(truth.classes["rna"]) == [0, 0, 1, 1]
    assert list(truth.classes["protein"]) == [0, 1, 1, 2]
    assert truth.informative == {"rna": True, "protein": True, "image": False}
    together = np.column_stack([truth.classes["rna"], truth.classes["protein"]])
    assert len(np.unique(together, axis=0)) == 4
    known = truth.sections[FIRST].domains
    mean = truth.expected(FIRST, "rna")
    of = [mean[known == d].mean(axis=0) for d in range(4)]
    np.testing.assert_allclose(of[0], of[1], rtol=1e-3)
    np.testing.assert_allclose(of[2], of[3], rtol=1e-3)
    assert np.abs(np.log(of[1] / of[2])).max() > 0.3


def test_an_uninformative_modality_does_not_separate_domains() -> None:
    blind = simulated(n_sections=1, rna_sees="none", rna_gradient=0.0)
    assert separation(blind, "rna") < 0.0
    assert blind.truth.informative["rna"] is False


def test_counts_are_sparse_integers_that_add_up_over_chunks() -> None:
    simulation = simulated(n_sections=1, n_spots=30_000, n_genes=250, rna_depth=60.0, n_proteins=0)
    matrix = simulation.study.section(FIRST).spots("rna").x
    assert matrix.format == "csr"
    assert matrix.dtype == np.int32
    assert matrix.nnz < 0.3 * np.prod(matrix.shape)
    assert matrix.has_sorted_indices
    # Three chunks of 12,000 rows: each follows its own means.
    known = simulation.truth.expected(FIRST, "rna").sum(axis=1)
    found = np.asarray(matrix.sum(axis=1)).ravel()
    for low in range(0, 30_000, 12_000):
        part = slice(low, low + 12_000)
        assert found[part].sum() == pytest.approx(known[part].sum(), rel=0.01)
        assert np.corrcoef(found[part], known[part])[0, 1] > 0.8


def test_memory_stays_near_that_of_the_counts() -> None:
    import tracemalloc

    simulated(n_sections=1)
    tracemalloc.start()
    simulation = simulated(
        n_sections=1, n_spots=60_000, n_genes=400, rna_depth=100.0, n_proteins=0, n_landmarks=0
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    dense = 60_000 * 400 * 4
    assert simulation.study.section(FIRST).spots("rna").x.shape == (60_000, 400)
    assert peak < 2.5 * dense


# --- images -------------------------------------------------------------------


def patch_means(simulation: Simulation, name: str = FIRST) -> np.ndarray:
    """(n, 3) mean colour of 9 x 9 pixels at each spot."""
    from scipy.ndimage import uniform_filter

    section = simulation.study.section(name)
    image = section.image()
    pixels = np.asarray(image.levels[0]).astype(float)
    smooth = np.stack([uniform_filter(pixels[..., c], 9) for c in range(3)], axis=-1)
    at = image.to_um.inverse().apply(section.coordinates).astype(int)
    return smooth[at[:, 1], at[:, 0]]


def test_image_shows_tissue_on_glass_in_the_sections_frame() -> None:
    simulation = simulated(um_per_px=8.0, n_sections=2, crop=0.3)
    for name in (FIRST, SECOND):
        image = simulation.study.section(name).image()
        pixels = np.asarray(image.levels[0]).astype(float)
        assert pixels[:8].mean() > 225
        assert patch_means(simulation, name).mean(axis=0)[1] < pixels[:8].mean() - 40
        red, green, blue = patch_means(simulation, name).mean(axis=0)
        assert red > green
        assert blue > green
        tissue = (pixels[..., 1] < 215).mean() * pixels[..., 0].size * 64
        share = 0.7 if name == SECOND else 1.0
        assert tissue == pytest.approx(600 * 8660 * share, rel=0.12)


def test_image_shows_the_domains_less_the_more_noise() -> None:
    from sklearn.metrics import silhouette_score

    def score(noise: float) -> float:
        simulation = simulated(
            um_per_px=8.0, image_sees="all", image_noise=noise, n_sections=1, n_domains=4
        )
        known = simulation.truth.sections[FIRST].domains
        return float(silhouette_score(patch_means(simulation), known))

    scores = [score(noise) for noise in (0.0, 0.5, 1.0)]
    assert scores[0] > scores[1] > scores[2]
    assert scores[0] > 0.1
    assert scores[2] < 0.0


def test_stains_differ_between_sections() -> None:
    simulation = simulated(um_per_px=8.0, stain_variation=0.3)
    alike = simulated(um_per_px=8.0, stain_variation=0.0, image_noise=0.0)

    def difference(one: Simulation) -> float:
        return float(np.abs(patch_means(one).mean(0) - patch_means(one, SECOND).mean(0)).max())

    assert difference(simulation) > difference(alike) + 3


def test_image_tiles_fit_and_agree_with_the_whole() -> None:
    from napari_stomics.data.simulate.fields import draw_tissue
    from napari_stomics.data.simulate.geometry import place_sections
    from napari_stomics.data.simulate.histology import make_slide

    params = SimulationParams(n_spots=600)
    tissue = draw_tissue(0, 600 * 8660.0, 7, "layers")
    placed = [section for section, _ in place_sections(params, tissue)][1]
    slide = make_slide(params, tissue, placed, 1)
    whole = slide.render(150, 200, 96, 128, 4.0)
    tiles = np.vstack(
        [np.hstack([slide.render(150 + r, 200 + c, 48, 64, 4.0) for c in (0, 64)]) for r in (0, 48)]
    )
    difference = np.abs(whole.astype(int) - tiles.astype(int))
    assert (difference > 1).mean() < 1e-3
    coarse = slide.render(75, 100, 48, 64, 8.0).astype(float)
    shrunk = whole.reshape(48, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(coarse.mean(axis=(0, 1)) - shrunk.mean(axis=(0, 1))).max() < 8


def test_large_image_is_lazy_and_any_level_opens_alone() -> None:
    simulation = simulated(n_spots=20_000, n_genes=10, n_sections=1, um_per_px=0.5, n_proteins=0)
    image = simulation.study.section(FIRST).image()
    height, width = image.levels[0].shape[:2]
    assert height * width > 5e8
    assert max(image.levels[-1].shape[:2]) <= 1024
    assert 100 < np.asarray(image.levels[-1]).mean() < 250
    middle = np.asarray(image.levels[0][height // 2 : height // 2 + 64, width // 2 :][:, :64])
    assert middle.shape == (64, 64, 3)
    assert middle.std() > 5
