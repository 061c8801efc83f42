"""The results of one run or of several: trials with their labels and cells, which of them count, and their means over data seeds.

`Results` is what every table and figure takes. Nothing here trains, and nothing that a run's folder holds or names is executed: what a
report must know of methods and data sets is kept in the manifest.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import numpy as np
import pandas as pd
import pyarrow as arrow
import pyarrow.compute

from bench.registry import CORNERS, ROLES, Entry, Facts, UsageError
from bench.report import lists
from bench.report.halves import with_agreement
from bench.report.texts import place_text, value_text
from bench.report.where import select
from bench.run import submissions
from bench.run.store import Store, flaw, last_rows, objects, settled, when, with_arrays
from bench.scores import HEADLINE, LOOK, SCORES, Score, factors, metrics, training
from bench.scores.statistics import Interval, mean_interval, spread
from bench.statuses import FAILURES, NOT_APPLICABLE, OK
from datasets import datasets
from datasets.oracle import PROMISES

assert metrics and training and factors, "imported for the scores that they declare"

CONTENT, SUPPORT = "content_from_content", "support_ap"
RANKED = (HEADLINE, CONTENT, SUPPORT)  # methods are ranked by the first of these that there is
ORACLE, START = "oracle", "start"  # the role of trials that start at the truth, and the field that says so
HEADLINE_NAME = SCORES[HEADLINE].axis.removesuffix(", test")
BLOCKS = "objective_blocks"  # the column of the objective on blocks of the points, by which ties are found
RESPLITS = "resplits"  # the column that says that data seeds only split one data set anew
REPLICATES = (
    "replicates"  # the column that says how many independent data sets there are, of which a data seed picks one
)
SPREAD = "spread over re-splits: least, greatest"  # what stands in the place of an interval there
OTHERS = ("error", "train_s", "has_truth", RESPLITS)  # columns of every trial beside its scores; missing ones are NaN
WITHOUT_TRUTH = ("agreement", "recon_nmse", "objective")  # scores that need nothing known, the most telling first
STRATUM = "stratum"  # the column that says in words where a trial's data lie on several dials, if its data set has words for it


@dataclasses.dataclass(frozen=True, eq=False)
class Results:
    """Trials that are reported together, with what is known of their methods and data sets.

    `trials` has one row per trial, of each question its last one by the last code and data. `label` is a column: the method, and in
    brackets those of its fields that vary here. So is every score: NaN where a run has none. So is `STRATUM`, None where there is none.
    Lists, of scores per latent and of verdicts, are Arrow's (`bench.report.lists`).
    """

    trials: pd.DataFrame
    methods: Mapping[str, Facts]  # of the runs, whether they are registered here or not
    datasets: Mapping[str, Facts]
    manifest: Mapping[str, Any]  # of several runs, one manifest with the commands of all
    scores: Mapping[str, Score] = dataclasses.field(default_factory=lambda: SCORES)  # of the runs, declared here or not
    missing: Mapping[str, int] = dataclasses.field(default_factory=dict)  # planned trials without a row, by method
    n_planned: int = 0
    n_superseded: int = 0  # trials left out, of an earlier version of the code or the data
    stores: Mapping[str, Store] = dataclasses.field(default_factory=dict)  # by the column `run`

    def __post_init__(self):
        absent = {name: np.nan for name in (*self.scores, *OTHERS) if name not in self.trials}
        trials = self.trials.reset_index(drop=True).assign(**absent)
        trials = trials.assign(
            **{
                name: lists.typed(trials[name], inner)[0]
                for name, inner in _lists(self.scores).items()
                if name in trials
            }
        )
        found = {"label": _labels(trials, self.method_fields), STRATUM: _strata(trials, self.dataset_fields)}
        object.__setattr__(self, "trials", trials.assign(**found))

    def replaced(self, trials: pd.DataFrame) -> Results:
        """The same of other trials, whose labels name what varies among them."""
        return dataclasses.replace(self, trials=trials)

    @functools.cached_property
    def method_fields(self) -> list[str]:
        """The fields of all methods here that are columns of `trials`."""
        return self._fields("method", self.methods)

    @functools.cached_property
    def dataset_fields(self) -> list[str]:
        """The fields of all data sets here that are columns of `trials`."""
        return self._fields("dataset", self.datasets)

    def _fields(self, column: str, known: Mapping[str, Facts]) -> list[str]:
        found = {field for name in self.trials[column].unique() if name in known for field in known[name].fields}
        return sorted(found & set(self.trials))

    @functools.cached_property
    def cells(self) -> list[str]:
        """The columns that tell the cells apart: those of "dataset" and the fields of data sets that take several values."""
        return varying(self.trials, ["dataset", *self.dataset_fields])

    @functools.cached_property
    def settings(self) -> pd.DataFrame:
        """The methods with their roles and the values of their fields, a row for each that is different."""
        return self.trials[["method", "role", *self.method_fields]].drop_duplicates()

    def dials(self, at_least: int = 2) -> list[str]:
        """The `cells`, with `STRATUM` in the place of the dials that it sums up, where so many of those vary."""
        known = [getattr(entry.cls, "stratum_of", ()) for entry in registered(self.trials)]
        summed = set(itertools.chain(*known)) & set(self.cells)
        if len(summed) < max(at_least, 1) or n_values(self.trials[STRATUM]) < 2:
            return self.cells
        rest = [field for field in self.cells if field not in summed]
        return [*rest, STRATUM]

    @functools.cached_property
    def headline(self) -> Score:
        """The score by which methods are ranked: where no latent is known, but content or the support of the mixing is, that of these.

        Where nothing is known, the first that there is of those that need no truth, which ranks nothing.
        """
        names = [name for name in WITHOUT_TRUTH if name in self.shown()] if self.lacks_truth else RANKED
        return self.scores[next((name for name in names if self.trials[name].notna().any()), HEADLINE)]

    @property
    def headline_name(self) -> str:
        """What the headline is called in a sentence."""
        return self.headline.axis.removesuffix(", test")

    @functools.cached_property
    def over_seeds(self) -> Callable[..., Interval]:
        """What gives a mean over data seeds its interval, or, of seeds that only split one data set anew, the range of its scores."""
        return spread if self.resplit else mean_interval

    @functools.cached_property
    def resplit(self) -> bool:
        """Whether data seeds only split one data set anew: see `is_resplit`."""
        return is_resplit(self.trials)

    @functools.cached_property
    def labels(self) -> pd.DataFrame:
        """One row per label, which is the index: its method and role."""
        return self.trials[["label", "method", "role"]].drop_duplicates("label").set_index("label")

    @functools.cached_property
    def ok(self) -> pd.Series:
        """Which trials count in a mean, boolean."""
        return is_ok(self.trials)

    @functools.cached_property
    def failed(self) -> pd.Series:
        """Which trials went wrong, in whatever way, boolean: all that are neither ok nor not applicable."""
        return is_failed(self.trials)

    @functools.cached_property
    def lacks_truth(self) -> bool:
        """Whether neither latents nor factors nor support of any of the data are known, so that no method can be ranked."""
        is_unknown = len(self.trials) > 0 and bool(self.trials["has_truth"].eq(False).all())
        return is_unknown and not self.trials[list(RANKED)].notna().any(axis=None)

    def shown(self, table: str | None = None) -> dict[str, Score]:
        """The scores with a heading, by name, in their order; those of one narrow table.

        Of data without truth, all that there are, those that training itself measures included.
        """
        if self.lacks_truth:
            there = [
                name for name, score in self.scores.items() if not score.per_latent and self.trials[name].notna().any()
            ]
            return {n: self.scores[n] for n in there if self.scores[n].heading or self.scores[n].compute is None}
        return {n: s for n, s in self.scores.items() if s.heading and (table is None or table in s.tables)}

    @property
    def damages(self) -> list[str]:
        """What could not be read in the runs' folders so far, a sentence each."""
        return [damage for store in self.stores.values() for damage in store.damages]

    @property
    def missing_text(self) -> str:
        """How many planned trials have no result yet, by method, and how to go on; nothing if none is missing."""
        if not self.missing:
            return ""
        methods = ", ".join(f"{method} {n}" for method, n in sorted(self.missing.items()))
        commands = [
            command["command"]
            for command in self.manifest["commands"]
            if any(asked.startswith(f"{method} on ") for asked in command["code"] for method in self.missing)
        ]
        again = " or ".join(f"`python {command}`" for command in dict.fromkeys(commands))
        return (
            f"{sum(self.missing.values())} of {self.n_planned} planned trials have no result yet ({methods}); "
            f"{again or 'the command that asked for them'} goes on with them."
        )


