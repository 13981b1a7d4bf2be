"""Where results are stored: the table that has every spot, or a plain word that there is none."""

from __future__ import annotations

import numpy as np
import pytest

from napari_stomics.core.errors import UserError
from napari_stomics.data.fusion import FusionRefs, collect_fusion
from napari_stomics.data.homes import home_table
from napari_stomics.data.study import Study
from tests.layers.studies import grid, section, table


def halves() -> Study:
    """A section whose two tables have a half of its spots each."""
    whole = table(len(grid()))
    middle = whole.n_obs // 2
    protein = whole[middle - 12 :].copy()
    tables = {"rna": whole[: middle + 12].copy(), "protein": protein}
    ids = whole.obs_names.to_numpy(object)
    return Study(section("A", tables=tables, ids=ids, annotation=None))


def test_fusing_is_refused_before_it_runs_where_no_table_has_every_spot() -> None:
    study = halves()
    assert len(study.section("A").ids) == len(grid())
    with pytest.raises(UserError, match="has all of its 36 spots") as caught:
        collect_fusion(study, FusionRefs(section="A", modalities=("rna", "protein")))
    assert "rna 30, protein 30" in caught.value.message
    assert "every spot" in caught.value.hint


def test_spots_that_changed_are_told_as_that() -> None:
    study = Study(section("A"))
    ids = study.section("A").ids
    assert study.sdata.tables[home_table(study, "A", ids)].n_obs == len(ids)
    with pytest.raises(UserError, match="changed while the job ran"):
        home_table(study, "A", np.append(ids, "more"))
