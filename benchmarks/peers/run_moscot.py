"""Align a pair with moscot's AlignmentProblem; options go to its ``solve``.

Its tutorial's way: counts scaled to 1e4 per spot, log1p, PCA by its own
callback, coordinates standardised by itself; ``solve`` at its defaults unless told.
"""

from __future__ import annotations

import logging
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import anndata
import numpy as np
import scanpy as sc
from _peer import annotated, run
from moscot.problems.space import AlignmentProblem


def solve(pair, options):
    logging.getLogger("moscot").setLevel(logging.ERROR)
    both = anndata.concat(annotated(pair), index_unique=None)
    both.obs["section"] = both.obs["section"].astype("category")
    sc.pp.normalize_total(both, 1e4)
    sc.pp.log1p(both)
    problem = AlignmentProblem(both)
    problem = problem.prepare(batch_key="section", policy="sequential")
    problem = problem.solve(**options)
    (solution,) = problem.solutions.values()
    plan = np.asarray(solution.transport_matrix, np.float64)
    return plan, {"converged": bool(solution.converged), "cost": float(solution.cost)}


if __name__ == "__main__":
    run(solve)
