"""Command lines, files and damages of a run's folder that nobody thought of: each ends in a result or in one sentence.

None may end in a traceback, take for ever, execute what a file holds, or write outside the folder that it was given. A part of the cases
runs every time; all of them with the environment variable FUZZ=full:

    FUZZ=full pytest tests/test_fuzz.py -n 0
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import matplotlib.font_manager
import numpy as np
import pytest

from bench import cli
from bench.run.store import Store
from datasets import datasets
from methods import methods
from tests import hostile
from tests.simulated import simulated_run, simulated_trials

CACHE = matplotlib.get_cachedir()  # not below the HOME of these tests
ROOT = Path(__file__).resolve().parent.parent
FULL = os.environ.get("FUZZ") == "full"
COMMANDS, FILES, DAMAGES = (400, 100, 60) if FULL else (20, 20, 12)
IN_A_PROCESS = 25 if FULL else 20  # every so many commands, one is run as a command
SECONDS = 60  # that a case may take, on a machine that does other things too


# --- what must hold of every case


class TookTooLong(BaseException):
    """Not an Exception, which the program might take for its own."""


@contextlib.contextmanager
def limited():
    def stop(*_):
        raise TookTooLong

    former = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)


def check(words, capsys):
    """Runs a command in this process: it ends in time, with an exit code, and a mistake is one sentence that a terminal only shows."""
    try:
        with limited(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = cli.main(words)
    except SystemExit as end:  # of --help
        code = end.code
    except BaseException:
        pytest.fail(f"{words}\n{traceback.format_exc()}")
    out, err = capsys.readouterr()
    judge(words, code, out, err)
    return code


def judge(words, code, out, err):
    assert code in (0, 1, 2), (words, code)
    assert "Traceback" not in err, words
    assert "\x1b" not in out + err and "\u202e" not in out + err, words
    if code == 2:
        assert err.count("\n") == 1 and err.startswith("run_bench.py: error: ") and len(err) > 30, (words, err)


def snapshot(folder, but=()):
    """All that lies in a folder, but below the paths `but`: kinds, sizes and contents."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        if any(path.is_relative_to(other) for other in but):
            continue
        is_file = path.is_file() and not path.is_symlink()
        found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if is_file else str(path.lstat().st_mode)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run, to be copied."""
    trials = simulated_trials({"vae": 0.6, "synergy-vae": 0.9, "random": 0.4}, domains=(2, 3), seeds=2)
    store = simulated_run(tmp_path_factory.mktemp("whole") / "run", trials)
    store.write_chart("chart", {"a": np.zeros(3)})
    store.compact()
    return store.folder


@pytest.fixture
def sandbox(tmp_path, monkeypatch, whole):
    """A home and a current folder with a run and some files. What a command writes elsewhere than in results is found at the end."""
    for name in ("home", "here", "outside"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    shutil.copytree(whole, "results/runs/run")
    np.savez("good.npz", x=Z4, z=Z4[:, :2], z_hat=Z4[:, :2], domain=np.arange(200) % 2)
    Path("mine.py").write_text(PLUGIN)
    Path("empty").touch()
    (tmp_path / "outside" / "file").write_text("mine")
    before = snapshot(tmp_path, [tmp_path / "here" / "results"])
    yield tmp_path
    after = snapshot(tmp_path, [tmp_path / "here" / "results", tmp_path / "here" / "made"])
    assert after == {name: what for name, what in before.items() if "/here/made" not in name}
    assert not list(tmp_path.rglob("executed*"))


Z4 = np.random.default_rng(0).normal(size=(200, 4))
PLUGIN = """
from methods import register_transformer
register_transformer("mine", lambda n_latents, seed: None, source="a test")
"""


# --- command lines

NASTY = [
    "", " ", "0", "-1", "1", "2", "3", "nan", "inf", "-inf", "1e400", "1e308", "5e-324", "9" * 400, str(2**63), str(2**63 - 1), "0x10",
    "1_0", "٣", "½", "a\0b", "\x1b[31m", "\u202e", "\udcff", "a\nb", "a\r\nb", "=1+1", "|", "<b>", "[x](y)", "../..", "/", ".", "~", "none",
    "true", "é", "😀" * 50, "a" * 5000, "-", "--", "--help", "%s", "%(prog)s", "{}", "{0}", "$HOME", "`id`", "*", "good.npz", "mine.py",
    "empty", "run", "results", "vae", "sparse-mixing", "domains",
]  # fmt: skip
GRIDS = [
    "domains=2,3", "domains=2..10", "domains=2..1e9", "domains=2..3:0", "domains=3..2", "domains=2..3:1e-9", "violation=0,0.5",
    "violation=0..1:0.25", "n_latents=1..10000", "noise=0..1:0.0001", "density=0..1:0.0001", "change_strength=0..1:0.0001",
    "domains", "=", "=1", "domains=", "domains=2,2", "vae.beta=1", "nosuch=1", "steps=30", "steps=1..10000", "start=truth", "twins=none,0.5",
]  # fmt: skip
SETTINGS = [
    "sparse-mixing.domains=3", "sparse-mixing.n_latents=1", "sparse-mixing.n_latents=10000", "sparse-mixing.domains=1e9", "vae.beta=nan",
    "vae.steps=1", "vae.steps=1e18", "file.path=good.npz", "file.path=", "file.path=a\0b", "file.path=results", "file.n_latents=2",
    "vae.restarts=1000", "x", "x.y", ".", "=", "vae.=1", ".beta=1", "vae.beta=1=2",
]  # fmt: skip


def entry(rng):
    return rng.choice([*methods.names(), *datasets.names(), *NASTY])


def value(rng, good):
    return rng.choice(good) if rng.random() < 0.6 else rng.choice(NASTY)


def common(rng):
    """Options of grids and data sets."""
    words = []
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        words += ["--grid", value(rng, GRIDS)]
    for _ in range(rng.choice([0, 0, 1, 2])):
        words += ["--set", value(rng, SETTINGS)]
    if rng.random() < 0.4:
        words += ["--dataset", value(rng, [*datasets.names(), "file"])]
    if rng.random() < 0.4:
        words += ["--root-seed", value(rng, ["0", "7", str(2**62)])]
    if rng.random() < 0.2:
        words += ["--plugin", value(rng, ["mine.py", "empty", "good.npz", "results", "/dev/zero"])]
    return words


def placed(rng):
    """Options of what starts something."""
    words = ["--dry-run"]
    for option, good in {
        "--profile": ["quick", "default", "paper"],
        "--device": ["auto", "cpu", "cuda"],
        "--gpus-per-pack": ["0", "0.5", "1"],
        "--ray-address": ["auto", "localhost:1", "nowhere"],
        "--name": ["run", "new", "=a", "a" * 200],
        "--methods": ["vae", "vae,random", "synergy-vae,pca,identity", "vae,vae", "mine"],
    }.items():
        if rng.random() < 0.25:
            words += [option, value(rng, good)]
    return words


def main_job(rng):
    words = [*common(rng), *placed(rng), "--seeds", value(rng, ["1", "2", "3", str(10**18)])]
    for option, good in {
        "--executor": ["auto", "serial", "ray"],
        "--time-limit": ["1", "0.5"],
        "--start": ["chart,truth", "truth"],
    }.items():
        if rng.random() < 0.25:
            words += [option, value(rng, good)]
    return words


def tune(rng):
    return ["tune", *common(rng), *placed(rng), "--budget", value(rng, ["1000000", "1"]), "--rungs", value(rng, ["1", "2", str(10**9)]),
            "--seeds", value(rng, ["1", str(10**18)])]  # fmt: skip


def audit(rng):
    """Of small data: an audit makes them."""
    words = [
        "audit",
        "--seeds",
        value(rng, ["1", str(10**18)]),
        "--set",
        "sparse-mixing.n_latents=3",
        "--set",
        "sparse-mixing.n_observed=6",
    ]
    if rng.random() < 0.6:
        words += ["--grid", value(rng, ["domains=2,3", "violation=0,1", "domains=2..1e9", "noise=0..1:0.0001"])]
    if rng.random() < 0.5:
        words += ["--out", value(rng, ["made/a.csv", "made/a.txt", "nowhere/a.csv"])]
    return words


def out(rng):
    """A folder to write in, or a file in its place, but none that is elsewhere: a command writes where it is told to."""
    return rng.choice(
        [
            "made/out",
            "made/out",
            "good.npz",
            "empty",
            "/dev/null",
            "a\0b",
            f"made/{rng.choice(NASTY).replace('/', '').replace('.', '')}",
        ]
    )


def report(rng):
    words = [
        "report",
        *(value(rng, ["run", "results/runs/run"]) for _ in range(rng.choice([1, 1, 2, 3]))),
        "--out",
        "made/out",
    ]
    for option, good in {
        "--by": ["violation", "domains", "method", "mcc_spearman", "error", "seed"],
        "--where": ["domains<=2", "method=='vae'", "domains<=", "1" * 5000, "(" * 500, "not " * 5000 + "x", "f(1)", "domains in [2]", "twins==none"],
        "--style": ["ggplot", "empty", "good.npz", "results", "/dev/zero", "http://localhost:1/a.mplstyle", "os.path", "antigravity.x"],
    }.items():  # fmt: skip
        for _ in range(rng.choice([0, 0, 1, 2])):
            words += [option, value(rng, good)]
    return words


def compare(rng):
    return [
        "compare",
        value(rng, ["run"]),
        value(rng, ["run", "results/runs/run"]),
        *rng.choice([[], ["--out", out(rng)]]),
    ]


def others(rng):
    return rng.choice(
        [
            ["list"], ["show", entry(rng)], ["show"], ["score", value(rng, ["good.npz", "empty", "results", "/dev/zero"])], [value(rng, ["lst"])],
            ["list", entry(rng)], ["--help"], ["report", "--help"], [f"--{entry(rng)}"], [], [*rng.choices(NASTY, k=3), "--dry-run"],
            ["list", "--plugin", value(rng, ["mine.py"])], ["score"], ["compare", "run"],
        ]
    ) or ["--dry-run"]  # fmt: skip


def command(number):
    rng = random.Random(f"command {number}")
    words = rng.choice([main_job, main_job, main_job, tune, audit, report, report, compare, others])(rng)
    if rng.random() < 0.1:
        rng.shuffle(words)
    if rng.random() < 0.1:
        words.insert(rng.randrange(len(words) + 1), rng.choice(NASTY))
    trains = not {"list", "show", "audit", "score", "report", "compare"} & set(words)
    return [*words, "--dry-run"] if trains and "--dry-run" not in words and "--help" not in words else words


@pytest.fixture(autouse=True)
def made(sandbox, without_figures):
    """A folder in which commands may write beside results."""
    Path("made").mkdir()


@pytest.mark.parametrize("first", range(0, COMMANDS, 20))
def test_every_command_line_ends_in_a_result_or_in_one_sentence(first, capsys):
    for number in range(first, min(first + 20, COMMANDS)):
        check(command(number), capsys)


@pytest.mark.parametrize("number", range(0, COMMANDS, IN_A_PROCESS))
def test_so_it_does_as_a_command(number):
    words = [os.fsencode(word) for word in command(number) if "\0" not in word]
    line = [sys.executable, str(ROOT / "run_bench.py"), *words]
    found = subprocess.run(
        line,
        capture_output=True,
        timeout=2 * SECONDS,
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "MPLCONFIGDIR": CACHE},
    )
    judge(words, found.returncode, found.stdout.decode(errors="replace"), found.stderr.decode(errors="replace"))


# --- files


def of_numbers(number):
    """An .npz file that is none, or none of what it should hold."""
    rng = np.random.default_rng(number)
    text = bytearray(Path("good.npz").read_bytes())
    kind = number % 6
    if kind == 0:
        text = text[: rng.integers(len(text))]
    elif kind == 1:
        for at in rng.integers(len(text), size=rng.integers(1, 20)):
            text[at] ^= 1 << rng.integers(8)
    elif kind == 2:
        text = bytearray(rng.integers(256, size=rng.integers(1, 2000), dtype=np.uint8).tobytes())
    elif kind == 3:
        header = rng.choice(sorted(hostile.headers()))
        version = tuple(rng.choice([(1, 0), (2, 0), (3, 0)]))
        members = [
            (f"{name}.npy", hostile.npy(hostile.headers()[header], version=version))
            for name in ("x", "z", "z_hat", "domain")
        ]
        return hostile.archive("made/a.npz", members)
    elif kind == 4:
        odd = [Z4 * 1e308, Z4 * 1e-310, Z4[:0], Z4[:, :0], Z4.astype(str), Z4 + 1j, Z4.astype("M8[s]"), np.zeros((200, 4)), Z4.T, Z4[0],
               np.full((200, 4), np.nan), np.array([hostile.Runs()] * 200, dtype=object), Z4.astype(np.float16) * 6e4, Z4 > 0,
               np.full((200, 4), 2**63, np.uint64), np.array(3), Z4[None], np.asfortranarray(Z4), Z4.astype(np.longdouble) * 1e300]  # fmt: skip
        arrays = {name: odd[rng.integers(len(odd))] if rng.random() < 0.5 else Z4 for name in ("x", "z", "z_hat")}
        domain = [
            np.arange(200) % 2,
            np.arange(200),
            np.zeros(200),
            np.full(200, 1e308),
            np.zeros((200, 1)),
            np.full(200, np.inf),
        ]
        np.savez("made/a.npz", **arrays, domain=domain[rng.integers(len(domain))])
        return None
    else:
        return hostile.NO_FILES[sorted(hostile.NO_FILES)[number // 6 % len(hostile.NO_FILES)]]("made/a.npz")
    return Path("made/a.npz").write_bytes(text)


PLUGINS = [
    b"", b"\0", b"\xff\xfe", b"# coding: nosuch\n", b"x = (", b"(" * 5000, b"-" * 100_000 + b"1", b"x=" + b"[" * 150 + b"]" * 150, b"raise ValueError('a\\nb \\x1b[31m')",
    b"raise SystemExit(3)", b"import nosuch", b"def f(): f()\nf()", b"1/0", b"\xef\xbb\xbfimport os", b"raise Exception", b"a" * 10**6,
    b"from methods import register\nregister('a b', source='x')", b"from methods import register\nregister(3, source='x')",
    b"from methods import register\n@register('m', source='x')\nclass M: pass", b"from bench.registry import UsageError\nraise UsageError('\\x1b[2J\\n')",
]  # fmt: skip
STYLES = [
    b"", b"\0", b"\xff\xfe", b"font.size: huge\n", b"nosuch: 1\n", b"text.usetex: maybe\n", b"axes.prop_cycle: cycler('color', [__import__('os').system('touch executed')])\n",
    b"backend: module://executed\n", b": :\n", b"a" * 10**6, b"font.size : 8\n" * 1000, b"axes.prop_cycle: " + b"(" * 3000, b"figure.figsize: 1e9, 1e9\n",
    b"savefig.dpi: 1e9", b"lines.linewidth: nan",
]  # fmt: skip
JSONS = [
    b"", b"\0", b"{", b"[" * 100_000, b"null", b"3", b'"a"', b"{}", b"\xff", b'{"name": 1e400}', b"9" * 10_000, b'{"commands": [' + b"{}," * 10_000 + b"{}]}",
    b'{"a": "\\ud800"}', b" " * 10**7, b"NaN",
]  # fmt: skip


def malformed(number):
    """Makes a file, and gives a command that reads it."""
    rng = random.Random(f"file {number}")
    kind = number % 5
    if kind < 2:
        of_numbers(number // 5 * 2 + kind)
        data = [
            "--dataset",
            "file",
            "--set",
            "file.path=made/a.npz",
            "--methods",
            "vae,pca",
            "--seeds",
            "1",
            "--dry-run",
        ]
        return rng.choice([["score", "made/a.npz"], data])
    if kind == 2:
        if number % 4 == 3:
            hostile.NO_FILES[rng.choice(sorted(hostile.NO_FILES))]("made/a.py")
        else:
            Path("made/a.py").write_bytes(PLUGINS[number // 5 % len(PLUGINS)])
        return ["list", "--plugin", "made/a.py"]
    if kind == 3:
        if number % 4 == 3:
            hostile.NO_FILES[rng.choice(sorted(hostile.NO_FILES))]("made/a.mplstyle")
        else:
            Path("made/a.mplstyle").write_bytes(STYLES[number // 5 % len(STYLES)])
        return ["report", "run", "--style", "made/a.mplstyle"]
    name = rng.choice(["manifest.json", "planned.csv", ".finished", "parts/run-vae.jsonl"])
    Path("results/runs/run", name).write_bytes(JSONS[number // 5 % len(JSONS)])
    return rng.choice([["report", "run"], ["compare", "run", "run"], ["--name", "run", "--seeds", "1", "--dry-run"]])


@pytest.mark.parametrize("number", range(FILES))
def test_every_malformed_file_is_a_result_or_one_sentence(number, capsys):
    check(malformed(number), capsys)


# --- damages


def damage(number, run, outside):
    """Damages one file or folder of a run, in one of many ways."""
    rng = random.Random(f"damage {number}")
    files = sorted(path for path in run.rglob("*") if path.is_file())
    path = rng.choice(files)
    text = bytearray(path.read_bytes())
    kind = number % 12
    if kind == 0:
        path.write_bytes(text[: rng.randrange(len(text))])
    elif kind == 1:
        for _ in range(rng.randrange(1, 30)):
            text[rng.randrange(len(text))] ^= 1 << rng.randrange(8)
        path.write_bytes(text)
    elif kind == 2:
        path.unlink()
    elif kind == 3:
        shutil.rmtree(path.parent if path.parent != run else run / "parts")
    elif kind in (4, 5, 6):
        path.unlink()
        hostile.NO_FILES[sorted(hostile.NO_FILES)[number // 12 % len(hostile.NO_FILES)]](path)
    elif kind == 7:
        path.unlink()
        path.symlink_to(outside / "file")
    elif kind == 8:
        folder = run / rng.choice(["parts", "charts", "representations", "damaged", "figures"])
        if folder.exists():
            shutil.rmtree(folder)
        folder.symlink_to(rng.choice([outside, folder.name, run]))
    elif kind == 9:
        target = run / rng.choice(
            [".lock", ".finished", "report.html", "leaderboard.md", "trials.csv", "damaged", "figures", "synergy.md"]
        )
        rng.choice(
            [
                *hostile.NO_FILES.values(),
                lambda path: path.symlink_to(outside / "file"),
                lambda path: path.symlink_to(outside / "new"),
            ]
        )(target)
    elif kind == 10:
        path.write_bytes(rng.choice(JSONS))
    else:
        path.chmod(0)
        run.chmod(rng.choice([0o500, 0o700]))
    return path


@pytest.mark.parametrize("number", range(DAMAGES))
def test_every_damage_of_a_runs_folder_is_a_result_or_one_sentence(number, capsys, tmp_path):
    run = Path("results/runs/run")
    damage(number, run.absolute(), tmp_path / "outside")
    check(["--name", "run", "--seeds", "1", "--methods", "vae", "--dry-run"], capsys)
    check(["compare", "run", "run", "--out", "made/out"], capsys)
    code = check(["report", "run"], capsys)
    if code == 0:
        assert (run / "report.html").is_file() and "\x1b" not in (run / "leaderboard.md").read_text()
    with contextlib.suppress(OSError, ValueError), limited():  # as a resumed run does; a UsageError is a ValueError
        store = Store(run)
        with store.lock():
            store.finished()
            store.plan([])
            store.write_chart("new", {"a": np.zeros(2)})
            store.write_pack("new", [], {"a.z": np.zeros((2, 2))})


def test_the_folders_of_these_tests_tell_what_was_written_from_what_was_there(tmp_path):
    before = snapshot(tmp_path)
    Path("made/a").write_text(json.dumps({}))
    assert snapshot(tmp_path) != before and snapshot(tmp_path, [tmp_path / "here" / "made"]) != {}