P = ParamSpec("P")
T = TypeVar("T")


def once(make: Callable[Concatenate[Results, P], T]) -> Callable[Concatenate[Results, P], T]:
    """What `make` makes of results and some names, made once and kept with the results, so that every table and figure shares it.

    A million trials take seconds of each. What is made so is not to be changed.
    """

    @functools.wraps(make)
    def kept(results: Results, *args: P.args, **named: P.kwargs) -> T:
        made = vars(results).setdefault("_made", {})
        key = (
            make.__module__,
            make.__qualname__,
            *map(_fixed, args),
            *((name, _fixed(value)) for name, value in sorted(named.items())),
        )
        if key not in made:
            made[key] = make(results, *args, **named)
        return made[key]

    return kept


def _fixed(names: Any) -> Any:
    return tuple(names) if isinstance(names, Iterable) and not isinstance(names, str) else names


def _lists(scores: Mapping[str, Score]) -> dict[str, Any]:
    """The columns of lists that reports read, with the types of what these hold."""
    per_latent = [name for name, score in scores.items() if score.per_latent]
    return dict.fromkeys((*per_latent, BLOCKS), lists.NUMBERS) | dict.fromkeys(PROMISES, lists.TEXTS)


def _labels(trials: pd.DataFrame, method_fields: Sequence[str]) -> pd.Series:
    """The method, and in brackets the fields in which its trials differ; an oracle's, which no other is compared with, where it starts."""
    found = trials["method"].astype(object)
    own = trials[list(dict.fromkeys(["method", *method_fields, *[START] * (START in trials)]))]
    for (_, is_oracle), rows in own.groupby(["method", trials["role"] == ORACLE]):
        is_oracle &= START in trials
        varied = [
            *([START] if is_oracle else []),
            *varying(rows, [f for f in method_fields if f != START or not is_oracle]),
        ]
        if varied:
            place = rows.groupby(varied, dropna=False).ngroup()
            first = rows.loc[~place.duplicated(), ["method", *varied]].to_dict("records")
            texts = [f"{row['method']} ({place_text({k: row[k] for k in varied})})" for row in first]
            found[rows.index] = place.map(dict(zip(place.unique(), texts, strict=True)))
    return found


