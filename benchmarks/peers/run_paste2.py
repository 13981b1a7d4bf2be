"""Align a pair with PASTE2; options go to its ``partial_pairwise_align``.

``s``, the overlap, has to be given: PASTE2 does not guess it. GLM-PCA, its
default dissimilarity, takes most of its time; ``{"dissimilarity": "pca"}`` is
its own faster choice.
"""

from __future__ import annotations

import contextlib
import io

from _peer import annotated, run
from paste2 import PASTE2


def solve(pair, options):
    source, target = annotated(pair)
    options = {"s": 0.9, "verbose": False, **options}
    with contextlib.redirect_stdout(io.StringIO()):
        plan, cost = PASTE2.partial_pairwise_align(source, target, return_obj=True, **options)
    return plan, {"cost": float(cost), "options": options}


if __name__ == "__main__":
    run(solve)
