"""A user's own data: what is read from arrays and tables, what has which role, and what is held out."""

import io
import warnings

import numpy as np
import pandas as pd
import pytest

from bench.files import given, largest, named_by
from bench.plan.trials import data_facts, model_shape, plan
from bench.registry import UsageError
from datasets import datasets
from datasets.file import from_frame

RNG = np.random.default_rng(3)
SITE = np.repeat(["Oslo", "Bern", "NA"], 80)  # the last is a place, and no missing value
Z = RNG.normal(size=(240, 2)) + 2 * (SITE == "Bern")[:, None]
FRAME = pd.DataFrame(Z @ RNG.normal(size=(2, 4)) + 0.1 * RNG.normal(size=(240, 4)), columns=list("abcd"))
FRAME = FRAME.assign(site=SITE, z_1=Z[:, 0], z_2=Z[:, 1], comment="none", person=np.arange(240) // 8)


def file(path, **fields):
    return datasets["file"].make({"path": str(path), **fields})


def written(folder, frame=FRAME, name="data.csv"):
    path = folder / name
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        columns = [name for name in frame if name in "abcd"]
        arrays = {"x": frame[columns].to_numpy(), "z": frame[["z_1", "z_2"]].to_numpy()}
        np.savez(path, site=frame.site.to_numpy(str), person=frame.person, **arrays)
    return path


def rows(instance):
    return {name: {each.tobytes() for each in getattr(instance, name).x} for name in ("train", "validation", "test")}


class TestTables:
    @pytest.mark.parametrize("group", [None, "person"])
    def test_the_same_data_are_the_same_from_every_kind_of_file(self, tmp_path, group):
        made = [file(written(tmp_path, name=n), domain="site", group=group, x="x" if n.endswith("npz") else "a,b,c,d")
                for n in ("data.csv", "data.parquet", "data.npz")]  # fmt: skip
        made.append(from_frame(FRAME, domain="site", group=group, x="a,b,c,d"))
        assert len({each.fingerprint for each in made}) == 1
        first, *others = (each.generate(1) for each in made)
        for other in others:
            for part in ("train", "validation", "test"):
                for name in ("x", "z", "domains"):
                    np.testing.assert_array_equal(
                        getattr(getattr(first, part), name), getattr(getattr(other, part), name)
                    )

    def test_a_column_of_numbers_with_a_few_words_is_ignored_with_a_warning(self, tmp_path):
        rows = [f"{k % 3},{k},{'<0.5' if k in (7, 90) else k},word{k}" for k in range(300)]
        (tmp_path / "data.csv").write_text("domain,a,crp,comment\n" + "\n".join(rows))
        made = datasets["file"].make({"path": str(tmp_path / "data.csv"), "n_latents": 1})
        assert (
            f"{tmp_path}/data.csv: crp would be a column of numbers, but 2 of its values are words, the first '<0.5' in row 7"
            in made.notes
        )
        assert not any("comment would" in note for note in made.notes)

    def test_another_separator_is_a_sentence(self, tmp_path):
        (tmp_path / "data.csv").write_text("domain;a;b\n" + "0;1,5;2\n" * 60)
        with pytest.raises(UsageError, match="its columns are separated by ';': they must be by ','"):
            datasets["file"].make({"path": str(tmp_path / "data.csv"), "n_latents": 1})

    def test_columns_of_numbers_are_x_unless_they_are_something_else_and_what_is_ignored_is_named(self, tmp_path):
        made = file(written(tmp_path), domain="site", group="person")
        assert made.shape == (4, 2, 3) and made.n_known == 2
        ignored = next(note for note in made.notes if "ignored" in note)
        assert ignored.endswith("these columns are ignored: comment")
        assert any(note.endswith("x is a, b, c, d") for note in made.notes)

    def test_columns_are_named_by_the_fields(self, tmp_path):
        made = file(written(tmp_path), x="a, b*", z="c,d", domain=None)
        assert made.shape == (2, 2, 1)
        assert any("site, z_1, z_2, comment, person" in note for note in made.notes)
        assert file(written(tmp_path), z=None, n_latents=3, domain="site").shape == (7, 3, 3)

    def test_the_index_that_pandas_writes_is_no_variable(self, tmp_path):
        FRAME.to_csv(tmp_path / "index.csv")
        FRAME.set_index("person").to_parquet(tmp_path / "index.parquet")
        for name, group in (("index.csv", "person"), ("index.parquet", None)):
            assert file(tmp_path / name, group=group).shape[0] == 4

    def test_a_number_keeps_all_its_digits(self, tmp_path):
        frame = FRAME.assign(a=[0.1 + 1e-17 * 7 * i + i / 3 for i in range(240)])
        csv, npz = file(written(tmp_path, frame), x="a,b,c,d"), file(written(tmp_path, frame, "data.npz"))
        np.testing.assert_array_equal(csv.generate(0).train.x, npz.generate(0).train.x)

    def test_whole_numbers_above_and_fractions_below_are_one_column(self, tmp_path):
        """A reader that looks at the first block of a file alone takes the column for whole numbers."""
        n = 200_000
        frame = pd.DataFrame({"a": np.arange(n, dtype=float), "b": RNG.normal(size=n)})
        text = frame.to_csv(index=False).replace(".0,", ",").replace(f"{n - 1},", f"{n - 1}.5,")
        (tmp_path / "long.csv").write_text(text)
        assert file(tmp_path / "long.csv", n_latents=1).shape[0] == 2

    def test_truths_count_as_numbers(self, tmp_path):
        made = file(written(tmp_path, FRAME.assign(a=FRAME.a > 0)), x="a,b,c,d")
        assert len(np.unique(made.generate(0).train.x[:, 0])) == 2

    @pytest.mark.parametrize(
        ("change", "fields", "words"),
        [
            (lambda f: f, {"domain": "sites"}, "no column 'sites' for domain; did you mean 'site'"),
            (lambda f: f, {"x": "a,nothing"}, "no column 'nothing' for x"),
            (lambda f: f, {"z": "q*"}, r"no column 'q\*' for z"),
            (lambda f: f, {"domain": "site", "group": "site"}, "'site' cannot be group and something else"),
            (lambda f: f, {"x": "comment"}, "comment must be numbers"),
            (lambda f: f[["comment"]], {}, "no columns of numbers"),
            (lambda f: f.assign(a=f.a.where(f.index != 7)), {}, r"not finite, the first in row 7 \(column a\)"),
            (lambda f: f.assign(site=f.site.where(f.index != 9)), {"domain": "site"}, "site is missing in row 9"),
            (lambda f: f.assign(z_1=1.0), {}, "column z_1 of z is constant"),
            (lambda f: f.assign(**dict.fromkeys("abcd", 1.0)), {"x": "a,b,c,d"}, "every column of x is constant"),
            (lambda f: f[:0], {}, "has no rows|no columns of numbers"),
            (lambda f: f, {"n_latents": 1}, "has 2 latents in z, and n_latents=1"),
            (lambda f: f, {"domain": "a"}, "fewer than 50"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_said(self, tmp_path, change, fields, words):
        with pytest.raises(UsageError, match=words):
            file(written(tmp_path, change(FRAME)), **fields)

    @pytest.mark.parametrize(
        "content",
        [
            b"", b"\n", b"a,b\n1,2\n3\n", b"a,a\n1,2\n", b"\xff\xfea,b\n1,2\n", b"PAR1", b"PAR1" + bytes(60) + b"PAR1", b"a,b\n\0,1\n",
            b"," * 200_000 + b"\n", b'"a\n1\n', b"a\r1\r",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("name", ["data.csv", "data.parquet", "data.npz"])
    def test_a_broken_file_is_a_sentence(self, tmp_path, content, name):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match="data") as error:
            file(tmp_path / name, n_latents=1)
        assert len(str(error.value)) < 700

    @pytest.mark.parametrize("cut", [4, 100, 1000, -1, -20])
    def test_a_damaged_parquet_file_is_a_sentence(self, tmp_path, cut):
        path = written(tmp_path, name="data.parquet")
        path.write_bytes(path.read_bytes()[:cut])
        with pytest.raises(UsageError, match="parquet table that can be read"):
            file(path)

    def test_a_table_that_asks_for_more_memory_than_there_is_is_a_sentence(self, tmp_path, monkeypatch):
        """Rows of zeros take next to nothing in a file."""
        written(tmp_path, pd.DataFrame({"a": np.zeros(3_000_000)}), "data.parquet")
        written(tmp_path, pd.DataFrame({"a": np.zeros(200_000, dtype=int)}), "data.csv")
        monkeypatch.setattr("datasets.tables.largest", lambda: min(largest(), 2**20))
        for name in ("data.parquet", "data.csv"):
            with pytest.raises(UsageError, match="more than the 1 MiB that may be read"):
                file(tmp_path / name, n_latents=1)

    def test_a_frame_that_is_no_table_is_a_sentence(self):
        with pytest.raises(UsageError, match="frame"):
            from_frame(pd.DataFrame({"a": [1, "b", object()]}))

    def test_a_frame_travels_like_a_file(self):
        from bench.plan.packs import Pack
        from bench.plan.trials import Trial
        from bench.run.given import contents

        made = from_frame(FRAME, domain="site")
        fields = datasets["file"].defaults | {"path": made.path, "domain": "site"}
        trial = Trial("file", fields, "identity", {}, 0, 0)
        assert set(contents([Pack((trial,))])) == {made.path}


class TestDomains:
    def domains(self, values):
        made = from_frame(FRAME.assign(site=values), domain="site")
        instance = made.generate(0)
        points = np.concatenate([each.domains for each in (instance.train, instance.validation, instance.test)])
        return list(instance.labels), np.bincount(points).tolist()

    @pytest.mark.parametrize(
        ("values", "labels"),
        [
            (SITE, ["Bern", "NA", "Oslo"]),
            (pd.Categorical(SITE, categories=["Oslo", "Rome", "NA", "Bern"]), ["Bern", "NA", "Oslo"]),
            (np.repeat([10, 9, -1], 80), ["-1", "9", "10"]),
            (np.repeat([0.5, 2.0, 0.25], 80), ["0.25", "0.5", "2"]),
            (np.repeat(["10", "9", "1"], 80), ["1", "9", "10"]),
            (np.arange(240) < 80, ["False", "True"]),
            (np.repeat(pd.to_datetime(["2021-01-02", "2020-05-01"]), 120), ["2020-05-01 00:00:00", "2021-01-02 00:00:00"]),
        ],
    )  # fmt: skip
    def test_labels_of_any_kind_are_numbered_by_size_or_by_the_alphabet(self, values, labels):
        found, counts = self.domains(values)
        assert found == labels
        assert sorted(counts) == sorted(np.unique(np.asarray(values), return_counts=True)[1].tolist())

    def test_without_domains_there_is_one(self, tmp_path):
        assert file(written(tmp_path)).shape[2] == 1
        np.savez(tmp_path / "x.npz", x=Z)
        assert file(tmp_path / "x.npz", n_latents=2).shape == (2, 2, 1)

    def test_labels_and_their_order_are_part_of_the_identity(self):
        names = [SITE, np.where(SITE == "Oslo", "Aarhus", SITE), np.where(SITE == "Oslo", "Pisa", SITE)]
        assert len({from_frame(FRAME.assign(site=each), domain="site").fingerprint for each in names}) == 3

    def test_they_are_kept_and_said(self, tmp_path):
        made = file(written(tmp_path), domain="site")
        assert any(note.endswith("the domains, from 0, are Bern, NA, Oslo") for note in made.notes)


class TestImages:
    @pytest.mark.parametrize("shape", [(3, 6, 5), (6, 5, 3), (6, 5)])
    def test_images_are_flattened_and_keep_their_shape(self, tmp_path, shape):
        images = RNG.integers(0, 256, size=(100, *shape), dtype=np.uint8)
        images[:, 0, 0] = 17
        np.savez(tmp_path / "images.npz", x=images)
        made = file(tmp_path / "images.npz", n_latents=2)
        instance = made.generate(0)
        assert instance.x_shape == shape and made.shape[0] == np.prod(shape)
        shaped = instance.train.x.reshape(-1, *instance.x_shape)
        assert not shaped[:, 0, 0].any() and shaped[:, 1, 1].std() > 0.3
        assert any("are constant and count as 0: 0" in note for note in made.notes)

    def test_the_shape_is_part_of_the_identity(self, tmp_path):
        images = RNG.integers(0, 256, size=(100, 3, 6), dtype=np.uint8)
        found = []
        for shape in ((100, 3, 6), (100, 6, 3), (100, 18)):
            np.savez(tmp_path / "images.npz", x=images.reshape(shape))
            found.append(from_npz(tmp_path / "images.npz"))
        assert len(set(found)) == 3

    def test_large_arrays_are_scaled_in_blocks_to_the_same_numbers(self, tmp_path, monkeypatch):
        np.savez(tmp_path / "d.npz", x=RNG.normal(size=(300, 9)))
        whole = file(tmp_path / "d.npz", n_latents=2).generate(0).train.x
        monkeypatch.setattr("datasets.points.BLOCK", 400)
        np.savez(tmp_path / "e.npz", **np.load(tmp_path / "d.npz"))
        np.testing.assert_array_equal(file(tmp_path / "e.npz", n_latents=2).generate(0).train.x, whole)


def from_npz(path):
    return file(path.rename(path.with_name(f"{RNG.integers(10**9)}.npz")), n_latents=2).fingerprint


def trials(n_trials=20, n_points=30, seed=8):
    """Points of one trial are alike: autocorrelated, around an offset of its own."""
    rng = np.random.default_rng(seed)
    z = np.cumsum(0.1 * rng.normal(size=(n_trials, n_points, 2)), axis=1) + 2 * rng.normal(size=(n_trials, 1, 2))
    x = z @ rng.normal(size=(2, 6)) + rng.normal(size=(n_trials, 1, 6))
    trial = np.repeat(np.arange(n_trials), n_points)
    columns = {f"x{i}": column for i, column in enumerate(x.reshape(-1, 6).T)}
    columns |= {f"z_{i}": column for i, column in enumerate(z.reshape(-1, 2).T)}
    return pd.DataFrame({**columns, "domain": trial % 4, "group": trial})


def groups_of(frame, **fields):
    """The groups in each part: the number of a group is put in x, where it can be read."""
    made = from_frame(frame.assign(mark=frame.group * 1.0), **fields)
    scaled = made._data_sets[0].x[:, -1]
    of = dict(zip(scaled.tolist(), frame.group.tolist(), strict=True))
    return lambda seed: [
        {of[each] for each in getattr(made.generate(seed), part).x[:, -1].tolist()}
        for part in ("train", "validation", "test")
    ]


class TestGroups:
    def test_a_group_is_never_on_both_sides(self):
        parts = groups_of(trials())
        found = [parts(seed) for seed in range(10)]
        for train, validation, test in found:
            assert not train & validation and not train & test and not validation & test
            assert len(train | validation | test) == 20 and len(validation) == len(test) == 4
        assert len({frozenset(test) for *_, test in found}) > 5

    def test_about_a_fifth_is_held_out_where_groups_differ_in_size(self):
        frame = trials()
        frame = frame[(frame.group > 2) | (np.arange(len(frame)) % 30 < 3)]
        frame = pd.concat([frame, frame[frame.group == 7]] * 3)
        made = from_frame(frame)
        for seed in range(10):
            instance = made.generate(seed)
            for part in (instance.validation, instance.test):
                assert 0.08 * len(frame) < len(part.x) <= 0.31 * len(frame)

    def test_a_domain_keeps_a_group_in_training(self):
        frame = trials(8)
        made = from_frame(frame)
        for seed in range(20):
            assert set(made.generate(seed).train.domains) == {0, 1, 2, 3}

    def test_where_every_group_is_a_domain_none_can_be_held_out(self):
        with pytest.raises(UsageError, match="no group can be held out"):
            from_frame(trials(8, 60).assign(domain=lambda f: f.group), n_latents=2)
        assert from_frame(trials().assign(domain=0)).generate(0)

    def test_held_out_scores_are_those_of_whole_trials(self):
        """A probe that was fitted on points knows their neighbours, of the same trial; it knows nothing of other trials."""
        from sklearn.neighbors import KNeighborsRegressor

        def r2(made):
            found = []
            for seed in range(4):
                instance = made.generate(seed)
                probe = KNeighborsRegressor(1).fit(instance.train.x, instance.train.z)
                found.append(probe.score(instance.test.x, instance.test.z))
            return np.mean(found)

        by_points, by_trials = r2(from_frame(trials(), group=None, x="x*")), r2(from_frame(trials(), x="x*"))
        assert by_points > 0.95 and by_trials < 0.7


class TestSplits:
    def split(self, words, n=(300, 150, 150)):
        return trials().assign(group=0, split=np.repeat(np.array(words), n[: len(words)]))

    @pytest.mark.parametrize("words", [["train", "validation", "test"], ["Training", "val", "TEST"], [0, 1, 2]])
    def test_the_files_split_is_kept_for_every_seed(self, words):
        frame = self.split(words)
        made = from_frame(frame, group=None)
        x = made._data_sets[0].x
        for seed in (0, 5):
            instance = made.generate(seed)
            for part, at in (("train", slice(300)), ("validation", slice(300, 450)), ("test", slice(450, None))):
                np.testing.assert_array_equal(getattr(instance, part).x, x[at])
        assert any("data seeds change only initialisation and noise" in note for note in made.notes)

    def test_without_validation_whole_groups_of_train_are_the_same_for_every_seed(self):
        frame = trials().assign(split=lambda f: np.where(f.group >= 16, "test", "train"))
        parts = groups_of(frame)
        (train, validation, test), again = parts(0), parts(1)
        assert test == {16, 17, 18, 19} and len(validation) == 3 and not train & validation
        assert again == [train, validation, test]

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda f: f.assign(split=f.split.replace("test", "later")), "train, validation or test, or 0, 1 or 2, and is 'later'"),
            (lambda f: f.assign(split=f.split.replace("test", "train")), "0 points are test, and 10 are needed"),
            (lambda f: f.assign(split=f.split.replace("train", "test")), "0 points are train"),
            (lambda f: f.assign(group=f.index // 200), "the group '1' is on several sides"),
            (lambda f: f.assign(domain=(f.split == "test") * 1), "no training point is of the domain '1'"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_said(self, change, words):
        frame = change(self.split(["train", "validation", "test"]).drop(columns="group"))
        with pytest.raises(UsageError, match=words):
            from_frame(frame)

    def test_the_split_and_the_groups_are_part_of_the_identity(self):
        plain = self.split(["train", "validation", "test"])
        frames = [plain, plain.assign(split="train"), trials(), trials().assign(group=lambda f: f.group // 2)]
        frames[1].loc[400:, "split"] = "test"
        assert (
            len({from_frame(each, group="group" if "split" not in each else None).fingerprint for each in frames}) == 4
        )


class TestReplicates:
    def names(self, folder, n=3):
        for i in range(n):
            trials(seed=i).drop(columns="group").to_csv(folder / f"d{i}.csv", index=False)
        return [str(folder / f"d{i}.csv") for i in range(n)]

    def test_a_data_seed_picks_one_of_several_files(self, tmp_path):
        names = self.names(tmp_path)
        made = file(",".join(names))
        alone = [file(name).generate(np.random.SeedSequence(0, spawn_key=(0, i))) for i, name in enumerate(names)]
        assert made.replicates == 3 and not made.resplits and file(names[0]).resplits
        for i in range(3):
            own = made.generate(np.random.SeedSequence(0, spawn_key=(0, i)))
            assert np.array_equal(own.train.x, alone[i].train.x) and rows(own) != rows(alone[i - 1])
        assert any("data seeds 0 to 2 are independent data sets" in note for note in made.notes)

    def test_a_pattern_and_a_column_name_several_too(self, tmp_path):
        names = self.names(tmp_path)
        by_pattern, by_list = file(tmp_path / "d*.csv"), file(",".join(names))
        assert by_pattern.fingerprint == by_list.fingerprint != file(",".join(names[::-1])).fingerprint
        together = pd.concat([pd.read_csv(name).assign(dataset=f"set {i}") for i, name in enumerate(names)])
        assert from_frame(together).fingerprint == by_list.fingerprint
        assert from_frame(together, replicate=None).replicates == 1

    def test_more_seeds_than_data_sets_are_refused(self, tmp_path):
        settings = {"file": {"path": ",".join(self.names(tmp_path))}}
        assert len(plan("file", {}, settings, ["pca"], 3, 0)[0]) == 3
        with pytest.raises(UsageError, match="say --seeds 3"):
            plan("file", {}, settings, ["pca"], 4, 0)

    def test_data_sets_of_two_kinds_are_refused(self, tmp_path):
        names = self.names(tmp_path)
        pd.read_csv(names[0]).drop(columns="x0").to_csv(names[1], index=False)
        with pytest.raises(UsageError, match=r"d1\.csv: x has 5 columns, and 6 in"):
            file(",".join(names))

    def test_names_with_commas_and_brackets_and_files_that_came_with_a_task_are_found(self, tmp_path, monkeypatch):
        odd = tmp_path / "a,b[1].csv"
        trials().to_csv(odd, index=False)
        assert named_by(str(odd)) == [str(odd)] and file(odd).replicates == 1
        monkeypatch.setitem(given, "/far/d1.csv", b"")
        monkeypatch.setitem(given, "/far/d0.csv", b"")
        assert named_by("/far/*.csv") == ["/far/d0.csv", "/far/d1.csv"]
        assert named_by("/far/*.npz") == ["/far/*.npz"]


class TestMoreLatentsThanAreKnown:
    def test_the_ceiling_has_those_that_are_known_and_a_start_at_the_truth_has_no_meaning(self, tmp_path):
        from methods import methods

        made = file(written(tmp_path), n_latents=4)
        facts = data_facts(made)
        assert (made.shape[1], facts.n_known) == (4, 2) and data_facts(file(written(tmp_path))).n_known is None
        assert model_shape(made).n_latents == 4 and model_shape(made, sees_latents=True).n_latents == 2
        assert "of 4 the data have 2" in methods["vae"].make({"start": "truth"}).skip(facts)
        assert methods["supervised"].make({}).skip(facts) is None

    def test_trials_have_scores(self, tmp_path):
        from bench.plan.packs import Pack
        from bench.plan.trials import Trial
        from methods import methods
        from tests.packs import SMALL_BUDGET, fields, rows_of

        data = datasets["file"].defaults | {"path": str(written(tmp_path)), "n_latents": 4, "domain": "site"}
        for name in ("supervised", "pca"):
            (row,) = rows_of(Pack((Trial("file", data, name, fields(methods[name], SMALL_BUDGET), 0, 0),)))
            assert row["status"] == "ok", row["error"]
            assert row["mcc_spearman"] > 0 and len(row["mcc_per_latent"]) == 2 and row["resplits"] is True


def test_constant_columns_cost_no_method_its_training(tmp_path):
    from bench.plan.packs import Pack
    from bench.plan.trials import Trial
    from methods import methods
    from tests.packs import SMALL_BUDGET, fields, rows_of

    path = written(tmp_path, FRAME.assign(still=3, quiet=0.5))
    data = datasets["file"].defaults | {"path": str(path), "domain": "site", "x": "a,b,c,d,still,quiet"}
    for name in ("fastica", "joint-diagonalisation", "tcl"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (row,) = rows_of(Pack((Trial("file", data, name, fields(methods[name], SMALL_BUDGET), 0, 0),)))
        assert row["status"] == "ok", (name, row["error"])


def test_a_parquet_file_of_lists_and_times_has_its_numbers_read():
    frame = FRAME.assign(when=pd.Timestamp("2020-01-01"), several=[[1, 2]] * 240)
    made = from_frame(frame, domain="site", group="person")
    assert made.shape[0] == 4
    assert any("comment, when, several" in note for note in made.notes)


def test_a_buffer_is_what_pandas_reads():
    assert pd.read_parquet(io.BytesIO(given[from_frame(FRAME).path])).equals(FRAME)


class TestNumbers:
    """The role u: numbers on which the latents depend."""

    @pytest.fixture
    def frame(self):
        return FRAME.assign(u=np.arange(240) / 7, age=20 + np.arange(240) % 31)

    @pytest.mark.parametrize("suffix", ["csv", "parquet"])
    def test_a_column_u_is_no_observed_variable_and_is_said(self, tmp_path, frame, suffix):
        made = file(written(tmp_path, frame.drop(columns="age"), f"data.{suffix}"), domain="site", group="person")
        assert made.shape == (4, 2, 3) and made.n_u == 1
        assert data_facts(made).n_u == model_shape(made).n_u == 1
        assert any(note.endswith("are given those of u") for note in made.notes)

    def test_points_keep_their_u_in_every_part(self, tmp_path):
        np.savez(tmp_path / "data.npz", x=np.column_stack([np.arange(300.0), np.ones(300) * np.arange(300) % 7]),
                 z=np.arange(300.0)[:, None], u=1e9 + np.arange(300))  # fmt: skip
        instance = file(tmp_path / "data.npz").generate(1)
        for split in (instance.train, instance.validation, instance.test):
            assert split.u.shape == (len(split.x), 1) and split.u.dtype == np.float32
            np.testing.assert_allclose(split.u[:, 0], split.z[:, 0], atol=1e-6)

    def test_columns_are_named_by_the_field_and_may_stand_beside_domains_or_not(self, tmp_path, frame):
        path = written(tmp_path, frame)
        beside = file(path, u="u,age", domain="site", x="a,b,c,d")
        assert beside.n_u == 2 and beside.shape[2] == 3
        assert file(path, u="age", x="a,b,c,d").shape[2] == 1
        assert file(path, u=None, domain="site", group="person").n_u == 0
        assert file(path, u=None, domain="site", group="person").shape[0] == 6

    def test_without_numbers_there_is_none_and_the_fingerprint_says_which_there_are(self, tmp_path, frame):
        plain = file(written(tmp_path), domain="site", group="person", x="a,b,c,d")
        assert plain.n_u == 0 and plain.generate(0).train.u is None
        path = written(tmp_path, frame, "more.csv")
        kept = [file(path, domain="site", group="person", x="a,b,c,d", u=u).fingerprint for u in (None, "u", "age")]
        assert kept[0] == plain.fingerprint and len(set(kept)) == 3

    @pytest.mark.parametrize(
        ("u", "message"),
        [
            (np.zeros(240), "column 0 of u is constant; leave it out"),
            (np.where(np.arange(240) == 5, np.nan, np.arange(240)), "u holds values that are not finite, the first in row 5"),
            (np.arange(239), r"u must be numbers of shape \(240, at least 1\), and is int64 \(239, 1\)"),
            (np.zeros((240, 2, 2)), r"u must be numbers of shape \(240, at least 1\)"),
            (np.repeat("early", 240), "u must be numbers"),
        ],
    )  # fmt: skip
    def test_numbers_that_are_none_are_refused_in_a_sentence(self, tmp_path, u, message):
        np.savez(tmp_path / "data.npz", x=FRAME[list("abcd")].to_numpy(), z=Z, u=u)
        with pytest.raises(UsageError, match=message):
            file(tmp_path / "data.npz")

    def test_replicates_must_have_as_many(self, tmp_path):
        x = FRAME[list("abcd")].to_numpy()
        np.savez(tmp_path / "first.npz", x=x, z=Z, u=np.arange(240))
        np.savez(tmp_path / "second.npz", x=x, z=Z)
        with pytest.raises(UsageError, match="u has 0 columns, and 1 in"):
            file(f"{tmp_path}/first.npz,{tmp_path}/second.npz")
