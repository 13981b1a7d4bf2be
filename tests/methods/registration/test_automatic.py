"""Automatic registration on textures with a known map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_stomics.core.errors import JobCancelled, UserError
from napari_stomics.core.inputs import ImagePair, SectionImage
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.registry import registry
from napari_stomics.core.results import Registration
from napari_stomics.core.transforms import Affine
from napari_stomics.methods.registration.automatic import (
    SMALL_MARGIN,
    AutomaticParams,
    register_images,
)

SIZE = 360
UM = 5.0
EXTENT = SIZE * UM


def tissue(seed: int = 0, size: int = SIZE) -> NDArray[np.float64]:
    """Density of a lop-sided piece of tissue with layers and blobs inside."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:size, :size] + 0.5) / size * 2 - 1
    angle = np.arctan2(y, x)
    rim = (
        0.55 + 0.10 * np.cos(angle - 0.7) + 0.06 * np.cos(2 * angle + 1) + 0.05 * np.sin(3 * angle)
    )
    inside = ndimage.gaussian_filter((np.hypot(x, y) < rim).astype(float), 1.0)
    blobs = ndimage.gaussian_filter(rng.standard_normal((size, size)), size / 30)
    fine = ndimage.gaussian_filter(rng.standard_normal((size, size)), size / 120)
    texture = 0.6 + 0.25 * blobs / blobs.std() + 0.08 * fine / fine.std()
    return inside * np.clip(texture, 0.15, 1.5)


def brightfield(density: NDArray[Any], stain: tuple[float, ...] = (0.8, 1.0, 0.5)) -> NDArray[Any]:
    """8-bit image in which each channel absorbs by its own strength."""
    return np.clip(235 * np.exp(-density[..., None] * np.array(stain)), 0, 255).astype(np.uint8)


def section(
    pixels: NDArray[Any], name: str, um: float = UM, channels: tuple[str, ...] = ("r", "g", "b")
) -> SectionImage:
    return SectionImage(name, (pixels,), Affine(np.diag([um, um, 1.0])), channels)


def about_centre(degrees: float, scale: float, mirror: bool, shift: tuple[float, float]) -> Affine:
    """Map of source um to target um: turned and scaled about the image's middle, then shifted."""
    a = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    linear = linear @ np.diag([-1.0 if mirror else 1.0, 1.0])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    middle = np.full(2, EXTENT / 2)
    matrix[:2, 2] = middle + np.array(shift) - linear @ middle
    return Affine(matrix)


def moved(density: NDArray[Any], truth: Affine, um: float = UM) -> NDArray[np.float64]:
    """The density as it looks after ``truth``."""
    index = np.array([[um, 0, um / 2], [0, um, um / 2], [0, 0, 1.0]])
    back = np.linalg.inv(index) @ np.linalg.inv(truth.matrix) @ index
    return ndimage.affine_transform(
        density, back[:2, :2][::-1, ::-1], back[:2, 2][::-1], output_shape=density.shape, order=1
    )


def error_px(found: Registration, truth: Affine, inside: NDArray[Any], um: float = UM) -> float:
    """Median distance, in pixels, between found and true places of the tissue."""
    rows, columns = np.nonzero(inside > 0.2)
    points = (np.column_stack([columns, rows])[::97] + 0.5) * um
    gap = found.transform.apply(points) - truth.apply(points)
    return float(np.median(np.linalg.norm(gap, axis=1))) / um


def register(source: SectionImage, target: SectionImage, **options: Any) -> Registration:
    return register_images(ImagePair(source, target), AutomaticParams(**options), JobContext())


@pytest.fixture(scope="module")
def density() -> NDArray[np.float64]:
    return tissue()


@pytest.mark.parametrize("degrees", [0.0, 33.0, 97.0, 180.0, -135.0])
def test_any_rotation_is_found(density: NDArray[Any], degrees: float) -> None:
    truth = about_centre(degrees, 1.0, False, (120.0, -90.0))
    found = register(
        section(brightfield(density), "a"), section(brightfield(moved(density, truth)), "b")
    )
    assert error_px(found, truth, density) < 1.0
    assert not found.candidates[0].mirrored
    turn = (found.candidates[0].rotation + degrees + 180) % 360 - 180
    assert abs(turn) < 2.0  # counter-clockwise with y up is the reverse of x to y with y down
    assert found.margin > SMALL_MARGIN