def registered(trials: pd.DataFrame) -> list[Entry]:
    """What is registered here of the data sets of `trials`: a report executes no plug-in, and knows of its data sets only their facts."""
    return [datasets[name] for name in trials["dataset"].unique() if name in datasets.names()]


def _strata(trials: pd.DataFrame, fields: Sequence[str]) -> pd.Series:
    """The `stratum` of each trial's data; None where its data set has none, is not registered here, or never had such fields."""
    found = pd.Series(None, trials.index, dtype=object)
    for entry in registered(trials):
        if hasattr(entry.cls, STRATUM):
            rows = trials[trials["dataset"] == entry.name]
            own = [field for field in fields if field in entry.fields]
            cell = rows.groupby(own, dropna=False).ngroup() if own else pd.Series(0, rows.index)
            first = rows.loc[~cell.duplicated(), own]
            # A field that is none, or that an early row lacks, has its default.
            strata = [_stratum(entry, first.loc[place].dropna().to_dict()) for place in first.index]
            found[rows.index] = objects(strata)[pd.factorize(cell)[0]]
    return found


def _stratum(entry: Entry, fields: dict[Any, Any]) -> str | None:
    try:
        return entry.make(fields).stratum
    except UsageError:  # a damaged row
        return None


def coded(values: pd.Series) -> tuple[np.ndarray, list[Any]]:
    """A number for each value, and the different values by their numbers: what is done for each of these is not done for each trial.

    Values are compared as texts where they cannot be looked up, as lists cannot.
    """
    try:
        codes, found = pd.factorize(values, use_na_sentinel=False)
    except (TypeError, NotImplementedError):
        codes, found = pd.factorize(values.map(str), use_na_sentinel=False)
    return codes, found.tolist()


