"""Charts in a run: trained once, kept in its folder, found again."""

import pytest
from rich.console import Console

from bench.plan.charts import chart_of
from bench.run import executors
from bench.run.placement import Placement
from bench.run.store import Store
from bench.train import chart
from tests.packs import pack

SERIAL = Placement(executor="serial")


@pytest.fixture
def trained(monkeypatch, tmp_path_factory):
    """Gives the ids of the charts that were trained, in order: they train in another process."""
    path = tmp_path_factory.mktemp("trained") / "ids"
    path.touch()
    train = chart.train

    def noted(specs, *rest):
        with open(path, "a") as file:
            file.writelines(f"{spec.chart_id}\n" for spec in specs)
        return train(specs, *rest)

    monkeypatch.setattr(chart, "train", noted)
    return lambda: path.read_text().split()


def run(packs, store):
    executors.run(packs, store, SERIAL, Console(quiet=True))
    return {row["trial_id"]: row for row in store.rows()}


def test_a_chart_is_trained_once_for_all_methods_and_found_again_by_a_later_command(tmp_path, trained):
    store = Store(tmp_path)
    rows = run([pack("vae", n_seeds=1), pack("synergy-vae", n_seeds=1), pack("pca", n_seeds=1)], store)
    own = chart_of(pack("vae").trials[0]).chart_id
    assert trained() == [own] and (tmp_path / "charts" / f"{own}.npz").exists()
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert len({row["chart_s"] for row in rows.values() if row["method"] != "pca"}) == 1
    run([pack("flow-vae", n_seeds=2)], Store(tmp_path))
    other = chart_of(pack("vae").trials[1]).chart_id
    assert trained() == [own, other]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut off", None])
def test_a_chart_that_cannot_be_read_is_trained_again(tmp_path, trained, damage):
    store = Store(tmp_path)
    run([pack("vae", n_seeds=1)], store)
    (path,) = (tmp_path / "charts").glob("*.npz")
    if damage is None:
        store.write_chart(path.stem, {"about": chart.np.zeros(2)})  # a file of arrays, but no atlas
    else:
        path.write_bytes(damage)
    again = Store(tmp_path)
    run([pack("ivae", n_seeds=1)], again)
    assert len(trained()) == 2 and len(set(trained())) == 1
    assert bool(again.damages) == (damage is not None)
    assert again.chart(path.stem)["about"].ndim == 0


def test_where_a_chart_fails_the_rows_of_its_trials_say_why_and_the_others_have_scores(tmp_path, monkeypatch):
    def failing(specs, *rest):
        return [RuntimeError("no such chart") for _ in specs]

    monkeypatch.setattr(chart, "train", failing)
    monkeypatch.setattr(chart, "_trained", {})
    rows = run([pack("vae", n_seeds=1), pack("pca", n_seeds=1)], Store(tmp_path)).values()
    assert {row["method"]: row["status"] for row in rows} == {"vae": "failed", "pca": "ok"}
    assert "no such chart" in next(row["error"] for row in rows if row["method"] == "vae")


def test_a_task_is_given_up_when_it_is_silent_or_waits_though_cores_are_free(monkeypatch):
    monkeypatch.setattr(executors, "SILENCE_S", 60.0)
    now = executors.time.monotonic()
    tasks = {
        "silent": executors._Running(None, heard=now - 61, has_begun=True),
        "trains": executors._Running(None, heard=now - 1, has_begun=True),
        "waits": executors._Running(None, heard=now - 300),
        "is new": executors._Running(None, heard=now),
    }
    assert executors._silent(tasks, all_busy=now - 2) == ["silent"]  # others have the cores that it waits for
    assert executors._silent(tasks, all_busy=now - 61) == ["silent", "waits"]
