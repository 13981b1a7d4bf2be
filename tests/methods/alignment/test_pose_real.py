"""Poses of neighbouring real sections, found without landmarks."""

import csv

import numpy as np
import pytest

from napari_stomics.core.inputs import SpotPair, Spots
from napari_stomics.methods.alignment.features import FeatureOptions, compare_features
from napari_stomics.methods.alignment.landmark_pose import pose_from_landmarks
from napari_stomics.methods.alignment.pose import find_pose
from napari_stomics.methods.alignment.poses import turn
from napari_stomics.methods.alignment.refine import refine_pose
from tests.methods.alignment.pose_cases import quiet

pytestmark = pytest.mark.data


def _read(folder, path, modality="rna", label=None, basis="spatial"):
    from anndata import read_h5ad
    from scipy.spatial import cKDTree

    if not (folder / path).is_file():
        pytest.skip(f"needs {path} in the real data")
    table = read_h5ad(folder / path)
    unit = float(table.uns.get("um_per_px", 1.0))
    xy = np.asarray(table.obsm["spatial"], float) * unit
    pitch = float(np.median(cKDTree(xy).query(xy, k=2)[0][:, 1]))
    names = table.var_names.to_numpy(object)
    labels = table.obs[label].astype(str).to_numpy(object) if label else None
    ids = table.obs_names.to_numpy(object)
    reference = np.asarray(table.obsm[basis], float) * unit
    return Spots(path, ids, xy, table.X, names, modality, labels, pitch), reference


def _affine(points, there):
    """Least-squares map of those points that are in both frames."""
    known = np.isfinite(there).all(axis=1)
    design = np.column_stack([points, np.ones(len(points))])
    return np.linalg.lstsq(design[known], there[known], rcond=None)[0]


def _placed(points, map_):
    return points @ map_[:2] + map_[2]


def _units(a, b):
    """Both sections in units of the coarser pitch, with their features."""
    pitch = max(a.pitch, b.pitch)
    space = compare_features(SpotPair(a, b), FeatureOptions(), quiet())
    places = (a.coordinates / pitch, b.coordinates / pitch)
    return pitch, (*places, space.search_source, space.search_target)


def _found(a, b):
    pitch, search = _units(a, b)
    found = find_pose(*search)
    return pitch, found, refine_pose(*search, found.best)


def _rms(x, y):
    return float(np.sqrt(((x - y) ** 2).sum(axis=1).mean()))