def by_value(values: pd.Series, make: Callable[[Any], Any]) -> pd.Series:
    """What `make` makes of each value, asked once for each that is different."""
    codes, found = coded(values)
    made = objects(map(make, found))[codes]
    is_text = all(isinstance(value, str) for value in made[:1])
    return pd.Series(made if is_text else made.tolist(), values.index, dtype=object if is_text else None)


def varying(trials: pd.DataFrame, fields: Sequence[str]) -> list[str]:
    """Those of `fields` that are columns and take several values, in their order."""
    return [field for field in dict.fromkeys(fields) if field in trials and n_values(trials[field]) > 1]


def n_values(values: pd.Series) -> int:
    """How many values a field takes, none being one."""
    return int(values.nunique() + values.isna().any())


def is_nested(value: Any) -> bool:
    """Whether a column's value is itself several values."""
    return isinstance(value, (list, tuple, dict, np.ndarray))


COUNTED = ("status", HEADLINE, "has_truth")  # by which `is_ok` says what counts


def is_ok(trials: pd.DataFrame) -> pd.Series:
    """Which trials count in a mean. One that claims to be ok without a headline score does not, unless the truth is unknown."""
    return (trials["status"] == OK) & (trials[HEADLINE].notna() | trials["has_truth"].eq(False))


def is_resplit(trials: pd.DataFrame) -> bool:
    """Whether data seeds only split one data set anew, here or in a part: no interval or test may count them as independent.

    A user's file was always one in rows that do not say so.
    """
    if RESPLITS not in trials:
        return False
    return bool((trials[RESPLITS].eq(True) | (trials[RESPLITS].isna() & trials["dataset"].eq("file"))).any())


def is_failed(trials: pd.DataFrame) -> pd.Series:
    """Which trials went wrong, in whatever way: their status says so, or they claim to be ok without a score."""
    return trials["status"].isin(FAILURES) | ((trials["status"] == OK) & ~is_ok(trials))


# --- means


def summary(trials: pd.DataFrame, by: Sequence[str], scores: Iterable[Score] = (SCORES[HEADLINE],)) -> pd.DataFrame:
    """One row per combination of the columns `by`: the counts of its trials, and each score's mean over data seeds.

    A score S becomes S (the mean over seeds of the seed's mean over its ok trials), S_low and S_high (the ends of its 95 % interval);
    NaN where there is nothing to compute them from. n_seeds counts seeds with an ok trial. Of re-splits of one data set the ends are the
    least and the greatest of the seeds' means, and a column `resplits` says so.
    """
    trials = trials.reset_index(drop=True)
    ok, failed = is_ok(trials), is_failed(trials)
    group = trials.groupby(list(by), dropna=False).ngroup().to_numpy()
    rows = trials.loc[first_of(group), list(by)].set_axis(np.unique(group), axis=0)
    seed, seeds = pd.factorize(trials["seed"])
    shape = (len(rows), len(seeds))
    at = np.ravel_multi_index((group, seed), shape)
    counts = {"ok": ok, "failed": failed}
    n = {name: np.bincount(group[which.to_numpy()], minlength=len(rows)) for name, which in counts.items()}
    rows["n_seeds"] = (np.bincount(at[ok.to_numpy()], minlength=np.prod(shape)).reshape(shape) > 0).sum(axis=1)
    rows["n_trials"] = np.bincount(group, minlength=len(rows))
    rows["n_ok"], rows["n_failed"] = n["ok"], n["failed"]
    rows["n_not_applicable"] = rows["n_trials"] - rows["n_ok"] - rows["n_failed"]
    resplit = is_resplit(trials)
    if resplit:
        rows[RESPLITS] = True
    over_seeds = spread if resplit else mean_interval
    means: dict[str, np.ndarray] = {}
    for score in scores:
        values = mean_in_places(trials[score.name].where(ok), at, shape)
        mean, low, high, _ = over_seeds(values.T, bounds=score.range)
        means |= {score.name: mean, f"{score.name}_low": low, f"{score.name}_high": high}
    # At once: a frame whose columns are put in one by one is slow.
    return pd.concat([rows, pd.DataFrame(means, index=rows.index)], axis=1).reset_index(drop=True)


