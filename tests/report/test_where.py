import numpy as np
import pandas as pd
import pytest

from bench.registry import UsageError
from bench.report.where import select

TRIALS = pd.DataFrame(
    {
        "method": ["vae", "vae", "ivae", "pca", "pca"],
        "domains": [2, 3, 4, 5, 9],
        "violation": [0.0, 0.5, 0.5, 1.0, 1.0],
        "twins": [None, 0.5, None, 0.5, 1.0],
        "mask": [True, False, None, None, None],
        "alpha": [np.nan, 0.1, -0.1, np.nan, np.nan],
        "per_latent": [[0.1, 0.2], [0.3, 0.4], None, [0.5], [0.6]],
        "mixed": [0.1, "l1", "l1", None, 0.1],
        "nothing": [None] * 5,
    }
)


def places(where):
    return select(TRIALS.assign(place=range(5)), where).place.tolist()


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("domains <= 3", [0, 1]),
        ("3 >= domains", [0, 1]),
        ("2 < domains < 9", [1, 2, 3]),
        ("2 < domains <= 9 != domains", [1, 2, 3]),
        ("method == 'vae'", [0, 1]),
        ('method != "vae"', [2, 3, 4]),
        ("method in ['vae', 'ivae'] and violation == .5", [1, 2]),
        ("method not in ('vae', 'ivae')", [3, 4]),
        ("domains in {2, 9}", [0, 4]),
        ("domains in [2, 9] or not method == 'pca'", [0, 1, 2, 4]),
        ("not (domains < 4 or violation >= 1)", [2]),
        ("twins == none", [0, 2]),
        ("twins != None", [1, 3, 4]),
        ("twins in [none, 1]", [0, 2, 4]),
        ("twins not in [none, 1]", [1, 3]),
        ("twins < 2", [1, 3, 4]),  # a missing value is neither smaller nor greater
        ("twins != 1", [0, 1, 2, 3]),  # but it is another
        ("alpha == -0.1", [2]),
        ("alpha > --0.05", [1]),
        ("mask == true", [0]),
        ("mask == False", [1]),
        ("nothing == none", [0, 1, 2, 3, 4]),
        ("  domains\t==  2 ", [0]),
        ("domains < 1e400", [0, 1, 2, 3, 4]),
        (f"domains < {10**400}", [0, 1, 2, 3, 4]),
    ],
)
def test_a_condition_holds_where_python_says_so(where, expected):
    assert places(where) == expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("domain <= 4", "no field 'domain'; did you mean 'domains'?"),
        ("domains > 99", "holds for none of the 5 trials"),
        ("domains in []", "holds for none of the 5 trials"),
        ("domains", "is no condition"),
        ("true", "is no condition"),
        ("domains = 4", "cannot be read"),
        ("domains <=", "cannot be read"),
        ("", "cannot be read"),
        ("domains < 3; domains", "cannot be read"),
        ("domains < 3\nmethod", "cannot be read"),
        ("domains < 3\0", "cannot be read"),
        ("(" * 5000 + "domains < 3" + ")" * 5000, "cannot be read"),
        ("not " * 50_000 + "domains < 3", "cannot be read"),
        ("method > 3", "method holds texts, and 3 is none; write as method == '3'"),
        ("method in ['vae', 3]", "method holds texts"),
        ("domains == 'two'", "domains holds numbers, and 'two' is none"),
        ("mixed == 0.1", "mixed holds texts and numbers"),
        ("per_latent == 0.1", "per_latent holds a list"),
        ("per_latent == none", "per_latent holds a list"),
        ("twins < none", "none is neither smaller nor greater"),
        ("twins is none", "write twins == none"),
        ("method in 'vae'", "`'vae'` is no list"),
        ("method in domains", "is no list"),
        ("domains < violation", "`violation` is no constant"),
        ("2 < 3", "`2` is no column"),
        ("2 < 3 < domains", "`2` is no column"),
        ("domains < 2j", "is no constant"),
        ("domains < 1 + 1", "is no constant"),
        ("domains + 1 < 3", "is no column"),
        ("method == b'vae'", "is no constant"),
        ("domains == ...", "is no constant"),
        ("domains == [2]", "is no constant"),
        ("(domains < 3) & (violation < 1)", "compare columns with constants"),
        ("~(domains < 3)", "compare columns with constants"),
        ("-domains < 3", "is no column"),
        ("domains if domains < 3 else 1", "is no condition"),
        ("lambda: domains < 3", "is no condition"),
        ("[domains for domains in [1]]", "is no condition"),
        ("f'{domains}' == '2'", "is no column"),
        ("(x := domains) < 3", "is no column"),
        ("domains[0] == 2", "is no column"),
        ("@domains == 2", "cannot be read"),
    ],
)
def test_anything_else_is_refused_with_a_sentence_that_says_what_is_wrong(where, message):
    with pytest.raises(UsageError) as refused:
        select(TRIALS, where)
    text = str(refused.value)
    assert message in text and text.startswith("--where ") and "Traceback" not in text


@pytest.mark.parametrize(
    "where",
    [
        "domains.to_csv('{file}')",
        "domains.to_csv('{file}') == none",
        "domains == domains.to_csv('{file}')",
        "domains in [domains.to_csv('{file}')]",
        "domains < 3 and domains.to_csv('{file}')",
        "not domains.to_csv('{file}')",
        "__import__('os').system('touch {file}') == 0",
        "domains == __import__('os').system('touch {file}')",
        "().__class__.__base__.__subclasses__() == 1",
        "open('{file}', 'w') == none",
        "@pd.io.common.os.system('touch {file}') == 0",
    ],
)
def test_nothing_is_executed(where, tmp_path):
    file = tmp_path / "written"
    with pytest.raises(UsageError):
        select(TRIALS, where.replace("{file}", str(file)))
    assert not file.exists()
