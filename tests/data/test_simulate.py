"""Simulated studies hold the truth that they claim."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.transforms import transform_from_dict
from napari_stomics.data.simulate import Simulation, SimulationParams, simulate

FIRST, SECOND, THIRD = "section_1", "section_2", "section_3"


def simulated(**changes: Any) -> Simulation:
    """Simulate without an image, small unless told otherwise."""
    defaults: dict[str, Any] = {"um_per_px": None, "n_spots": 600, "n_genes": 60}
    return simulate(SimulationParams(**{**defaults, **changes}))


@pytest.fixture(scope="module")
def pair() -> Simulation:
    return simulated(n_spots=1500, warp_rms=2.0, n_genes=300)


def positions(simulation: Simulation, name: str) -> np.ndarray:
    return simulation.study.section(name).coordinates


def partner_errors(simulation: Simulation, source: str, target: str) -> np.ndarray:
    """Return distances (um) of mapped spots to their partners."""
    mates = simulation.truth.sections[source].partners
    found = mates >= 0
    step = simulation.truth.transform(source, target)
    mapped = step.apply(positions(simulation, source)[found])
    return np.linalg.norm(mapped - positions(simulation, target)[mates[found]], axis=1)


def residual_of_affine(source: np.ndarray, target: np.ndarray) -> float:
    """Return the RMS that the best affine map leaves."""
    design = np.column_stack([source, np.ones(len(source))])
    fit = np.linalg.lstsq(design, target, rcond=None)[0]
    return float(np.sqrt(np.mean(np.sum((target - design @ fit) ** 2, axis=1))))


# --- geometry -----------------------------------------------------------------


def test_transform_carries_spots_to_their_partners(pair: Simulation) -> None:
    error = partner_errors(pair, FIRST, SECOND)
    # Jitter of .1 pitch along each axis: a Rayleigh distribution of that scale.
    assert error.mean() == pytest.approx(10 * np.sqrt(np.pi / 2), rel=0.05)


def test_without_jitter_partners_meet_exactly() -> None:
    simulation = simulated(jitter=0.0, n_sections=3, warp_rms=0.5)
    assert partner_errors(simulation, FIRST, SECOND).max() < 1e-6
    assert partner_errors(simulation, SECOND, THIRD).max() < 1e-6


def test_partners_share_their_domain_and_place(pair: Simulation) -> None:
    here, there = pair.truth.sections[FIRST], pair.truth.sections[SECOND]
    found = here.partners >= 0
    mates = here.partners[found]
    assert len(np.unique(mates)) == len(mates)
    np.testing.assert_array_equal(here.domains[found], there.domains[mates])
    np.testing.assert_allclose(here.specimen[found], there.specimen[mates])
    assert (there.partners == -1).all()


@pytest.mark.parametrize("rms", [0.5, 2.0, 4.0])
def test_warp_has_the_asked_rms_beyond_the_best_affine(rms: float) -> None:
    simulation = simulated(n_spots=3000, warp_rms=rms, warp_length=0.5, n_genes=10)
    source = positions(simulation, FIRST)
    target = simulation.truth.transform(FIRST, SECOND).apply(source)
    assert residual_of_affine(source, target) == pytest.approx(100 * rms, rel=0.05)


def test_without_warp_the_map_is_the_asked_similarity() -> None:
    simulation = simulated(warp_rms=0.0, rotation=25.0, scale=1.2)
    matrix = simulation.truth.transform(FIRST, SECOND).linear_part().matrix
    angle = np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
    assert angle == pytest.approx(25)
    assert np.sqrt(np.linalg.det(matrix[:2, :2])) == pytest.approx(1.2)


def test_warp_does_not_fold_and_inverts(pair: Simulation) -> None:
    step = pair.truth.transform(FIRST, SECOND)
    source = positions(pair, FIRST)
    assert step.jacobian_determinant(source).min() > 0
    back = pair.truth.transform(SECOND, FIRST).apply(step.apply(source))
    np.testing.assert_allclose(back, source, atol=1e-4)


def test_mirrored_sections_have_a_negative_determinant() -> None:
    simulation = simulated(mirror=True, n_sections=3)
    source = positions(simulation, FIRST)
    assert simulation.truth.transform(FIRST, SECOND).jacobian_determinant(source).max() < 0
    assert simulation.truth.transform(FIRST, THIRD).jacobian_determinant(source).min() > 0


def test_transforms_compose_over_sections() -> None:
    simulation = simulated(n_sections=3)
    truth, source = simulation.truth, positions(simulation, FIRST)
    middle = truth.transform(FIRST, SECOND).apply(source)
    expected = truth.transform(SECOND, THIRD).apply(middle)
    np.testing.assert_allclose(truth.transform(FIRST, THIRD).apply(source), expected)
    np.testing.assert_array_equal(truth.transform(SECOND, SECOND).apply(middle), middle)


def test_truth_can_be_written_and_read(pair: Simulation) -> None:
    step = pair.truth.transform(FIRST, SECOND)
    again = transform_from_dict(step.to_dict())
    source = positions(pair, FIRST)
    np.testing.assert_array_equal(again.apply(source), step.apply(source))


def test_missing_and_cropped_shares_are_those_asked_for() -> None:
    simulation = simulated(n_spots=4000, missing=0.2, crop=0.3, n_genes=10)
    truth = simulation.truth
    assert len(truth.sections[FIRST].domains) == 4000
    assert len(truth.sections[SECOND].domains) == pytest.approx(4000 * 0.7 * 0.8, rel=0.03)
    assert truth.overlap[FIRST, SECOND] == pytest.approx(0.7, abs=0.01)
    assert truth.overlap[SECOND, FIRST] == 1
    with_partner = np.mean(truth.sections[FIRST].partners >= 0)
    assert with_partner == pytest.approx(0.7 * 0.8, abs=0.02)


def test_cropping_both_leaves_a_common_middle() -> None:
    simulation = simulated(n_spots=2000, crop=0.2, crop_first=0.3, n_genes=10)
    truth = simulation.truth
    assert len(truth.sections[FIRST].domains) == pytest.approx(1400, abs=2)
    assert truth.overlap[FIRST, SECOND] == pytest.approx(0.5 / 0.7, abs=0.01)
    assert truth.overlap[SECOND, FIRST] == pytest.approx(0.5 / 0.8, abs=0.02)


@pytest.mark.parametrize(("layout", "neighbours"), [("hex", 6), ("square", 4)])
def test_grids_have_their_pitch_and_neighbours(layout: str, neighbours: int) -> None:
    from scipy.spatial import cKDTree

    simulation = simulated(layout=layout, pitch=55.0)
    section = simulation.study.section(FIRST)
    assert section.pitch == pytest.approx(55)
    assert section.diameter == pytest.approx(0.55 * 55)
    tree = cKDTree(section.coordinates)
    counts = [len(found) - 1 for found in tree.query_ball_point(section.coordinates, 56.0)]
    assert np.median(counts) == neighbours


def test_cells_lie_irregularly_but_apart() -> None:
    section = simulated(layout="cells", pitch=10.0, n_spots=2000).study.section(FIRST)
    from scipy.spatial import cKDTree

    distance = cKDTree(section.coordinates).query(section.coordinates, k=2)[0][:, 1]
    assert distance.std() > 1
    assert distance.min() > 2.5
    assert section.diameter == pytest.approx(8)


def test_own_array_is_regular_and_partners_are_the_nearest() -> None:
    simulation = simulated(array="own", n_spots=1500, missing=0.0)
    section = simulation.study.section(SECOND)
    from scipy.spatial import cKDTree

    distance = cKDTree(section.coordinates).query(section.coordinates, k=2)[0][:, 1]
    np.testing.assert_allclose(distance, 100, atol=1e-6)
    error = partner_errors(simulation, FIRST, SECOND)
    assert 20 < error.mean() < 50
    assert error.max() <= 60
    here, there = simulation.truth.sections[FIRST], simulation.truth.sections[SECOND]
    found = here.partners >= 0
    assert found.mean() > 0.9
    same = here.domains[found] == there.domains[here.partners[found]]
    assert same.mean() > 0.85
    back = simulation.truth.transform(SECOND, FIRST).apply(section.coordinates)
    offset = positions(simulation, FIRST)[0] - here.specimen[0]
    np.testing.assert_allclose(back, there.specimen + offset, atol=1e-4)


def test_domains_cover_the_tissue_and_are_stored_as_annotation(pair: Simulation) -> None:
    for name, known in pair.truth.sections.items():
        labels = pair.study.section(name).labels()
        assert labels is not None
        assert list(labels) == [pair.truth.domain_names[d] for d in known.domains]
        assert np.bincount(known.domains, minlength=7).min() > 0.04 * len(known.domains)


@pytest.mark.parametrize("shape", ["layers", "blobs"])
def test_domains_are_contiguous(shape: str) -> None:
    from scipy.spatial import cKDTree

    simulation = simulated(domain_shape=shape, n_spots=2000, n_domains=5)
    known = simulation.truth.sections[FIRST]
    nearest = cKDTree(known.specimen).query(known.specimen, k=7)[1][:, 1:]
    agreement = np.mean(known.domains[nearest] == known.domains[:, None])
    assert agreement > 0.75
    assert len(np.unique(known.domains)) == 5


def test_the_tissue_changes_along_the_stack_when_asked() -> None:
    def agreement(change: float) -> float:
        truth = simulated(section_change=change, n_spots=1500).truth
        here, there = truth.sections[FIRST], truth.sections[SECOND]
        found = here.partners >= 0
        return float(np.mean(here.domains[found] == there.domains[here.partners[found]]))

    shares = [agreement(change) for change in (0.0, 0.2, 1.0)]
    assert shares[0] == 1
    assert shares[0] > shares[1] > shares[2]


# --- landmarks ----------------------------------------------------------------


def test_landmarks_correspond_exactly_and_carry_the_asked_error(pair: Simulation) -> None:
    for landmark in pair.truth.landmarks:
        mapped = pair.truth.transform(FIRST, SECOND).apply(np.array([landmark.positions[FIRST]]))
        assert mapped[0] == pytest.approx(landmark.positions[SECOND], abs=1e-6)
    assert pair.study.record.landmarks == list(pair.truth.landmarks)
    rough = simulated(landmark_error=0.5, n_landmarks=200, n_spots=1500)
    away = [
        np.subtract(stored.positions[s], true.positions[s])
        for stored, true in zip(rough.study.record.landmarks, rough.truth.landmarks, strict=True)
        for s in (FIRST, SECOND)
    ]
    assert np.std(away) == pytest.approx(50, rel=0.1)


def test_landmarks_lie_in_the_tissue_that_is_shared() -> None:
    simulation = simulated(crop=0.4, n_spots=1500)
    from scipy.spatial import cKDTree

    for name in (FIRST, SECOND):
        tree = cKDTree(positions(simulation, name))
        at = np.array([mark.positions[name] for mark in simulation.truth.landmarks])
        assert tree.query(at)[0].max() < 300
        assert len(at) == 12


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


# --- reproducibility, progress and errors --------------------------------------


def test_same_seed_same_bytes_and_another_seed_another_study() -> None:
    one, again = simulated(um_per_px=16.0), simulated(um_per_px=16.0)
    other = simulated(um_per_px=16.0, seed=1)
    for name in (FIRST, SECOND):
        a, b, c = (s.study.section(name) for s in (one, again, other))
        assert a.coordinates.tobytes() == b.coordinates.tobytes()
        for modality in ("rna", "protein"):
            assert a.spots(modality).x.data.tobytes() == b.spots(modality).x.data.tobytes()
        first, second = (np.asarray(s.image().levels[0]) for s in (a, b))
        assert first.tobytes() == second.tobytes()
        assert a.spots("rna").x.nnz != c.spots("rna").x.nnz
    assert one.study.record == again.study.record


def test_changing_one_modality_leaves_the_others_as_they_were() -> None:
    one, other = simulated(), simulated(protein_noise=0.9, n_proteins=12)
    a, b = (s.study.section(SECOND).spots("rna").x for s in (one, other))
    assert (a != b).nnz == 0
    np.testing.assert_array_equal(positions(one, SECOND), positions(other, SECOND))


def test_progress_rises_and_cancelling_stops() -> None:
    seen: list[float] = []
    params = SimulationParams(n_spots=500, um_per_px=None)
    simulate(params, JobContext(on_progress=lambda f, m: seen.append(f or 0.0)))
    assert seen == sorted(seen)
    assert seen[-1] == 1
    with pytest.raises(JobCancelled):
        simulate(params, JobContext(is_cancelled=lambda: True))


def test_impossible_warp_is_refused_with_the_way_out() -> None:
    with pytest.raises(UserError, match="folds this tissue") as caught:
        simulated(warp_rms=8.0)
    assert "warp_length" in caught.value.hint


def test_unknown_names_are_refused_with_those_that_exist(pair: Simulation) -> None:
    with pytest.raises(UserError, match="section_2"):
        pair.truth.transform(FIRST, "section_9")
    with pytest.raises(UserError, match="rna, protein"):
        pair.truth.expected(FIRST, "chromatin")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": 0.6, "crop_first": 0.5}, "lower crop"),
        ({"crop": 0.6, "n_sections": 3}, "lower crop"),
        ({"spot_diameter": 500.0}, "lower spot_diameter"),
        ({"n_spots": 100, "n_domains": 50}, "raise n_spots"),
        ({"missing": 1.0}, "missing"),
        ({"n_spots": 10}, "n_spots"),
        ({"no_such": 1}, "no_such"),
    ],
)
def test_impossible_parameters_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SimulationParams(**changes)


def test_too_many_landmarks_for_the_overlap_are_refused() -> None:
    with pytest.raises(UserError, match="landmarks") as caught:
        simulated(n_spots=100, n_domains=3, warp_rms=0.0, crop=0.85, n_landmarks=100)
    assert "n_landmarks" in caught.value.hint
