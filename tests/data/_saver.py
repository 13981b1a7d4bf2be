"""A process that forks children which save a study over and over, to be killed at any instant.

Usage: ``python _saver.py STORE``. Each line on standard input forks one child;
its process id is printed. ``random``: the child saves until it is killed.
``step K``: the child kills itself before its K-th call that changes the disk.
``count``: the child saves once, and prints how many such calls it made and which
of them exchanged the folders.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any


def save_for_ever(path: Path, last: int | None) -> None:
    from napari_stomics.data.store import save_store
    from napari_stomics.data.study import open_study

    study = open_study(path)
    if last is not None:
        watch_disk(last)
    while True:
        advance(study)
        save_store(study)


def advance(study: Any) -> None:
    """One more generation: the attributes, a column and an image's place agree on it."""
    import numpy as np
    from spatialdata.transformations import Translation, set_transformation

    generation = int(study.sdata.attrs["generation"]) + 1
    study.sdata.attrs["generation"] = generation
    table = study.sdata.tables["one_rna"]
    table.obs["generation"] = np.full(table.n_obs, generation)
    shift = Translation([float(generation), 0.0], axes=("x", "y"))
    set_transformation(study.sdata["one_he"], shift, to_coordinate_system="generation")


def count_calls(path: Path) -> None:
    from napari_stomics.data.store import save_store
    from napari_stomics.data.study import open_study

    study = open_study(path)
    made = watch_disk(None)
    advance(study)
    save_store(study)
    print(len(made), made.index("exchange"), flush=True)


def watch_disk(last: int | None) -> list[str]:
    """Note each call that changes the disk; the process kills itself instead of number ``last``."""
    from napari_stomics.data import atomic

    made: list[str] = []

    def guard(name: str, function: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if len(made) == last:
                os.kill(os.getpid(), signal.SIGKILL)
            made.append(name)
            return function(*args, **kwargs)

        return wrapped

    for name in ("link", "rename", "replace", "mkdir", "rmdir", "unlink"):
        setattr(os, name, guard(name, getattr(os, name)))
    atomic.exchange = guard("exchange", atomic.exchange)
    return made


def main(path: Path) -> None:
    import dask

    import napari_stomics.data.store
    import napari_stomics.data.study  # noqa: F401

    dask.config.set(scheduler="synchronous")
    import spatialdata  # noqa: F401  # imported once, before the forks

    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        words = line.split()
        pid = os.fork()
        if pid == 0:
            try:
                if words[0] == "count":
                    count_calls(path)
                else:
                    save_for_ever(path, int(words[1]) if words[0] == "step" else None)
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(1)
        print(pid, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