def first_of(group: np.ndarray) -> np.ndarray:
    """Where each of the groups that are numbered 0, 1, ... has its first member, (n_groups,), by `group` (n_members,)."""
    return np.unique(group, return_index=True)[1]


def mean_in_places(values: pd.Series, at: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The mean of those `values` (n,) that share a place `at` (n,) of an array of `shape`, counted as in its flat form; else NaN."""
    numbers = values.to_numpy(float)
    known = ~np.isnan(numbers)
    size = int(np.prod(shape))
    total, n = np.bincount(at[known], numbers[known], minlength=size), np.bincount(at[known], minlength=size)
    with np.errstate(invalid="ignore"):
        return (total / n).reshape(shape)


class ScoreArray(NamedTuple):
    """`values` (n_labels, n_seeds, n_cells), NaN where no trial is ok; what its axes stand for, the cells as a row each."""

    values: np.ndarray
    labels: list[str]
    seeds: list[int]
    cells: pd.DataFrame


def score_array(trials: pd.DataFrame, fields: Sequence[str], score: str = HEADLINE, label: str = "label") -> ScoreArray:
    """The scores of `trials` by the column `label`, data seed and cell: what the columns `fields` tell apart.

    Several trials in one place, which differ in another field, are averaged.
    """
    return score_arrays(trials, fields, [score], label)[score]


def score_arrays(
    trials: pd.DataFrame, fields: Sequence[str], scores: Sequence[str], label: str = "label"
) -> dict[str, ScoreArray]:
    """The `score_array` of several scores, by name."""
    trials = trials[[*dict.fromkeys([*fields, *scores, label, "seed", *COUNTED])]].reset_index(drop=True)
    cell = trials.groupby(list(fields), dropna=False).ngroup().to_numpy() if fields else np.zeros(len(trials), int)
    places = trials.loc[first_of(cell), list(fields)].reset_index(drop=True)
    codes, labels = pd.factorize(trials[label])
    seed, seeds = pd.factorize(trials["seed"], sort=True)
    shape = (len(labels), len(seeds), len(places))
    at, ok = np.ravel_multi_index((codes, seed, cell), shape), is_ok(trials)
    return {
        name: ScoreArray(mean_in_places(trials[name].where(ok), at, shape), list(labels), list(seeds), places)
        for name in scores
    }


# --- from the runs' folders


def gather(stores: Sequence[Store], where: str | None = None) -> Results:
    """The results of runs together, those trials for which the condition `where` holds. Writes nothing.

    Raises UsageError where a run has no trials or no manifest that can be read, where the data versions of runs disagree, and for a
    condition that has no meaning here.
    """
    short = len({store.folder.name for store in stores}) == len(stores)
    runs = {store.folder.name if short else str(store.folder): store for store in stores}
    manifests = {name: store.manifest() for name, store in runs.items()}
    manifest = merged(manifests)
    methods: dict[str, Facts] = {}
    datasets: dict[str, Facts] = {}
    scores: dict[str, Score] = dict(SCORES)
    for name, own in sorted(manifests.items(), key=lambda item: _started(item[1])):
        methods |= _facts(own, "methods", name)
        datasets |= _facts(own, "datasets", name)
        scores |= {score: record for score, record in _scores(own, name).items() if score not in SCORES}
    fields = {field for facts in (*methods.values(), *datasets.values()) for field in facts.fields}
    everything = _rows(runs, fields, scores)
    codes = _codes(manifest)
    is_of = _is_of(everything, codes)
    trials = latest(everything if is_of.all() else everything[is_of], fields)
    if trials.empty:
        raise UsageError(
            f"there are only trials of earlier code or data, {len(everything)}; run the same command again"
        )
    n_superseded = len(everything) - len(trials)
    # Seeds of different root seeds are different data, unless a seed picks one of several data sets: then it does so under every root seed.
    n_sets = trials.get(REPLICATES, pd.Series(np.nan, trials.index))
    of_root = trials.root_seed.astype(str).mask(pd.to_numeric(n_sets, errors="coerce") > 1, "any")
    trials["data_seed"] = of_root + "/" + trials.seed.astype(str)
    trials["seed"] = trials.groupby([of_root, "seed"]).ngroup() if of_root.nunique() > 1 else trials.seed
    planned = pd.concat([store.planned() for store in stores], ignore_index=True).drop_duplicates("trial_id")
    planned = planned[_is_of(planned, codes)]
    # By Arrow itself: `isin` makes a Python object of each of a million texts.
    ids = [arrow.array(rows.trial_id, arrow.large_string(), from_pandas=True) for rows in (planned, everything)]
    is_done = arrow.compute.is_in(*ids)
    missing = planned[~is_done.to_numpy(zero_copy_only=False)].method.value_counts().to_dict()
    halved = [entry.name for entry in registered(trials) if getattr(entry.cls, "has_halves", False)]
    trials = with_agreement(trials, halved, sorted(fields), runs)
    if where:
        trials = select(trials, where)
        manifest = {**manifest, "name": f"{manifest['name']}, where {where}"}
    return Results(trials, methods, datasets, manifest, scores, missing, len(planned), n_superseded, runs)


def _rows(runs: Mapping[str, Store], fields: Collection[str], scores: Mapping[str, Score]) -> pd.DataFrame:
    """The last row of every trial of the runs, in the order of `precedence`. A field is a number or a text, a score a number."""
    rows = {name: store.table().assign(run=name) for name, store in runs.items()}
    for name, own in rows.items():
        if own.empty:
            damages = f" that can be read: {runs[name].damages[0]}" if runs[name].damages else ""
            raise UsageError(f"the run {name!r} has no finished trials yet{damages}")
        for score in scores.values():
            if not score.per_latent:
                _mend(own, score.name, _numbers, runs[name])
        for column, inner in _lists(scores).items():
            _mend(own, column, functools.partial(lists.typed, inner=inner), runs[name])
        _share_texts(own)
    columns = dict.fromkeys(column for own in rows.values() for column in own)
    if len(rows) == 1:
        (together,) = rows.values()
    else:  # without the empty columns, of which pandas would make another type
        together = pd.concat([own.dropna(axis=1, how="all") for own in rows.values()], ignore_index=True)
    return last_rows(settled(together.reindex(columns=list(columns)), fields))


def _mend(trials: pd.DataFrame, name: str, read: Callable[[pd.Series], tuple[pd.Series, int]], store: Store) -> None:
    """Puts what `read` makes of it in the place of a column; how many values it could not read is noted in the run's damages."""
    if name in trials and trials[name].dtype.kind not in "fiu":
        trials[name], lost = read(trials[name])
        if lost:
            of = f"{lost} trial{'s' if lost > 1 else ''}"
            store.note(f"{store.folder.name}: {name} of {of} cannot be read and is left out")


def _share_texts(trials: pd.DataFrame) -> None:
    """Has texts that many rows share in memory once: such columns are compared, grouped and copied several times faster."""
    for name in trials.columns[[isinstance(kind, pd.StringDtype) for kind in trials.dtypes]]:
        codes, values = pd.factorize(trials[name])
        if len(values) < len(trials) / 2:
            trials[name] = pd.Series(objects([*values, np.nan])[codes], trials.index, dtype=object)


def _numbers(values: pd.Series) -> tuple[pd.Series, int]:
    """Finite numbers, which may be text because another value of their column is; and how many values are none."""
    found = values.map(_number).astype(float)
    return found, int((found.isna() & values.notna()).sum())


def _number(value: Any) -> float:
    """A finite number, which may be text because another value of its column is; else NaN."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan
    return number if np.isfinite(number) else np.nan


def _started(manifest: Mapping[str, Any]) -> tuple[bool, str]:
    return when(manifest["commands"][-1])


def _facts(manifest: Mapping[str, Any], kind: str, run: str) -> dict[str, Facts]:
    """The facts of methods or data sets that a manifest keeps. An early run kept none: then those of what is registered here."""
    if kind in manifest:
        types = {"summary": str, "source": str, "fields": list, "role": ROLES, "corner": tuple(CORNERS), "ladder": str}
        kept = _kept(manifest, kind, run, types, {"family": str, "independent": bool})
        return {name: Facts(**facts | {"fields": tuple(map(str, facts["fields"]))}) for name, facts in kept.items()}
    from methods import methods

    return {entry.name: entry.facts for entry in (methods if kind == "methods" else datasets)}


def _scores(manifest: Mapping[str, Any], run: str) -> dict[str, Score]:
    """The scores of a run as its manifest keeps them; an early run's has none but those that are declared here."""
    texts, truths = ("name", "definition", "source", "axis"), ("lower_is_better", "bounded", "per_latent")
    types = {**dict.fromkeys(texts, str), **dict.fromkeys(truths, bool), "heading": list, "tables": list}
    kept = _kept({"scores": {}, **manifest}, "scores", run, types, {"non_negative": bool})
    return {name: Score(**facts | {"heading": _heading(facts["heading"])}) for name, facts in kept.items()}


def _heading(words: Sequence[Any]) -> tuple[str, str] | None:
    return (str(words[0]), str(words[-1])) if words else None


def _kept(
    manifest: Mapping[str, Any], kind: str, run: str, types: Mapping[str, Any], maybe: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """A table in a manifest: of each entry what `types` names, and what `maybe` names, which early runs did not keep.

    Raises UsageError where an entry is not of these types.
    """
    maybe = maybe or {}
    found = flaw(manifest, {kind: dict})
    found = found or next(filter(None, (flaw(each, types, maybe) for each in manifest[kind].values())), "")
    if found:
        raise UsageError(f"the manifest of the run {run!r} cannot be read: in {kind!r}, {found}")
    names = [*types, *maybe]
    return {entry: {k: each[k] for k in names if each.get(k) is not None} for entry, each in manifest[kind].items()}


def merged(manifests: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """One manifest of all runs: their commands, from the first to the last, and the definitions of the newest.

    Raises UsageError where their last commands drew data by different versions of the generators.
    """
    versions = {name: manifest["commands"][-1]["data_version"] for name, manifest in manifests.items()}
    if len(set(versions.values())) > 1:
        each = ", ".join(f"{name} has version {found}" for name, found in versions.items())
        raise UsageError(
            f"these runs are not on the same data, so their scores cannot stand side by side: of the data, {each}"
        )
    ordered = sorted(manifests.values(), key=_started)
    commands = [command for manifest in manifests.values() for command in manifest["commands"]]
    return ordered[-1] | {
        "name": " + ".join(manifests),
        "commands": sorted(commands, key=when),
        "definitions": {name: text for manifest in ordered for name, text in manifest["definitions"].items()},
        **submissions.together(ordered),
    }


def _codes(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The code with which each method, as "METHOD on DATASET", last took part in a command on the last data."""
    codes: dict[str, str] = {}
    for command in manifest["commands"]:
        if command["data_version"] == manifest["commands"][-1]["data_version"]:
            codes |= command["code"]
    return codes


def _is_of(rows: pd.DataFrame, codes: Mapping[str, str]) -> pd.Series:
    return rows.code == (rows.method + " on " + rows.dataset).map(codes)


def latest(trials: pd.DataFrame, fields: Collection[str]) -> pd.DataFrame:
    """The last row of each question: data set, method, their fields, seed. A user's file may have changed between two."""
    names = ["dataset", "method", "root_seed", "seed", *(field for field in fields if field in trials)]
    question = pd.DataFrame({name: coded(trials[name])[0] for name in names})
    repeated = question.duplicated(keep="last").to_numpy()
    return trials[~repeated].reset_index(drop=True) if repeated.any() else trials.reset_index(drop=True)


def pictured(results: Results) -> tuple[dict[str, dict[str, np.ndarray]], str]:
    """What `Store.latents` has, by label, of one seed of one cell of images whose factors are known, and in words of which."""
    return _example(results, results.ok & results.trials["swap_content"].notna())


def example(results: Results) -> tuple[dict[str, dict[str, np.ndarray]], str]:
    """What `Store.latents` has, by label, of one seed of one cell, and in words of which: the one most methods finished, then the first.

    Latents that cannot be read are left out, and noted in the damages of their run.
    """
    return _example(results, results.ok & (results.trials.has_truth.eq(True) | results.trials[SUPPORT].notna()))


def curves(results: Results) -> tuple[pd.DataFrame, str]:
    """The learning curves of all data seeds of one cell, and in words of which: the one most methods finished, then the first.

    Columns: label, trial_id, seed, those of `LOOK`, and the terms of losses, NaN of a method that has no such term; a row for each look at
    a model. What failed has a curve too, as far as it went.
    """
    trials = results.trials
    kept = with_arrays(results.stores)
    there = trials["run"].isin(kept) & ~trials["status"].eq(NOT_APPLICABLE) if kept else pd.Series(False, trials.index)
    if not there.any():
        return pd.DataFrame(columns=["label", "trial_id", "seed", *LOOK]), ""
    own = trials.loc[there, [*dict.fromkeys([*results.cells, "label"])]]
    cell = own.groupby(results.cells, dropna=False).ngroup() if results.cells else pd.Series(0, own.index)
    chosen = trials.loc[own.index[cell == own.groupby(cell)["label"].nunique().idxmax()]]
    looks = [results.stores[row.run].curve(row) for _, row in chosen.iterrows()]
    n_looks = [len(own["step"]) for own in looks]
    of = np.repeat(np.arange(len(chosen)), n_looks)
    of_trial = chosen[["label", "trial_id", "seed"]].iloc[of].reset_index(drop=True)
    where = ", ".join(f"{field}={value_text(chosen.iloc[0][field])}" for field in results.cells)
    names = [*LOOK, *sorted({name for own in looks for name in own} - set(LOOK))]
    columns = {
        name: np.concatenate([own.get(name, np.full(n, np.nan)) for own, n in zip(looks, n_looks, strict=True)])
        for name in names
    }
    return pd.concat([of_trial, pd.DataFrame(columns)], axis=1), where


def _example(results: Results, wanted: pd.Series) -> tuple[dict[str, dict[str, np.ndarray]], str]:
    """The same of the trials that are `wanted`, boolean."""
    trials = results.trials
    kept = with_arrays(results.stores)
    fields = [*results.dataset_fields, "dataset", "root_seed", "seed"]
    is_done = wanted & (trials.run.isin(kept) if kept else False)
    if not is_done.any():
        return {}, ""
    done = trials.loc[is_done, [*fields, "label"]]
    place = done.groupby(fields, dropna=False).ngroup()
    chosen = trials.loc[done.index[place == done.groupby(place)["label"].nunique().idxmax()]]
    latents = {row.label: results.stores[row.run].latents(row) for _, row in chosen.iterrows()}
    first = chosen.iloc[0]
    cell = [f"{field}={value_text(first[field])}" for field in results.cells]
    where = ", ".join([f"data set {first.dataset}", *cell, f"data seed {first.seed}"])
    return {label: arrays for label, arrays in latents.items() if arrays}, where