def test_a_mirrored_section_is_found_when_clear(density: NDArray[Any]) -> None:
    truth = about_centre(50.0, 1.0, True, (0.0, 60.0))
    source = section(brightfield(density), "a")
    target = section(brightfield(moved(density, truth)), "b")
    found = register(source, target)
    assert found.candidates[0].mirrored
    assert error_px(found, truth, density) < 1.0
    barred = register(source, target, mirror="never")
    assert not any(c.mirrored for c in barred.candidates)
    forced = register(source, target, mirror="always")
    assert all(c.mirrored for c in forced.candidates)


def test_symmetric_tissue_is_not_mirrored_and_has_a_small_margin() -> None:
    half = tissue(3)
    symmetric = np.maximum(half, half[:, ::-1])
    truth = about_centre(20.0, 1.0, False, (50.0, 0.0))
    found = register(
        section(brightfield(symmetric), "a"), section(brightfield(moved(symmetric, truth)), "b")
    )
    assert not found.candidates[0].mirrored
    assert found.margin < SMALL_MARGIN
    assert found.candidates[1].mirrored
    assert error_px(found, truth, symmetric) < 1.0


def test_a_small_scale_difference_is_found(density: NDArray[Any]) -> None:
    truth = about_centre(70.0, 1.08, False, (0.0, 0.0))
    found = register(
        section(brightfield(density), "a"), section(brightfield(moved(density, truth)), "b")
    )
    assert error_px(found, truth, density) < 1.0


def test_a_large_scale_difference_is_found_when_asked_for(density: NDArray[Any]) -> None:
    truth = about_centre(-40.0, 0.6, False, (0.0, 0.0))
    found = register(
        section(brightfield(density), "a"),
        section(brightfield(moved(density, truth)), "b"),
        max_scale=1.8,
        model="similarity",
    )
    assert error_px(found, truth, density) < 1.0


def test_a_rigid_map_keeps_lengths(density: NDArray[Any]) -> None:
    truth = about_centre(25.0, 1.03, False, (0.0, 0.0))
    found = register(
        section(brightfield(density), "a"),
        section(brightfield(moved(density, truth)), "b"),
        model="rigid",
    )
    linear = found.transform.to_dict()["matrix"]
    assert np.allclose(np.linalg.svd(np.array(linear)[:2, :2])[1], 1.0)
    assert found.model == "rigid"


@pytest.mark.parametrize("mirror", [False, True])
def test_cropped_to_sixty_percent(density: NDArray[Any], mirror: bool) -> None:
    truth = about_centre(140.0, 1.0, mirror, (0.0, 0.0))
    source = brightfield(density)[:, : int(0.6 * SIZE)]
    found = register(section(source, "a"), section(brightfield(moved(density, truth)), "b"))
    assert error_px(found, truth, density[:, : int(0.6 * SIZE)]) < 1.5


def test_another_stain_and_noise(density: NDArray[Any]) -> None:
    truth = about_centre(-60.0, 1.0, False, (100.0, 50.0))
    rng = np.random.default_rng(1)
    stained = brightfield(0.4 * moved(density, truth), (0.3, 0.6, 1.0)).astype(float)
    noisy = np.clip(stained + rng.normal(0, 6, stained.shape), 0, 255).astype(np.uint8)
    found = register(section(brightfield(density), "a"), section(noisy, "b"))
    assert error_px(found, truth, density) < 1.5


def test_fluorescence_against_brightfield(density: NDArray[Any]) -> None:
    truth = about_centre(80.0, 1.0, False, (0.0, 0.0))
    rng = np.random.default_rng(2)
    nuclei = 40 + 3000 * moved(density, truth) + rng.normal(0, 30, density.shape)
    other = rng.uniform(0, 4000, density.shape)
    stack = np.clip(np.stack([other, nuclei], axis=-1), 0, None).astype(np.uint16)
    found = register(
        section(brightfield(density), "a"), section(stack, "b", channels=("CD45", "DAPI"))
    )
    assert error_px(found, truth, density) < 1.5


def test_a_hazy_dark_background_is_background(density: NDArray[Any]) -> None:
    truth = about_centre(-30.0, 1.0, False, (0.0, 80.0))
    glow = (90 + 160 * np.clip(moved(density, truth), 0, 1)).astype(np.uint8)[..., None]
    found = register(section(brightfield(density), "a"), section(glow, "b", channels=("marker",)))
    assert error_px(found, truth, density) < 1.5


