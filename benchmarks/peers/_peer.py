"""What the runners share: read a pair, measure, write the plan. Needs numpy and scipy only.

The runners are started in an environment of their own, where the project is
not installed, so this file imports nothing from it. A pair is an ``.npz`` with,
for ``source`` and ``target`` each: ``_xy`` (n, 2), ``_data``, ``_indices``,
``_indptr``, ``_shape`` of the CSR counts and, optionally, ``_image`` (n, k)
image features; or an ``.h5ad`` with ``obsm["spatial"]`` and ``obs["section"]``
of two values, the first of which (in order of appearance) is the source.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse


def read_pair(path: str) -> dict[str, Any]:
    """Return ``source`` and ``target``: dicts of ``xy``, ``x`` (CSR counts), ``image`` or None."""
    if Path(path).suffix == ".h5ad":
        return _read_h5ad(path)
    with np.load(path) as stored:
        return {side: _side(stored, side) for side in ("source", "target")}


def annotated(pair: dict[str, Any]) -> list[Any]:
    """Return source and target as AnnData with ``obsm["spatial"]`` (and ``obsm["rgb"]``)."""
    import anndata

    out = []
    for name in ("source", "target"):
        side = pair[name]
        one = anndata.AnnData(side["x"].astype(np.float32))
        one.obs_names = [f"{name}_{i}" for i in range(one.n_obs)]
        one.var_names = [f"g{i}" for i in range(one.n_vars)]
        one.obs["section"] = name
        one.obsm["spatial"] = side["xy"]
        if side["image"] is not None:
            one.obsm["rgb"] = side["image"]
        out.append(one)
    return out


def run(
    solve: Callable[[dict[str, Any], dict[str, Any]], tuple[Any, dict[str, Any]]],
    argv: list[str] | None = None,
) -> None:
    """Command line of a runner: ``runner.py PAIR PLAN.npz RESULT.json [OPTIONS-AS-JSON]``.

    ``solve(pair, options)`` returns the plan, dense or sparse, and what to say
    about it. The plan is written as CSR without entries below 1e-9 of the
    largest, beside a JSON with ``cpu_s`` (all threads; imports not counted),
    ``seconds`` and ``peak_mb`` (highest resident memory less that at the start).
    """
    parser = argparse.ArgumentParser()
    for name in ("pair", "plan", "result"):
        parser.add_argument(name)
    parser.add_argument("options", nargs="?", default="{}")
    asked = parser.parse_args(argv)
    pair = read_pair(asked.pair)
    start, cpu, wall = _resident_mb(), time.process_time(), time.perf_counter()
    plan, notes = solve(pair, json.loads(asked.options))
    result = {
        "cpu_s": time.process_time() - cpu,
        "seconds": time.perf_counter() - wall,
        "peak_mb": max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024e-6 - start, 0.0),
        **notes,
    }
    plan = np.asarray(plan.todense()) if sparse.issparse(plan) else np.asarray(plan)
    kept = sparse.csr_array(np.where(plan > 1e-9 * plan.max(), plan, 0.0))
    np.savez(asked.plan, data=kept.data, indices=kept.indices, indptr=kept.indptr, shape=kept.shape)
    Path(asked.result).write_text(json.dumps(result, indent=1))


def _side(stored: Any, side: str) -> dict[str, Any]:
    parts = [stored[f"{side}_{part}"] for part in ("data", "indices", "indptr")]
    image = f"{side}_image"
    return {
        "xy": stored[f"{side}_xy"].astype(np.float64),
        "x": sparse.csr_matrix(tuple(parts), shape=tuple(stored[f"{side}_shape"])),
        "image": stored[image].astype(np.float64) if image in stored.files else None,
    }


def _read_h5ad(path: str) -> dict[str, Any]:
    import anndata

    both = anndata.read_h5ad(path)
    names = list(dict.fromkeys(both.obs["section"].astype(str)))
    if len(names) != 2:
        raise SystemExit(f"{path}: obs['section'] has to name two sections, not {names}")
    out = {}
    for side, name in zip(("source", "target"), names, strict=True):
        one = both[(both.obs["section"].astype(str) == name).to_numpy()]
        image = one.obsm.get("rgb")
        out[side] = {
            "xy": np.asarray(one.obsm["spatial"], np.float64)[:, :2],
            "x": sparse.csr_matrix(one.X),
            "image": None if image is None else np.asarray(image, np.float64),
        }
    return out


def _resident_mb() -> float:
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * resource.getpagesize() / 1e6
