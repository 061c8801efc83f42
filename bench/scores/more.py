"""Scores that are computed on demand alone (`--metrics all`): what reviewers ask for, and what takes longer than the usual ones.

MCC with a sign and against its permutation null; coverage; the linear class; agreement by class of indeterminacy; DCI-ES; InfoMEC; MIG and
SAP; T-MEX. As in `metrics`, what is chosen or fitted is so on validation and scored on test; MIG, SAP and InfoM and InfoC fit nothing and
are of test alone. Every definition ends with what the score is by chance, for estimates that know nothing of the latents, and at best.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.stats import entropy, norm

from bench.scores import ON_DEMAND, Score, declare, factors, score
from bench.scores.metrics import (
    Encoded,
    Evaluation,
    absolute,
    by_domain,
    constants,
    gain,
    kernel_predictions,
    matching,
    normal_scores,
    pearson_of,
    r2_linear,
    r2_of,
    ranked,
    ridge_predictions,
    spearman_of,
    spearman_within_of,
    standardised,
    unit_columns,
)

assert factors, "imported first, so that the scores have one order in every process"

PERMUTATIONS = 200
BINS = 20  # of MIG and InfoMEC, as Locatello et al. 2019 have them
NEIGHBOURS = 10  # of the estimate of information, as Hsu et al. 2023 have them
TREES, FEWEST_IN_LEAF = 20, 5  # of the random forests of DCI
CAPACITIES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)  # random features of the probes of explicitness
FEATURE_RIDGE = 1e-4
ALPHA = 0.05  # level of each test of T-MEX
SMALLEST_RATIO = 1e-8  # of singular values of standardised columns: below it a direction is one that others span

T = TypeVar("T")


def _once(compute: Callable[[Evaluation], T]) -> Callable[[Evaluation], T]:
    """The same function, which computes once for each evaluation and keeps the result with it, as cached properties are."""
    name = f"{__name__}.{compute.__qualname__}"

    @functools.wraps(compute)
    def kept(e: Evaluation) -> T:
        if name not in vars(e):
            vars(e)[name] = compute(e)
        return vars(e)[name]

    return kept


# --- MCC with a sign, and against chance


class Kind(NamedTuple):
    """A kind of MCC: its score, its name in headings, its correlations, and the unit columns whose products these are the mean of."""

    score: str
    heading: str
    correlations: Callable[[Encoded], np.ndarray]
    units: Callable[[Encoded], list[tuple[np.ndarray, np.ndarray]]]


KINDS = (
    Kind("mcc_spearman", "Spearman", spearman_of, lambda split: [unit_columns(split, ranked)]),
    Kind("mcc_pearson", "Pearson", pearson_of, lambda split: [unit_columns(split, lambda columns: columns)]),
    Kind("mcc_within", "within", spearman_within_of, lambda split: [unit_columns(p, ranked) for p in by_domain(split)]),
)


def signed_mcc(chosen_by: np.ndarray, scored_by: np.ndarray) -> float:
    """Mean over true latents of the matched correlations on test, each times the sign that it has on validation.

    Correlations are (n_latents, n_estimated), of validation and of test. An unmatched true latent counts 0.
    """
    latents, estimates = matching(chosen_by)
    signs = np.sign(chosen_by[latents, estimates])
    return float((signs * scored_by[latents, estimates]).sum() / len(chosen_by))


def permutation_null(
    kind: Kind, validation: Encoded, test: Encoded, n: int = PERMUTATIONS, seed: int = 0
) -> np.ndarray:
    """The MCC of `n` permutations of the estimates' points, (n,), each matched anew: in each split, within domains where the kind is."""
    rng = np.random.default_rng(seed)
    units = [kind.units(split) for split in (validation, test)]

    def permuted(parts: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        return np.mean([z.T @ z_hat[rng.permutation(len(z_hat))] for z, z_hat in parts], axis=0)

    return np.array([absolute(permuted(units[0]), permuted(units[1]))[0].mean() for _ in range(n)])


def _null(e: Evaluation, kind: Kind) -> np.ndarray:
    return _once(_nulls)(e)[kind.score]


def _nulls(e: Evaluation) -> dict[str, np.ndarray]:
    return {kind.score: permutation_null(kind, e.validation, e.test) for kind in KINDS}


def _declare_kind(kind: Kind) -> None:
    def observed(e: Evaluation) -> float:
        return float(absolute(kind.correlations(e.validation), kind.correlations(e.test))[0].mean())

    def signed(e: Evaluation) -> float:
        return signed_mcc(kind.correlations(e.validation), kind.correlations(e.test))

    def mean(e: Evaluation) -> float:
        return float(_null(e, kind).mean())

    def high(e: Evaluation) -> float:
        return float(np.quantile(_null(e, kind), 0.95))

    def adjusted(e: Evaluation) -> float | None:
        return gain(observed(e), mean(e))

    where = "inside each domain of each split" if kind.score == "mcc_within" else "in each split"
    null = f"{kind.score} of {PERMUTATIONS} permutations of the estimates' points {where}, each matched anew"
    declared = {
        "signed": (
            signed,
            "signed",
            f"As {kind.score}, and the sign of each matched correlation is fixed on validation too: mean of sign times correlation on test. "
            "Chance: 0 in expectation, whatever the number of points and latents. Best: 1.",
            "this project",
        ),
        "null": (
            mean,
            "null",
            f"Mean {null}. It is what {kind.score} is by chance: about sqrt(2 / (pi points)) where nothing is constant.",
            "this project, permutation tests of Fisher 1935",
        ),
        "null_95": (
            high,
            "null 95 %",
            f"95 % quantile of {null}. A score below it cannot be told from chance.",
            "this project, permutation tests of Fisher 1935",
        ),
        "adjusted": (
            adjusted,
            "adjusted",
            f"({kind.score} - {kind.score}_null) / (1 - {kind.score}_null). Chance: 0 in expectation. Best: 1.",
            "the correction for chance of Cohen 1960",
        ),
    }
    for suffix, (compute, heading, definition, source) in declared.items():
        declare(
            Score(
                f"{kind.score}_{suffix}",
                definition,
                source,
                (kind.heading, heading),
                f"MCC ({kind.heading}), {heading}, test",
                bounded=True,
                non_negative="null" in suffix,
                compute=compute,
            ),
            ON_DEMAND,
        )


for _kind in KINDS:
    _declare_kind(_kind)


@score(
    "coverage",
    heading=("", "coverage"),
    axis="Coverage, test",
    bounded=True,
    non_negative=True,
    on_demand=True,
    source="after the coverage of Karvonen et al. 2024; correlations in the place of their scores are this project's",
)
def coverage(e: Evaluation) -> float:
    """Absolute Spearman correlation on test of each true latent with the one estimate that is closest to it on validation, mean over
    true latents. An estimate may serve several latents, so it is mcc_spearman without the one-to-one match, and at least about as
    large. Chance: about sqrt(2 / (pi points)). Best: 1."""
    chosen_by, scored_by = (np.abs(spearman_of(split)) for split in (e.validation, e.test))
    return float(np.minimum(scored_by[np.arange(len(chosen_by)), chosen_by.argmax(axis=1)], 1).mean())


# --- classes of indeterminacy


@score(
    "mcc_cca",
    heading=("MCC", "CCA"),
    axis="MCC after CCA, test",
    bounded=True,
    on_demand=True,
    source="Khemakhem et al. 2020 (ICE-BeeM), the weak MCC out of sample; the sign is this project's",
)
def mcc_cca(e: Evaluation) -> float:
    """Correlations on test of the canonical variates of true and estimated latents, whose weights are fitted on validation (Hotelling
    1936), in pairs and with the sign that they have there; mean over as many as there are true latents, missing ones counting 0. The
    score of the linear class: an invertible linear map of the estimates, or of the latents, changes nothing. Chance: 0 in expectation.
    Best: 1."""
    fitted, scored = e.validation, e.test
    weights = canonical_weights(*_standardised(fitted, fitted))
    if not weights[0].size:
        return 0.0
    z, z_hat = (columns @ own for columns, own in zip(_standardised(fitted, scored), weights, strict=True))
    pairs = pearson_of(Encoded(z, z_hat, scored.domains, scored.rounding))
    return float(np.diagonal(pairs).sum() / scored.z.shape[1])


def canonical_weights(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (n_columns, n_pairs) of the canonical variates of centred x and y (n_samples, n_columns), most correlated first.

    Directions that other columns span already are left out, so that there are as many pairs as the smaller rank.
    """
    whitening = []
    for columns in (x, y):
        _, values, directions = np.linalg.svd(columns, full_matrices=False)
        kept = values > SMALLEST_RATIO * values.max(initial=0)
        whitening.append(directions[kept].T / values[kept])
    left, _, right = np.linalg.svd((x @ whitening[0]).T @ (y @ whitening[1]), full_matrices=False)
    return whitening[0] @ left, whitening[1] @ right.T


def _standardised(fitted: Encoded, applied: Encoded) -> tuple[np.ndarray, np.ndarray]:
    """True and estimated latents of `applied` by the means and deviations of `fitted`; a column that is constant there is 0."""
    found = []
    for own, columns, fixed in zip(
        (fitted.z, fitted.z_hat), (applied.z, applied.z_hat), constants(fitted), strict=True
    ):
        found.append((columns - own.mean(axis=0)) / np.where(fixed, np.inf, own.std(axis=0)))
    return found[0], found[1]


@score(
    "class_permutation",
    heading=("Class", "permutation"),
    axis="$R^2$ up to permutation and scale, test",
    bounded=True,
    on_demand=True,
    source="this project; classes as in Khemakhem et al. 2020",
)
def class_permutation(e: Evaluation) -> float:
    """Agreement up to the order, sign, scale and origin of latents: test R^2 (may be negative) of each true latent from the one estimate
    that mcc_pearson matches to it, by a straight line fitted on validation, mean over true latents; an unmatched one counts 0. Chance: 0
    or a little less. Best: 1."""
    match = absolute(pearson_of(e.validation), pearson_of(e.test))[1]

    def line(inputs: np.ndarray, targets: np.ndarray, inputs_test: np.ndarray, latent: int) -> np.ndarray:
        return ridge_predictions(inputs[:, None], targets[:, None], inputs_test[:, None], 0.0)[:, 0]

    return _class_r2(e, match, line)


@score(
    "class_monotone",
    heading=("Class", "monotone"),
    axis="$R^2$ up to monotone maps, test",
    bounded=True,
    on_demand=True,
    source="this project; classes as in Khemakhem et al. 2020",
)
def class_monotone(e: Evaluation) -> float:
    """Agreement up to the order of latents and a monotone map of each: as class_permutation with the estimate that mcc_spearman matches
    and isotonic regression, which rises or falls as the rank correlation on validation does (scikit-learn). Chance: 0 or a little less.
    Best: 1."""
    from sklearn.isotonic import IsotonicRegression

    signs = spearman_of(e.validation)

    def isotonic(inputs: np.ndarray, targets: np.ndarray, inputs_test: np.ndarray, latent: int) -> np.ndarray:
        rises = bool(signs[latent, e.estimate_of[latent]] > 0)
        model = IsotonicRegression(increasing=rises, out_of_bounds="clip").fit(inputs, targets)
        return model.predict(inputs_test)

    return _class_r2(e, e.estimate_of, isotonic)


@score(
    "class_linear",
    heading=("Class", "linear"),
    axis="$R^2$ up to a linear map, test",
    bounded=True,
    on_demand=True,
    source="this project; classes as in Khemakhem et al. 2020",
)
def class_linear(e: Evaluation) -> float:
    """Agreement up to a linear map of all latents together: r2_linear, on the scale of the other classes. Chance: 0 or a little less.
    Best: 1."""
    return r2_linear(e)


def _class_r2(e: Evaluation, match: dict[int, int], regress: Callable[..., np.ndarray]) -> float:
    per_latent = np.zeros(e.test.z.shape[1])
    for latent, estimate in match.items():
        inputs, inputs_test = (split.z_hat[:, estimate] for split in (e.validation, e.test))
        scale = np.abs(inputs - inputs.mean()).max()
        inputs, inputs_test = ((values - inputs.mean()) / scale for values in (inputs, inputs_test))
        predicted = regress(inputs, e.validation.z[:, latent], inputs_test, latent)
        one = Encoded(e.test.z[:, [latent]], e.test.z_hat, e.test.domains, e.test.rounding)
        per_latent[latent] = r2_of(one.z, predicted[:, None], one)[0]
    return float(per_latent.mean())


# --- DCI-ES

DCI_SOURCE = "Eastwood et al. 2023 (DCI-ES) and Eastwood & Williams 2018"


@_once
def _forests(e: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """Importances (n_estimated, n_latents), whose columns sum to 1 or are 0, and the R^2 on test of each latent, (n_latents,)."""
    from sklearn.ensemble import RandomForestRegressor

    inputs, targets = e.validation.z_hat, e.validation.z
    alive = ~constants(e.validation)[1]
    importances, predicted = (
        np.zeros((inputs.shape[1], targets.shape[1])),
        np.tile(targets.mean(axis=0), (len(e.test.z), 1)),
    )
    if alive.any():
        for latent, values in enumerate(targets.T):
            forest = RandomForestRegressor(TREES, min_samples_leaf=FEWEST_IN_LEAF, random_state=0)
            forest.fit(inputs[:, alive], values)
            importances[alive, latent] = forest.feature_importances_
            predicted[:, latent] = forest.predict(e.test.z_hat[:, alive])
    return importances, r2_of(e.test.z, predicted, e.test)


def disentanglement(importances: np.ndarray) -> float:
    """One less the entropy of each estimate's importances (n_estimated, n_latents) over latents, weighted by its part of all importance."""
    of_estimate = importances.sum(axis=1)
    if not of_estimate.any():
        return 0.0
    alive = of_estimate > 0
    apart = 1 - entropy(importances[alive], axis=1, base=importances.shape[1])
    return float(apart @ of_estimate[alive] / of_estimate.sum())


@score(
    "dci_d",
    heading=("DCI-ES", "D"),
    axis="Disentanglement (DCI), test",
    bounded=True,
    non_negative=True,
    on_demand=True,
    source=DCI_SOURCE,
)
def dci_d(e: Evaluation) -> float | None:
    """Disentanglement: whether each estimate is about one latent. A random forest (20 trees, at least 5 points in a leaf; scikit-learn)
    for each true latent is fitted to the estimates on validation; its importances are what each estimate contributes. One minus the
    entropy of an estimate's importances over latents, in base of their number; mean over estimates, weighted by their importance. Empty
    with one latent. Chance: 0, or a little more. Best: 1. Importances of a latent sum to 1 even where it cannot be predicted."""
    return None if e.test.z.shape[1] < 2 else disentanglement(_forests(e)[0])


@score(
    "dci_c",
    heading=("DCI-ES", "C"),
    axis="Completeness (DCI), test",
    bounded=True,
    non_negative=True,
    on_demand=True,
    source=DCI_SOURCE,
)
def dci_c(e: Evaluation) -> float | None:
    """Completeness: whether each latent is in one estimate. One minus the entropy of the importances of dci_d for each latent over
    estimates, in base of their number, mean over latents; a latent without any importance counts 0. Empty with one estimate. Chance: 0,
    or a little more. Best: 1; less where latents are estimated twice."""
    importances = _forests(e)[0]
    if len(importances) < 2:
        return None
    alive = importances.any(axis=0)
    apart = 1 - entropy(importances[:, alive], axis=0, base=len(importances))
    return float(apart.sum() / importances.shape[1])


@score(
    "dci_i",
    heading=("DCI-ES", "I"),
    axis="Informativeness (DCI), test",
    bounded=True,
    on_demand=True,
    source=DCI_SOURCE,
)
def dci_i(e: Evaluation) -> float:
    """Informativeness: test R^2 (may be negative) of the forests of dci_d, mean over latents. Chance: 0 or less. Best: 1, which a forest
    nears with many points."""
    return float(_forests(e)[1].mean())


@score(
    "dci_e",
    heading=("DCI-ES", "E"),
    axis="Explicitness (DCI-ES), test",
    bounded=True,
    on_demand=True,
    source="Eastwood et al. 2023, and the authors' code; the probes are this project's",
)
def dci_e(e: Evaluation) -> float:
    """Explicitness: how little capacity it takes to read the latents out. Least squares on the standardised estimates and 0, 1, 2, 4 to
    256 random Fourier features of them (ridge 1e-4 per point), fitted on validation; the least loss 1 - R^2 on test that is reached up to
    each capacity, the logarithm of the number of weights. One minus the area of the loss above its least value, over half the range of
    capacities, mean over latents: 1 where a linear probe does as well as any, 0 where the loss falls along a straight line from 1 to 0.
    It says nothing of how much is known: estimates that know nothing, or constants, score 1. Read it beside informativeness."""
    inputs, inputs_test = standardised(e.validation, e.test)
    n_inputs = inputs.shape[1]
    if n_inputs == 0:
        return 1.0
    rng = np.random.default_rng(0)
    frequencies = rng.normal(size=(n_inputs, CAPACITIES[-1])) / np.sqrt(n_inputs)
    phases = rng.uniform(0, 2 * np.pi, CAPACITIES[-1])
    every, every_test = (np.hstack([x, np.cos(x @ frequencies + phases)]) for x in (inputs, inputs_test))
    losses = []
    for n_features in CAPACITIES:
        used = n_inputs + n_features
        predicted = ridge_predictions(every[:, :used], e.validation.z, every_test[:, :used], FEATURE_RIDGE)
        losses.append(1 - r2_of(e.test.z, predicted, e.test))
    return float(explicitness(np.log(1 + n_inputs + np.array(CAPACITIES)), np.array(losses)).mean())


def explicitness(capacities: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """One minus the normalised area under loss-capacity curves (n_capacities, n_latents), (n_latents,); a loss of 1 is that of no inputs."""
    least = np.minimum.accumulate(losses, axis=0)
    area = np.trapezoid(least - least[-1], capacities, axis=0)
    return 1 - area / ((capacities[-1] - capacities[0]) / 2)


@score(
    "dci_s",
    heading=("DCI-ES", "S"),
    axis="Size (DCI-ES)",
    non_negative=True,
    on_demand=True,
    source="Eastwood et al. 2023: size relative to the truth",
)
def dci_s(e: Evaluation) -> float:
    """Size: the number of true latents over that of estimates, constant ones included. 1 where they are as many; below 1 where there are
    more estimates. It says nothing of what they know."""
    return e.test.z.shape[1] / e.test.z_hat.shape[1]


# --- information

INFO_SOURCE = "Hsu et al. 2023 (InfoMEC), and the authors' code"


def binned(values: np.ndarray) -> np.ndarray:
    """The bin of each value (n_samples,), of `BINS` that hold as many points each; fewer where values tie."""
    inner = np.unique(np.quantile(values, np.arange(1, BINS) / BINS))
    return np.searchsorted(inner, values)


@_once
def _information(e: Evaluation) -> np.ndarray:
    """Information of each estimate about each latent over the latent's entropy, (n_latents, n_varying estimates), 0 for a constant latent."""
    from sklearn.feature_selection import mutual_info_classif

    alive = ~constants(e.test)[1]
    found = np.zeros((e.test.z.shape[1], int(alive.sum())))
    if alive.any():
        z_hat = e.test.z_hat[:, alive]
        for latent, (own, nats) in enumerate(_binned_latents(e)):
            if nats > 0:
                shared = mutual_info_classif(
                    z_hat, own, discrete_features=False, n_neighbors=NEIGHBOURS, random_state=0
                )
                found[latent] = shared / nats
    return found


def _binned_latents(e: Evaluation) -> list[tuple[np.ndarray, float]]:
    """The bins of each true latent on test and their entropy (nats), which is 0 where the latent is constant or nearly all points tie."""
    found = []
    for values, fixed in zip(e.test.z.T, constants(e.test)[0], strict=True):
        own = np.zeros(len(values), int) if fixed else binned(values)
        found.append((own, float(entropy(np.bincount(own)))))
    return found


def gap_to_uniform(information: np.ndarray) -> float | None:
    """Mean over rows of (largest / sum - 1 / n) / (1 - 1 / n), of rows of n entries; a row of zeros counts 0. None where n is 1."""
    n = information.shape[1]
    if n < 2:
        return None
    if not len(information):
        return 0.0
    total = information.sum(axis=1)
    largest = np.where(total > 0, information.max(axis=1) / np.where(total > 0, total, 1), 1 / n)
    return float((largest.mean() - 1 / n) / (1 - 1 / n))


@score(
    "info_m",
    heading=("InfoMEC", "M"),
    axis="Modularity (InfoM), test",
    bounded=True,
    non_negative=True,
    on_demand=True,
    source=INFO_SOURCE,
)
def info_m(e: Evaluation) -> float | None:
    """Modularity: the normalised information of each estimate about each latent, cut into 20 bins of as many points (nearest neighbours,
    10, by scikit-learn), on test; of each estimate that varies the largest over the sum, less 1 / latents and over 1 - 1 / latents; mean
    over estimates. Empty with one latent. Chance: not 0 but arbitrary, as it compares what noise has left; read it where InfoE is high.
    Best: 1. Hsu et al. also leave out estimates of small range, which depends on their scale."""
    return gap_to_uniform(_information(e).T)


@score(
    "info_e",
    heading=("InfoMEC", "E"),
    axis="Explicitness (InfoE), test",
    bounded=True,
    on_demand=True,
    source=INFO_SOURCE,
)
def info_e(e: Evaluation) -> float:
    """Explicitness: the predictive information that a linear model with Gaussian errors of one size finds in all estimates about each
    latent, over the latent's own, mean over latents. For continuous latents that is R^2 (Xu et al. 2020), so it is r2_linear, on test
    instead of on the points that it was fitted to. Chance: 0 or a little less. Best: 1."""
    return r2_linear(e)


@score(
    "info_c",
    heading=("InfoMEC", "C"),
    axis="Compactness (InfoC), test",
    bounded=True,
    non_negative=True,
    on_demand=True,
    source=INFO_SOURCE,
)
def info_c(e: Evaluation) -> float | None:
    """Compactness: as info_m, of each latent the largest information of an estimate over the sum, less 1 / estimates and over 1 - 1 /
    estimates, mean over latents. Empty where only one estimate varies. Chance: arbitrary, as in info_m. Best: 1; less where latents are
    estimated twice."""
    information = _information(e)
    return gap_to_uniform(information) if information.shape[1] else 0.0


@score(
    "mig",
    heading=("Gaps", "MIG"),
    axis="Mutual information gap, test",
    bounded=True,
    non_negative=True,
    on_demand=True,
    source="Chen et al. 2018; 20 bins as in Locatello et al. 2019, here of as many points each",
)
def mig(e: Evaluation) -> float:
    """Mutual information gap: the information of each latent with the closest estimate less that with the second, over the latent's
    entropy, both cut into 20 bins of as many points, on test; mean over latents. A single estimate has no second, which counts 0. Chance:
    0, or a little more. Best: near 1; counts in bins have some information of unrelated numbers too (bins squared / (2 points) nats),
    which is the second. It is 0 where every latent is estimated twice."""
    from sklearn.metrics import mutual_info_score

    estimates = [binned(values) for values in e.test.z_hat[:, ~constants(e.test)[1]].T]
    gaps = []
    for own, nats in _binned_latents(e):
        information = [mutual_info_score(own, other) for other in estimates]
        gaps.append(_gap(np.array(information)) / nats if nats > 0 else 0.0)
    return float(np.mean(gaps))


@score(
    "sap",
    heading=("Gaps", "SAP"),
    axis="Separated attribute predictability, test",
    bounded=True,
    non_negative=True,
    on_demand=True,
    source="Kumar et al. 2018, its form for continuous latents",
)
def sap(e: Evaluation) -> float:
    """Separated attribute predictability: the squared Pearson correlation of each latent with the closest estimate less that with the
    second, on test, mean over latents. A single estimate has no second, which counts 0. Chance: 0, or a little more. Best: 1. It is 0
    where every latent is estimated twice."""
    return float(np.mean([_gap(values) for values in pearson_of(e.test) ** 2]))


def _gap(values: np.ndarray) -> float:
    """The largest value less the second; of one value the value, of none 0."""
    largest = np.sort(np.append(values, [0.0, 0.0]))[::-1]
    return float(largest[0] - largest[1])


# --- T-MEX

TMEX_SOURCE = "Yao et al. 2025 (T-MEX), and the authors' code; test of Shah & Peters 2020"


class Measured(NamedTuple):
    """Of the estimate matched to each true latent (rows) and each true latent (columns), (n_latents, n_latents), given all other latents:
    whether dependence was found, and the part of the estimate's variance that the latent adds. Rows of unmatched latents are False and 0."""

    edges: np.ndarray
    shares: np.ndarray


@_once
def _measured(e: Evaluation) -> Measured:
    n_latents = e.test.z.shape[1]
    edges, shares = np.zeros((n_latents, n_latents), bool), np.zeros((n_latents, n_latents))
    latents, estimates = list(e.estimate_of), list(e.estimate_of.values())
    if not latents:
        return Measured(edges, shares)
    z, z_hat = (normal_scores(columns, columns) for columns in (e.test.z, e.test.z_hat[:, estimates]))
    spread = z_hat.var(axis=0)
    for latent in range(n_latents):
        rest = np.arange(n_latents) != latent
        targets = np.hstack([z[:, [latent]], z_hat])
        left = targets - _predicted(targets, z[:, rest], e.test.domains)
        statistic, share = generalised_covariance(left[:, [0]], left[:, 1:])
        edges[latents, latent] = 2 * norm.sf(np.abs(statistic)) < ALPHA
        shares[latents, latent] = np.minimum(share / np.where(spread > 0, spread, np.inf), 1)
    return Measured(edges, shares)


def _predicted(targets: np.ndarray, inputs: np.ndarray, domains: np.ndarray) -> np.ndarray:
    """`targets` (n_samples, n_targets) as the probe of r2_block, fitted to them, predicts them from inputs (n_samples, any number)."""
    split = Encoded(targets, inputs, domains, (0.0, 0.0))
    found = kernel_predictions(split, split) if inputs.shape[1] else None
    return np.broadcast_to(targets.mean(axis=0), targets.shape) if found is None else found


def generalised_covariance(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The generalised covariance measure of residuals x (n_samples, 1) and y (n_samples, n_columns), and its effect, (n_columns,) each.

    The statistic sqrt(n) mean(xy) / std(xy) is standard normal where x and y are independent given what they were regressed on (Shah &
    Peters 2020). The effect, mean(xy)^2 / mean(x^2), is the variance of y that is linear in x.
    """
    products = x * y
    spread = products.std(axis=0)
    statistic = np.sqrt(len(x)) * products.mean(axis=0) / np.where(spread > 0, spread, np.inf)
    return statistic, products.mean(axis=0) ** 2 / max((x**2).mean(), np.finfo(float).tiny)


@score(
    "tmex",
    heading=("T-MEX", "wrong"),
    axis="T-MEX, test",
    lower_is_better=True,
    non_negative=True,
    on_demand=True,
    source=TMEX_SOURCE,
)
def tmex(e: Evaluation) -> float:
    """Test-based measurement exclusivity: the number of wrong entries of a table of true latents by true latents. It says whether the
    estimate that mcc_spearman matched to the one depends on the other, given all other latents, where it should depend on its own alone.
    Each entry is a test of conditional independence at 5 %: the covariance of the residuals of both after the kernel ridge regressions of
    r2_block, of latents and estimates as normal scores, all on test. An unmatched latent depends on nothing: one wrong entry. Valid where
    latents depend. For n latents, best: 0.05 n (n - 1) on average, as each test errs; chance: 0.95 n + 0.05 n (n - 1). The tests see what
    is linear in the residuals, and, with many points, effects of no importance: read it with tmex_own and tmex_others."""
    edges = _measured(e).edges
    return float((edges != np.eye(len(edges), dtype=bool)).sum())


@score(
    "tmex_own",
    heading=("T-MEX", "own"),
    axis="T-MEX, effect of the own latent, test",
    bounded=True,
    non_negative=True,
    on_demand=True,
    source="this project, the effect size of T-MEX (Yao et al. 2025)",
)
def tmex_own(e: Evaluation) -> float:
    """The part of the variance of the estimate matched to a latent (as normal scores, on test) that this latent adds to what all other
    latents predict, mean over latents, an unmatched one counting 0. Chance: 0. Best: 1 where latents are independent, else the mean part
    of a latent's variance that the others do not predict."""
    return float(np.diagonal(_measured(e).shares).mean())


@score(
    "tmex_others",
    heading=("T-MEX", "others"),
    axis="T-MEX, effect of other latents, test",
    lower_is_better=True,
    non_negative=True,
    on_demand=True,
    source="this project, the effect size of T-MEX (Yao et al. 2025)",
)
def tmex_others(e: Evaluation) -> float:
    """The same of every other latent, summed over these, mean over latents. Chance and best: 0. What an estimate has of latents that are
    not its own."""
    shares = _measured(e).shares
    return float((shares.sum() - np.trace(shares)) / len(shares))