def test_unrelated_images_are_warned_of(density: NDArray[Any]) -> None:
    rng = np.random.default_rng(4)
    noise = rng.integers(0, 255, (200, 200, 3)).astype(np.uint8)
    heard: list[str] = []
    pair = ImagePair(section(brightfield(density), "a"), section(noise, "b", EXTENT / 200))
    register_images(pair, AutomaticParams(), JobContext(on_warning=heard.append))
    assert len(heard) == 1
    assert "agrees poorly" in heard[0]


def test_pen_strokes_and_a_bubble_do_not_mislead(density: NDArray[Any]) -> None:
    truth = about_centre(110.0, 1.0, False, (0.0, 0.0))
    target = brightfield(moved(density, truth))
    target[20:26, 10:300] = (20, 30, 120)
    y, x = np.mgrid[:SIZE, :SIZE]
    ring = np.abs(np.hypot(y - 280, x - 290) - 50) < 3
    target[ring] = 60
    found = register(section(brightfield(density), "a"), section(target, "b"))
    assert error_px(found, truth, density) < 2.0


def test_frames_with_other_pixel_sizes_turns_and_origins(density: NDArray[Any]) -> None:
    truth = about_centre(30.0, 1.0, False, (0.0, 0.0))
    target = brightfield(moved(density, truth))
    # The same target, stored turned by a quarter with half the pixels and its own origin.
    stored = np.rot90(target, 1)[::2, ::2]
    quarter = np.array([[0.0, -2 * UM, EXTENT], [2 * UM, 0.0, 0.0], [0.0, 0.0, 1.0]])
    offset = Affine(np.array([[1, 0, 7000.0], [0, 1, -3000.0], [0, 0, 1]]))
    image = SectionImage("b", (stored,), Affine(quarter).then(offset))
    found = register(section(brightfield(density), "a"), image)
    assert error_px(found, truth.then(offset), density) < 1.5


def test_nonrigid_bends_and_does_not_fold(density: NDArray[Any]) -> None:
    truth = about_centre(15.0, 1.0, False, (0.0, 0.0))
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(float)
    wave = 9.0 * np.sin(2 * np.pi * rows / SIZE * 1.5)
    # Content of the bent image at column c came from column c + wave.
    bent = ndimage.map_coordinates(moved(density, truth), [rows, columns + wave], order=1)
    pair = section(brightfield(density), "a"), section(brightfield(bent), "b")
    affine = register(*pair)
    warp = register(*pair, model="nonrigid")
    assert warp.model == "nonrigid"
    assert warp.fold_fraction == 0.0
    r, c = np.nonzero(density > 0.2)
    points = (np.column_stack([c, r])[::97] + 0.5) * UM
    straight = truth.apply(points)
    expected = straight.copy()
    for _ in range(20):
        expected[:, 0] = straight[:, 0] - 9.0 * UM * np.sin(
            2 * np.pi * expected[:, 1] / EXTENT * 1.5
        )
    before, after = (
        np.median(np.linalg.norm(f.transform.apply(points) - expected, axis=1)) / UM
        for f in (affine, warp)
    )
    assert after < 0.4 * before
    assert after < 1.5


def test_a_given_start_is_refined_without_a_search(density: NDArray[Any]) -> None:
    truth = about_centre(97.0, 1.0, False, (60.0, 0.0))
    rough = about_centre(91.0, 1.02, False, (90.0, -30.0))
    found = register(
        section(brightfield(density), "a"),
        section(brightfield(moved(density, truth)), "b"),
        initial=tuple(map(tuple, rough.matrix.tolist())),
    )
    assert len(found.candidates) == 1
    assert np.isnan(found.margin)
    assert error_px(found, truth, density) < 1.0


def test_candidates_are_distinct_and_ordered(density: NDArray[Any]) -> None:
    found = register(section(brightfield(density), "a"), section(brightfield(density), "b"))
    scores = [c.score for c in found.candidates]
    assert scores == sorted(scores, reverse=True)
    assert found.margin == pytest.approx((scores[0] - scores[1]) / scores[0])
    middle = np.array([[EXTENT / 2, EXTENT / 2], [EXTENT / 4, EXTENT / 2]])
    places = [c.transform.apply(middle) for c in found.candidates]
    for i, a in enumerate(places):
        for b in places[:i]:
            assert np.abs(a - b).max() > 20.0