PUBLISHED = {
    "her2st A1-A2": ("her2st/A/A1.h5ad", "her2st/A/A2.h5ad", "spatial_warped_authors"),
    "her2st C2-C3": ("her2st/C/C2.h5ad", "her2st/C/C3.h5ad", "spatial_warped_authors"),
    **{
        f"breast {i}-{j}": (
            f"breast_cancer_stahl2016/slice{i}.h5ad",
            f"breast_cancer_stahl2016/slice{j}.h5ad",
            "spatial_meringue_registered",
        )
        for i, j in ((1, 2), (2, 3), (3, 4), (1, 4))
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_pose_is_that_of_a_published_registration(stomics_data, name):
    one, two, basis = PUBLISHED[name]
    (a, there_a), (b, there_b) = (_read(stomics_data, p, basis=basis) for p in (one, two))
    pitch, _, pose = _found(a, b)
    back = _affine(_placed(b.coordinates, _affine(b.coordinates, there_b)), b.coordinates)
    expected = _placed(_placed(a.coordinates, _affine(a.coordinates, there_a)), back)
    error = _rms(pose.apply(a.coordinates / pitch) * pitch, expected) / pitch
    assert error < 2.5
    assert not pose.mirrored


def test_a_pose_that_may_lie_some_spots_off_is_not_sure(stomics_data):
    """Three sections apart there is little that both sections say alike."""
    sure = {}
    for j in (3, 4):
        names = [f"breast_cancer_stahl2016/slice{i}.h5ad" for i in ((2, 3) if j == 3 else (1, 4))]
        _, search = _units(*(_read(stomics_data, name)[0] for name in names))
        sure[j] = find_pose(*search).sure
    assert sure == {3: True, 4: False}


def _bulb(folder):
    (a, _), (b, _) = (_read(folder, f"mob_stahl2016/Rep{i}.h5ad", label="layer") for i in (11, 12))
    places = []
    for i in (11, 12):
        with (folder / f"mob_stahl2016/Rep{i}_landmarks.csv").open() as file:
            rows = {
                r["landmark"]: (float(r["x_px"]), float(r["y_px"])) for r in csv.DictReader(file)
            }
        places.append(rows)
    unit = 2.759810263044416
    names = [name for name in places[0] if name in places[1]]
    return a, b, [unit * np.array([p[n] for n in names]) for p in places]


def test_the_olfactory_bulb_lies_as_its_landmarks_say(stomics_data):
    a, b, (source, target) = _bulb(stomics_data)
    pitch, _, pose = _found(a, b)
    assert len(source) == 14
    errors = np.linalg.norm(pose.apply(source / pitch) - target / pitch, axis=1)
    assert np.median(errors) < 0.75
    assert not pose.mirrored


def test_three_rough_landmarks_of_the_olfactory_bulb_are_enough(stomics_data):
    a, b, (source, target) = _bulb(stomics_data)
    pitch, search = _units(a, b)
    rng = np.random.default_rng(0)
    chosen = [0, 5, 11]
    rough = [x[chosen] / pitch + rng.normal(0, 1.5, (3, 2)) for x in (source, target)]
    found = pose_from_landmarks(*rough, *search)
    errors = [
        np.median(np.linalg.norm(p.apply(source / pitch) - target / pitch, axis=1))
        for p in (found.fitted, found.pose)
    ]
    assert errors[1] < 0.75 < errors[0]


@pytest.mark.parametrize("mirrored", [False, True])
def test_prefrontal_cortex_is_found_however_it_was_turned(stomics_data, mirrored):
    a, b = (
        _read(stomics_data, f"dlpfc_visium/{i}/{i}_counts.h5ad", label="layer")[0]
        for i in (151673, 151674)
    )
    pitch, search = _units(a, b)
    matrix = turn(40.0, mirrored)
    found = find_pose(search[0], search[1] @ matrix.T, *search[2:])
    assert found.sure
    assert found.best.mirrored == mirrored
    pose = refine_pose(search[0], search[1] @ matrix.T, *search[2:], found.best)
    back = pose.apply(search[0]) @ matrix
    # The two lie alike on their slides, to a few pitches.
    assert _rms(back, search[0]) < 4.0
    assert _same_label(back * pitch, a, b) > 0.86


def test_a_lymph_node_that_lies_upside_down_is_turned_by_its_proteins(stomics_data):
    a, b = (
        _read(stomics_data, f"human_lymph_node_visium_adt/{n}_adt.h5ad", "protein")[0]
        for n in ("A1", "D1")
    )
    _, found, pose = _found(a, b)
    assert found.sure
    assert abs(pose.degrees - 180) < 15
    assert not pose.mirrored


def test_cells_of_the_prefrontal_cortex_find_their_layers(stomics_data):
    a, b = (_read(stomics_data, f"starmap_mpfc/BZ{i}.h5ad", label="layer")[0] for i in (5, 9))
    pitch, _, pose = _found(a, b)
    assert _same_label(pose.apply(a.coordinates / pitch) * pitch, a, b) > 0.88


def _same_label(placed, a, b):
    from scipy.spatial import cKDTree

    gap, nearest = cKDTree(b.coordinates).query(placed)
    held = (gap < b.pitch) & (a.labels != "NA") & (b.labels[nearest] != "NA")
    return float((a.labels == b.labels[nearest])[held].mean())
