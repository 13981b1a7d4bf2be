"""What every benchmark uses: costs measured in a fresh process, the data folder, the line format.

A benchmark is a module of this package with::

    NAMES = ("align.fgw", "align.plan")      # prefixes of the names of its lines

    def lines(wanted):                       # or lines(), without the filter
        if wanted("align.fgw.small"):
            cost = run_isolated("benchmarks.align:fgw", 500, imports=("ot",))
            yield line("align.fgw.small", {"accuracy": cost.result, **cost.values},
                       peers={"paste": {"accuracy": 0.8}}, protocol="...")

Without ``NAMES`` the name of the module is the one prefix. Heavy imports belong
inside functions: a module is imported whenever one of its lines may be wanted.
"""

from __future__ import annotations

import importlib
import math
import os
import pickle
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
NAME = re.compile(r"[a-z0-9_]+(\.[A-Za-z0-9_-]+)+")
T = TypeVar("T")


class DataMissing(RuntimeError):
    """The data that a benchmark measures on is not on this machine."""


@dataclass(frozen=True)
class Measured:
    """What a function returned and what it cost.

    Attributes
    ----------
    result
        The function's own answer.
    cpu_s
        CPU seconds of the process, all threads and finished children together.
    peak_mb
        Highest resident memory during the call less that at its start, in MB (1e6 bytes).
        Children are not counted.
    seconds
        Wall-clock seconds.
    """

    result: Any
    cpu_s: float
    peak_mb: float
    seconds: float

    @property
    def values(self) -> dict[str, float]:
        """``cpu_s`` and ``peak_mb``, rounded, to be put into a line."""
        return {"cpu_s": round(self.cpu_s, 3), "peak_mb": round(self.peak_mb, 1)}


def data_root(*needed: str) -> Path:
    """Return the data folder: ``STOMICS_DATA``, else ``../shared/data`` beside the repository.

    Parameters
    ----------
    needed
        Paths below it that have to exist.

    Raises
    ------
    DataMissing
        If the folder or one of the paths is not there.
    """
    root = Path(os.environ.get("STOMICS_DATA") or ROOT.parent / "shared" / "data")
    for path in (root, *(root / name for name in needed)):
        if not path.exists():
            raise DataMissing(f"{path} is not there; set STOMICS_DATA to the data folder.")
    return root


def line(
    name: str,
    values: Mapping[str, float],
    *,
    protocol: str,
    peers: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, Any]:
    """Build one checked line of ``results.jsonl``; numpy numbers become plain ones.

    Raises
    ------
    ValueError
        If the name is not dotted, a value is not a finite number or the protocol is empty.
    """
    return checked({"name": name, "values": values, "peers": peers or {}, "protocol": protocol})