def test_the_same_answer_again_and_on_two_threads(density: NDArray[Any]) -> None:
    truth = about_centre(45.0, 1.0, False, (0.0, 0.0))
    pair = ImagePair(
        section(brightfield(density), "a"), section(brightfield(moved(density, truth)), "b")
    )
    params = AutomaticParams()
    first = register_images(pair, params, JobContext(threads=1))
    second = register_images(pair, params, JobContext(threads=2))
    assert first.transform.to_dict() == second.transform.to_dict()
    assert [c.score for c in first.candidates] == [c.score for c in second.candidates]


@pytest.mark.parametrize("after", [1, 5, 60, 170])
def test_cancelling_stops_at_the_next_step(density: NDArray[Any], after: int) -> None:
    calls = [0]

    def cancelled() -> bool:
        calls[0] += 1
        return calls[0] >= after

    image = section(brightfield(density), "a")
    with pytest.raises(JobCancelled):
        register_images(
            ImagePair(image, image), AutomaticParams(), JobContext(is_cancelled=cancelled)
        )
    assert calls[0] <= after + 1


def test_cancelling_inside_the_intensity_stages(density: NDArray[Any]) -> None:
    messages: list[str] = []

    def cancelled() -> bool:
        return messages.count("Refining on intensities") >= 3

    truth = about_centre(10.0, 1.05, False, (30.0, 0.0))
    pair = ImagePair(
        section(brightfield(density), "a"), section(brightfield(moved(density, truth)), "b")
    )
    ctx = JobContext(on_progress=lambda _, text: messages.append(text), is_cancelled=cancelled)
    with pytest.raises(JobCancelled):
        register_images(pair, AutomaticParams(model="nonrigid"), ctx)
    assert messages.count("Refining on intensities") == 3


def test_progress_grows_to_its_end(density: NDArray[Any]) -> None:
    seen: list[float] = []

    def note(fraction: float | None, _: str) -> None:
        if fraction is not None:
            seen.append(fraction)

    image = section(brightfield(density), "a")
    register_images(ImagePair(image, image), AutomaticParams(), JobContext(on_progress=note))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_only_a_coarse_level_is_read(density: NDArray[Any]) -> None:
    import dask.array as da

    read: list[int] = []

    def level(scale: int) -> Any:
        small = brightfield(density[::scale, ::scale]) if scale > 1 else brightfield(density)
        grown = 8 // scale  # the finest level is 8 times the density's grid

        def block(block_info: Any = None) -> NDArray[Any]:
            read.append(scale)
            (r0, r1), (c0, c1), _ = block_info[None]["array-location"]
            rows = np.arange(r0, r1) // grown
            columns = np.arange(c0, c1) // grown
            return small[rows][:, columns]

        side = small.shape[0] * grown
        parts = [min(256, side - i) for i in range(0, side, 256)]
        return da.map_blocks(block, chunks=(tuple(parts), tuple(parts), (3,)), dtype=np.uint8)

    finest = SIZE * 8
    fine = level(1)
    coarse = brightfield(density)
    image = SectionImage(
        "a", (fine, coarse), Affine(np.diag([UM / 8, UM / 8, 1.0])), ("r", "g", "b")
    )
    assert fine.shape[0] == finest
    read.clear()
    found = register(image, section(coarse, "b"))
    assert read == []
    assert error_px(found, Affine.identity(), density) < 0.5


def test_a_blank_image_is_refused() -> None:
    blank = np.full((200, 200, 3), 230, np.uint8)
    with pytest.raises(UserError, match="No tissue was found in the image of section 'b'"):
        register(section(brightfield(tissue()), "a"), section(blank, "b"))


def test_a_tiny_image_is_refused() -> None:
    with pytest.raises(UserError, match="too small"):
        register(section(np.zeros((8, 8, 3), np.uint8), "a"), section(brightfield(tissue()), "b"))


def test_a_small_image_works(density: NDArray[Any]) -> None:
    truth = about_centre(60.0, 1.0, False, (0.0, 0.0))
    small = [ndimage.zoom(d, 48 / SIZE, order=1) for d in (density, moved(density, truth))]
    found = register(
        *(section(brightfield(d), n, EXTENT / 48) for d, n in zip(small, "ab", strict=True))
    )
    assert error_px(found, truth, density) < 0.5 * SIZE / 48


def test_a_singular_start_is_refused(density: NDArray[Any]) -> None:
    image = section(brightfield(density), "a")
    with pytest.raises(UserError, match="not an invertible"):
        register(image, image, initial=((1, 2, 0), (2, 4, 0), (0, 0, 1)))


def test_it_is_registered() -> None:
    spec = registry().get("registration/automatic")
    assert spec.function is register_images
    assert spec.params().model == "affine"
