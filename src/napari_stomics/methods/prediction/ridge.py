"""Expression from histology by ridge regression on interpretable image features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.errors import UserError
from napari_stomics.core.inputs import HistologySpots, PredictionInputs
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params, param
from napari_stomics.core.registry import method
from napari_stomics.core.results import Prediction
from napari_stomics.methods.morphology.he import he_features
from napari_stomics.methods.preprocess import log_normalise, most_variable, z_scores
from napari_stomics.metrics.prediction import pearson_per_column, rmse_per_column

Floats = NDArray[np.floating[Any]]

SCALE = "log1p of counts scaled to 10,000 per spot"
_TOTAL = 1e4
_PENALTIES = tuple(10.0**e for e in range(-1, 6))


class RidgeParams(Params):
    """Parameters of the ridge prediction."""

    n_genes: int = param(
        250,
        "Genes",
        "Genes of highest variance on the training sections; those of the predicted "
        "section are never looked at.",
        ge=1,
        le=20_000,
    )
    n_folds: int = param(
        5,
        "Spatial folds",
        "Spatial blocks of the training sections, each left out in turn, to choose the "
        "penalty and to estimate the error.",
        ge=2,
        le=20,
    )
    standardise: bool = param(
        True,
        "Standardise features per section",
        "Removes differences of staining between sections; needs no expression.",
        advanced=True,
    )
    seed: int = param(0, "Seed", "Seed of the spatial blocks.", advanced=True, ge=0)


@method(
    task="prediction",
    name="ridge",
    title="Ridge on H&E features",
    summary="Predicts expression from stain statistics under and around each spot; trained "
    "on whole other sections.",
    params=RidgeParams,
    inputs=PredictionInputs,
    result=Prediction,
    reference="Hoerl and Kennard 1970, Technometrics 12:55",
)
def predict_ridge(inputs: PredictionInputs, params: RidgeParams, ctx: JobContext) -> Prediction:
    """Predict the expression of a section from its H&E image.

    Genes, penalty and error are settled on the training sections alone, on
    spatial blocks left out; the predicted section's counts only score the answer.

    Raises
    ------
    UserError
        If the sections share no genes or the training spots are too few.
    """
    genes, train_y, depth = _training_expression(inputs, params.n_genes)
    features, blocks = [], []
    for i, section in enumerate(inputs.train):
        part = ctx.part(0.6 * i / len(inputs.train), 0.6 * (i + 1) / len(inputs.train))
        features.append(_features(section, params, part))
        blocks.append(_spatial_blocks(section, params) + i * params.n_folds)
    x = np.vstack(features)
    if len(x) < 4 * params.n_folds:
        raise UserError(
            f"{len(x)} training spots are too few for {params.n_folds} spatial folds.",
            "Train on more or larger sections.",
        )
    held_out, penalty = _held_out(x, train_y, np.concatenate(blocks), params, ctx.part(0.6, 0.8))
    ctx.step(0.8, "Predicting")
    test_x = _features(inputs.test, params, ctx.part(0.8, 0.95))
    values = _ridge(x, train_y, penalty).predict(test_x).astype(np.float32)
    novelty = _novelty(x, np.concatenate(blocks), test_x)
    scores = _score(inputs.test, genes, values, train_y, depth)
    return Prediction(
        section=inputs.test.spots.section,
        trained_on=tuple(s.spots.section for s in inputs.train),
        ids=inputs.test.spots.ids,
        genes=genes,
        values=values,
        scale=SCALE,
        error=rmse_per_column(train_y, held_out),
        novelty=novelty,
        **scores,
    )


def _training_expression(
    inputs: PredictionInputs, n_genes: int
) -> tuple[NDArray[Any], Floats, Floats]:
    """Names, (n, g) expression and (n, 1) log depth of the training spots."""
    shared = list(inputs.train[0].spots.features)
    for section in inputs.train[1:]:
        here = set(section.spots.features)
        shared = [gene for gene in shared if gene in here]
    if not shared:
        raise UserError(
            "The training sections share no genes.",
            "Use the same kind of names (symbols or Ensembl ids) in all tables.",
        )
    parts = [expression(section, shared) for section in inputs.train]
    stacked = np.vstack(parts)
    chosen = most_variable(stacked, n_genes)
    depth = np.concatenate([log_depth(section) for section in inputs.train])
    return np.array(shared, object)[chosen], stacked[:, chosen], depth


def expression(section: HistologySpots, genes: Any) -> Floats:
    """(n, g) log-normalised expression of some genes; NaN columns for genes not measured."""
    normalised = log_normalise(section.spots.x, _TOTAL)
    at = {name: i for i, name in enumerate(section.spots.features)}
    out = np.full((len(section.spots.ids), len(genes)), np.nan, np.float32)
    known = [j for j, gene in enumerate(genes) if gene in at]
    columns = normalised[:, [at[genes[j]] for j in known]]
    out[:, known] = columns.toarray() if hasattr(columns, "toarray") else columns
    return out


def log_depth(section: HistologySpots) -> Floats:
    """(n, 1) log1p of the total count of each spot."""
    return np.log1p(np.asarray(section.spots.x.sum(axis=1), np.float64)).reshape(-1, 1)


def _features(section: HistologySpots, params: RidgeParams, ctx: JobContext) -> Floats:
    features, _ = he_features(section, (1.0, 3.0), ctx)
    return z_scores(features) if params.standardise else features


def _spatial_blocks(section: HistologySpots, params: RidgeParams) -> NDArray[np.intp]:
    from sklearn.cluster import KMeans

    model = KMeans(params.n_folds, n_init=4, random_state=params.seed)
    return np.asarray(model.fit_predict(section.spots.coordinates))


def _ridge(x: Floats, y: Floats, penalty: float) -> Any:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), Ridge(alpha=penalty)).fit(x, y)


def _held_out(
    x: Floats, y: Floats, blocks: NDArray[Any], params: RidgeParams, ctx: JobContext
) -> tuple[Floats, float]:
    """Predictions for spatial blocks left out, under the penalty that serves them best."""
    best, answer, chosen = np.inf, np.zeros_like(y), _PENALTIES[0]
    for i, penalty in enumerate(_PENALTIES):
        ctx.step(i / len(_PENALTIES), "Spatial cross-validation")
        predicted = np.zeros_like(y)
        for fold in range(params.n_folds):
            out = blocks % params.n_folds == fold
            predicted[out] = _ridge(x[~out], y[~out], penalty).predict(x[out])
        error = float(np.mean((predicted - y) ** 2))
        if error < best:
            best, answer, chosen = error, predicted, penalty
    return answer, chosen


def _novelty(x: Floats, blocks: NDArray[Any], test_x: Floats) -> Floats:
    """Distance to the training features over the 99th percentile of held-out training spots."""
    from sklearn.neighbors import NearestNeighbors

    mean, sd = x.mean(axis=0), np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    a, b = (x - mean) / sd, (test_x - mean) / sd
    own = np.zeros(len(a))
    for block in np.unique(blocks):
        out = blocks == block
        if (~out).any():
            own[out] = NearestNeighbors(n_neighbors=1).fit(a[~out]).kneighbors(a[out])[0][:, 0]
    limit = float(np.quantile(own, 0.99)) or 1.0
    return np.asarray(NearestNeighbors(n_neighbors=1).fit(a).kneighbors(b)[0][:, 0] / limit)


def _score(
    test: HistologySpots, genes: NDArray[Any], values: Floats, train_y: Floats, depth: Floats
) -> dict[str, Any]:
    """Scores per gene beside a training mean and a depth-only control."""
    nothing = np.full(len(genes), np.nan)
    if test.spots.x.shape[1] == 0:
        names = ("pearson", "pearson_mean", "pearson_depth", "rmse", "rmse_mean")
        return dict.fromkeys(names, nothing)
    truth = expression(test, genes)
    mean = np.broadcast_to(train_y.mean(axis=0), truth.shape)
    by_depth = _ridge(depth, train_y, 1.0).predict(log_depth(test))
    return {
        "pearson": pearson_per_column(truth, values),
        "pearson_mean": pearson_per_column(truth, mean),
        "pearson_depth": pearson_per_column(truth, by_depth),
        "rmse": rmse_per_column(truth, values),
        "rmse_mean": rmse_per_column(truth, mean),
    }
