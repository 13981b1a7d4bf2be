import importlib.util
import json
import subprocess

import numpy as np
import pytest
from benchmarks import peers
from scipy import sparse

from napari_stomics.core.inputs import SpotPair
from tests.small import shared_simulation


@pytest.fixture
def pair() -> SpotPair:
    made = shared_simulation()
    first, second = made.study.sections
    return SpotPair(*(made.study.section(s).spots("rna") for s in (first, second)))


def _runner():
    spec = importlib.util.spec_from_file_location("_peer", peers.HERE / "_peer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_runners_read_what_is_written_for_them(pair, tmp_path):
    path = tmp_path / "pair.npz"
    peers.write_pair(pair, path)
    read = _runner().read_pair(str(path))
    for side, spots in (("source", pair.source), ("target", pair.target)):
        np.testing.assert_array_equal(read[side]["xy"], spots.coordinates)
        assert (read[side]["x"] != sparse.csr_matrix(spots.x)).nnz == 0
        assert read[side]["image"] is None
    source, target = _runner().annotated(read)
    assert list(source.var_names) == list(target.var_names)


def test_a_runner_writes_its_plan_and_what_it_cost(pair, tmp_path):
    files = [tmp_path / name for name in ("pair.npz", "plan.npz", "result.json")]
    peers.write_pair(pair, files[0])
    plan = np.diag(np.arange(3.0))
    arguments = [*map(str, files), json.dumps({"s": 0.5})]
    _runner().run(lambda pair, options: (plan, {"options": options}), arguments)
    result = json.loads(files[2].read_text())
    assert result["options"] == {"s": 0.5}
    assert min(result[key] for key in ("cpu_s", "seconds", "peak_mb")) >= 0
    with np.load(files[1]) as stored:
        parts = tuple(stored[part] for part in ("data", "indices", "indptr"))
        found = sparse.csr_matrix(parts, shape=tuple(stored["shape"]))
    np.testing.assert_array_equal(found.toarray(), plan)


def test_an_unknown_peer_and_one_that_cannot_be_installed_are_told(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="moscot, paste2"):
        peers.python_of("paste9")
    monkeypatch.setattr(peers, "HOME", tmp_path)
    monkeypatch.setattr(peers.venv, "create", lambda *args, **kwargs: None)
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: No matching distribution found")
    monkeypatch.setattr(peers.subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(peers.PeerMissing, match="No matching distribution"):
        peers.python_of("moscot")
    assert not (tmp_path / "moscot" / ".stamp").exists()


def test_every_peer_has_a_runner_and_pinned_requirements():
    for name in peers.NAMES:
        assert (peers.HERE / f"run_{name}.py").exists()
        rows = (peers.HERE / f"requirements-{name}.txt").read_text().splitlines()
        assert all("==" in row for row in rows if not row.startswith("#"))
        assert any(row.startswith(f"{name}==") for row in rows)
