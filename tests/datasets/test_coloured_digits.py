"""Coloured digits: which digits are held out, what a domain decides, what is drawn, and which files are read."""

import gzip
import struct

import numpy as np
import pytest
from matplotlib.colors import rgb_to_hsv
from scipy import stats

from bench.files import named_by
from bench.registry import UsageError
from datasets import coloured_digits, datasets, digits

SMALL = {"n_samples": 600, "size": 14}


def made(**fields):
    return datasets["coloured-digits"].make(SMALL | fields)


def pixels(split, size=14):
    return split.x.reshape(-1, 3, size, size)


def ink_of(split):
    """The strokes without their colours, where each point has a coloured stroke on black or a white one on a colour."""
    image = pixels(split)
    stroke = image.max(1)
    white = np.isnan(split.style[:, 0])
    stroke[white] = image[white].min(1)
    return stroke


def idx(array):
    return struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, n, pack in (("train", 500, gzip.compress), ("t10k", 300, bytes)):
        suffix = ".gz" if pack is gzip.compress else ""
        (tmp_path / f"{name}-images-idx3-ubyte{suffix}").write_bytes(pack(idx(rng.integers(0, 256, (n, 14, 14)))))
        (tmp_path / f"{name}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(np.arange(n) % 10)))
    (tmp_path / "README").write_text("no pictures")
    return tmp_path


def test_digits_that_are_held_out_are_never_trained_on():
    instance = made(n_samples=2000).generate(0)
    drawn = [
        {ink.round(3).tobytes() for ink in ink_of(s)} for s in (instance.train, instance.validation, instance.test)
    ]
    assert not drawn[0] & drawn[1] and not drawn[0] & drawn[2] and not drawn[1] & drawn[2]
    # Of 1,797 digits, some of which are equal at this size, three fifths are trained on.
    assert 1000 < len(drawn[0]) <= 1078


def test_domains_and_digits_come_in_equal_numbers():
    split = made(domains=3).generate(1).train
    assert np.bincount(split.domains).tolist() == [200, 200, 200]
    assert np.bincount(split.content).min() > 45


def test_in_the_two_colour_set_up_the_stroke_has_a_colour_in_one_domain_and_the_ground_in_the_other():
    split = made().generate(0).test
    image, first = pixels(split), split.domains == 0
    assert np.isnan(split.style[first, 1]).all() and np.isnan(split.style[~first, 0]).all()
    assert not np.isnan(split.style[first, 0]).any() and not np.isnan(split.style[~first, 1]).any()
    corner, brightest = image[:, :, 0, 0], image.reshape(len(image), 3, -1).min(1).max(1)
    assert (corner[first] == 0).all() and (corner[~first].max(1) > 0.5).all()
    assert (brightest[~first] > 0.9).all()  # the stroke is white there


@pytest.mark.parametrize("part, domain", [("stroke", 0), ("ground", 1)])
def test_a_style_is_the_hue_that_another_library_sees(part, domain):
    split = made().generate(0).test
    rows = split.domains == domain
    image = pixels(split)[rows].transpose(0, 2, 3, 1)
    seen = rgb_to_hsv(np.clip(image, 0, 1))[:, 0, 0, 0]
    if part == "stroke":
        hsv = rgb_to_hsv(np.clip(image, 0, 1)).reshape(len(image), -1, 3)
        seen = hsv[np.arange(len(hsv)), hsv[:, :, 2].argmax(1), 0]
    np.testing.assert_allclose(seen, split.style[rows, domain] * 5 / 6, atol=2e-3)


def test_a_style_that_changes_has_the_distribution_of_its_domain_and_one_that_varies_the_same_everywhere():
    fields = made(n_samples=20_000, domains=2, two_colour=False, ground="varies", size=8)
    split = fields.generate(3).train
    for domain in range(2):
        rows = split.domains == domain
        first, second = fields.distribution(3, "stroke", domain)
        assert stats.kstest(split.style[rows, 0], stats.beta(first, second).cdf).pvalue > 0.01
        assert stats.kstest(split.style[rows, 1], stats.beta(2, 2).cdf).pvalue > 0.01
    assert stats.ks_2samp(*(split.style[split.domains == u, 0] for u in range(2))).pvalue < 1e-6


def test_a_domain_keeps_its_styles_when_there_are_more():
    assert made(domains=2).distribution(0, "stroke", 1) == made(domains=5).distribution(0, "stroke", 1)


@pytest.mark.parametrize("dependence", [0.0, 0.6])
def test_the_dependence_is_the_correlation_of_a_style_with_the_digit(dependence):
    fields = made(n_samples=8000, two_colour=False, stroke="varies", ground="fixed", dependence=dependence, size=8)
    split = fields.generate(0).train
    scores = stats.norm.ppf(stats.beta(2, 2).cdf(split.style[:, 0]))
    assert np.corrcoef(scores, split.content)[0, 1] == pytest.approx(dependence, abs=0.03)


@pytest.mark.parametrize("dial", ["thickness", "slant", "rotation", "brightness"])
def test_every_dial_changes_the_picture_and_a_fixed_one_has_no_column(dial):
    fixed, varied = (
        made(two_colour=False, stroke="fixed", ground="fixed", **{dial: kind}) for kind in ("fixed", "varies")
    )
    assert fixed.styles == () and varied.styles == (dial,)
    plain, other = fixed.generate(0).train, varied.generate(0).train
    assert plain.style.shape == (600, 0) and other.style.shape == (600, 1)
    image, style = pixels(other).mean(1), other.style[:, 0]
    rows, columns = np.mgrid[:14, :14] - 6.5
    mass = image.sum((1, 2))
    if dial in ("thickness", "brightness"):
        background = image[:, 0, 0]
        told = (image - background[:, None, None]).sum((1, 2)) if dial == "thickness" else background
    else:
        ink = np.abs(image - image[:, :1, :1])
        mass = ink.sum((1, 2)) + 1e-9
        row, column = ((ink * axis).sum((1, 2)) / mass for axis in (rows, columns))
        moved = (ink * (rows - row[:, None, None]) * (columns - column[:, None, None])).sum((1, 2)) / mass
        told = moved
    assert abs(stats.spearmanr(told, style)[0]) > 0.3
    assert np.abs(pixels(plain) - pixels(other)).max() > 0.1


def test_files_of_idx_are_read_gzipped_or_not(folder):
    found = digits.of_files(tuple(named_by(f"{folder}/{coloured_digits.FILES}")))
    assert found.ink.shape == (800, 14, 14) and found.ink.max() == 1 and found.ink.min() == 0
    assert found.labels.tolist() == [*(np.arange(300) % 10), *(np.arange(500) % 10)]
    fields = made(folder=str(folder))
    assert fields.fingerprint == found.fingerprint != made().fingerprint
    assert fields.generate(0).train.x.shape == (600, 3 * 14 * 14)


def broken(folder, name, content):
    (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    "harm, says",
    [
        (lambda f: broken(f, "t10k-images-idx3-ubyte", b"PK"), "is no IDX file of pictures"),
        (lambda f: broken(f, "t10k-images-idx3-ubyte", struct.pack(">4I", 0x803, 2**31, 2**31, 2**31)), "and holds 0"),
        (lambda f: broken(f, "t10k-labels-idx1-ubyte", idx(np.arange(7))), "has 300 pictures, and .* 7 labels"),
        (lambda f: broken(f, "train-images-idx3-ubyte.gz", gzip.compress(bytes(range(256)))[:40]), "cannot be read"),
        (lambda f: broken(f, "t10k-images-idx3-ubyte", idx(np.zeros((300, 9, 9)))), "are not of one size"),
        (lambda f: (f / "t10k-labels-idx1-ubyte").unlink(), "needs files of pictures with those of their labels"),
    ],
)
def test_files_that_are_none_are_one_sentence(folder, harm, says):
    harm(folder)
    with pytest.raises(UsageError, match=says):
        made(folder=str(folder)).generate(0)


def test_a_folder_without_such_files_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match="no file there is called"):
        made(folder=str(tmp_path))
