"""Other tools on our pairs, each in an environment of its own under ``.peers/``.

``python -m benchmarks.peers`` makes the environments (once; some minutes, about
2 GB); :func:`align_with` makes the one that it needs. The versions are pinned
in ``requirements-<peer>.txt``. CPU only, one thread.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._harness import ROOT

HERE = Path(__file__).resolve().parent
HOME = ROOT / ".peers"
NAMES = ("moscot", "paste2")


class PeerMissing(RuntimeError):
    """A peer's environment could not be made; the installer's words are in the message."""


@dataclass(frozen=True)
class PeerRun:
    """What a peer returned and what it cost.

    Attributes
    ----------
    plan
        (n, m) CSR plan.
    cpu_s
        CPU seconds of all threads: the pair made ready and solved, compilation by jax
        included, imports not.
    peak_mb
        Highest resident memory less that before, in MB.
    seconds
        Wall-clock seconds.
    notes
        What else the runner said.
    """

    plan: Any
    cpu_s: float
    peak_mb: float
    seconds: float
    notes: dict[str, Any]


def python_of(name: str) -> Path:
    """Return the interpreter of a peer's environment, made where it is not there yet.

    Raises
    ------
    PeerMissing
        If the environment cannot be made.
    """
    if name not in NAMES:
        raise ValueError(f"no peer {name!r}; there are {', '.join(NAMES)}")
    folder = HOME / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = HERE / f"requirements-{name}.txt"
    fingerprint = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()
    stamp = folder / ".stamp"
    if python.exists() and stamp.exists() and stamp.read_text() == fingerprint:
        return python
    print(f"Making an environment for {name} in {folder} (once; some minutes)", file=sys.stderr)
    venv.create(folder, with_pip=True, clear=True, symlinks=os.name != "nt")
    done = subprocess.run(
        [python, "-m", "pip", "install", "--disable-pip-version-check", "-q", "-r", wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise PeerMissing(f"{name} could not be installed:\n{last}")
    stamp.write_text(fingerprint)
    return python


def write_pair(pair: Any, path: Path) -> None:
    """Write two sections as the runners read them: the features that both have."""
    from scipy import sparse

    from napari_stomics.methods.alignment.checks import shared_columns

    stored: dict[str, Any] = {}
    columns = shared_columns(pair.source, pair.target)
    for side, spots, chosen in zip(
        ("source", "target"), (pair.source, pair.target), columns, strict=True
    ):
        x = sparse.csr_array(spots.x[:, chosen])
        stored |= {
            f"{side}_xy": np.asarray(spots.coordinates, float),
            f"{side}_data": x.data,
            f"{side}_indices": x.indices,
            f"{side}_indptr": x.indptr,
            f"{side}_shape": np.array(x.shape),
        }
    np.savez(path, **stored)


def align_with(name: str, pair: Any, *, timeout: float = 3600.0, **options: Any) -> PeerRun:
    """Align a pair with another tool.

    Parameters
    ----------
    name
        ``moscot`` or ``paste2``.
    pair
        Two sections (``SpotPair``).
    timeout
        Seconds after which the tool is ended.
    options
        For the tool's own solve. PASTE2 is told the overlap that is true where
        the smaller section lies wholly in the larger one, and compares by PCA
        (its GLM-PCA takes minutes), unless ``s`` or ``dissimilarity`` say otherwise.

    Raises
    ------
    PeerMissing
        If the tool cannot be installed.
    RuntimeError
        If it failed; its standard error is in the message.
    """
    from scipy import sparse

    python = python_of(name)
    if name == "paste2":
        sizes = len(pair.source.ids), len(pair.target.ids)
        options = {"s": min(sizes) / max(sizes), "dissimilarity": "pca"} | options
    threads = ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM")
    one = os.environ | {f"{t}_NUM_THREADS": "1" for t in threads} | {"JAX_PLATFORMS": "cpu"}
    one |= {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}
    one.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, part) for part in ("pair.npz", "plan.npz", "result.json")]
        write_pair(pair, files[0])
        done = subprocess.run(
            [python, HERE / f"run_{name}.py", *files, json.dumps(options)],
            env=one,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(
                f"{name} ended with status {done.returncode}:\n{done.stderr[-3000:]}"
            )
        notes = json.loads(files[2].read_text())
        with np.load(files[1]) as stored:
            parts = tuple(stored[part] for part in ("data", "indices", "indptr"))
            plan = sparse.csr_matrix(parts, shape=tuple(stored["shape"]))
    costs = {key: float(notes.pop(key)) for key in ("cpu_s", "peak_mb", "seconds")}
    return PeerRun(plan, **costs, notes=notes)