def checked(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line in its stored form, or raise ``ValueError`` with what is wrong in it."""
    if set(raw) != {"name", "values", "peers", "protocol"}:
        raise ValueError(f"a line has name, values, peers and protocol, not {sorted(raw)}")
    name, protocol = raw["name"], raw["protocol"]
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a dotted name such as 'align.fgw'")
    if not isinstance(protocol, str) or not protocol.strip():
        raise ValueError(f"{name}: no number without its protocol")
    if not raw["values"]:
        raise ValueError(f"{name}: no values")
    return {
        "name": name,
        "values": _numbers(name, raw["values"]),
        "peers": {str(peer): _numbers(name, values) for peer, values in raw["peers"].items()},
        "protocol": protocol,
    }


def _numbers(name: str, values: Mapping[str, Any]) -> dict[str, float]:
    plain: dict[str, float] = {}
    for metric, value in values.items():
        value = value.item() if hasattr(value, "item") else value
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise ValueError(f"{name}: {metric} = {value!r} is not a finite number")
        plain[str(metric)] = value if isinstance(value, int) else float(value)
    return plain


def may_match(prefixes: Iterable[str], only: Iterable[str]) -> bool:
    """Whether lines whose names start with one of the prefixes can pass the filter."""
    only = tuple(only)
    return not only or any(p.startswith(o) or o.startswith(p) for p in prefixes for o in only)


def measure(function: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """Call a function in this process; return its answer with ``cpu_s`` and ``peak_mb``.

    Memory that the process holds already can hide a peak: prefer :func:`run_isolated`.
    """
    cost = _measure(function)
    return cost.result, cost.values


def run_isolated(
    target: str,
    *args: Any,
    imports: Iterable[str] = (),
    warm: tuple[Any, ...] | None = None,
    threads: int = 1,
    timeout: float = 1800.0,
    **kwargs: Any,
) -> Measured:
    """Measure a function in a fresh Python process, so that nothing earlier hides its cost.

    Parameters
    ----------
    target
        ``"module:function"``, importable from the root of the repository.
    imports
        Modules to import before the clock starts and the memory baseline is read; libraries
        that the function imports itself and that are not named here are counted in.
    warm
        Arguments of a small call of the same function that is made first and not measured, so
        that what libraries load when they are first used (compiled kernels, mostly) is not
        counted as the function's.
    threads
        Threads of BLAS, OpenMP, numba and torch.
    timeout
        Seconds after which the process is ended.
    args, kwargs
        Passed to the function; like its answer, they have to be picklable.

    Raises
    ------
    RuntimeError
        If the process failed; its standard error is in the message.
    """
    names = ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM")
    environment = os.environ | {f"{name}_NUM_THREADS": str(threads) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        request, answer = Path(folder, "request"), Path(folder, "answer")
        request.write_bytes(pickle.dumps((target, args, kwargs, tuple(imports), warm, threads)))
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks._harness", str(request), str(answer)],
            cwd=ROOT,
            env=environment,
            stdout=sys.stderr,  # a benchmark's chatter is no part of the table
            stderr=subprocess.PIPE,
            text=True,
            timeout=timeout,
            check=False,
        )
        if not answer.exists():
            raise RuntimeError(f"{target} ended with status {done.returncode}:\n{done.stderr}")
        # Both ends of this pipe are ours: the file was written a moment ago by the call above.
        outcome = pickle.loads(answer.read_bytes())
    if isinstance(outcome, DataMissing):
        raise outcome
    return Measured(*outcome)


def _child(request: str, answer: str) -> None:
    target, args, kwargs, imports, warm, threads = pickle.loads(Path(request).read_bytes())
    for name in imports:
        importlib.import_module(name)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    module, _, function = target.partition(":")
    call = getattr(importlib.import_module(module), function)
    outcome: Any
    try:
        if warm is not None:
            call(*warm)
        cost = _measure(lambda: call(*args, **kwargs))
        outcome = (cost.result, cost.cpu_s, cost.peak_mb, cost.seconds)
    except DataMissing as error:
        outcome = DataMissing(str(error))
    Path(answer).write_bytes(pickle.dumps(outcome))


def _measure(function: Callable[[], Any]) -> Measured:
    with _peak_memory() as peak:
        cpu, wall = _cpu_seconds(), time.perf_counter()
        result = function()
        cpu, wall = _cpu_seconds() - cpu, time.perf_counter() - wall
    return Measured(result, cpu, peak[0], wall)


def _cpu_seconds() -> float:
    children = os.times()  # ticks of 10 ms: too coarse for the process itself
    return time.process_time() + children.children_user + children.children_system


@contextmanager
def _peak_memory() -> Any:
    """Yield a list that holds, after the block, its peak resident memory over the start, in MB."""
    found = [0.0]
    try:
        # Linux keeps the highest resident size; writing 5 sets it back to the present one.
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
    except (OSError, KeyError):
        with _sampled_peak(found):
            yield found
        return
    yield found
    found[0] = max(0.0, (_status("VmHWM") - before) / 1000.0)


def _status(field: str) -> float:
    for row in Path("/proc/self/status").read_text().splitlines():
        if row.startswith(field + ":"):
            return float(row.split()[1]) * 1.024  # the kernel counts in KiB
    raise KeyError(field)


@contextmanager
def _sampled_peak(found: list[float], every_s: float = 0.005) -> Any:
    import psutil

    process = psutil.Process()
    before = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        while not done.wait(every_s):
            found[0] = max(found[0], (process.memory_info().rss - before) / 1e6)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


if __name__ == "__main__":
    # Under the module's own name, so that DataMissing is the same class on both sides.
    importlib.import_module("benchmarks._harness")._child(*sys.argv[1:])
