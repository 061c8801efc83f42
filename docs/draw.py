"""Draws the pictures of README.md and docs/data.md into docs/figures: run from the root as `python docs/draw.py`."""

import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.report.figures import WIDTH, setting  # noqa: E402
from bench.report.figures.looks import KNOWN, LINES  # noqa: E402
from bench.report.results import Results, gather, score_array  # noqa: E402
from bench.run.store import Store  # noqa: E402
from bench.scores.statistics import mean_interval  # noqa: E402
from datasets.coloured_digits import ColouredDigits  # noqa: E402
from datasets.latents import FAMILIES, draw_sources  # noqa: E402
from datasets.sparse_mixing import SparseMixing  # noqa: E402
from datasets.sprites import Scene, Sprites  # noqa: E402

OUT = ROOT / "docs" / "figures"
SEED = np.random.SeedSequence(0, spawn_key=(0, 0))


def save(figure: Figure, name: str) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT / f"{name}.png", dpi=200)


def overview() -> None:
    """The picture of the README: what changes, how sparse the mixing is, and what the VAE ladder recovers in the reference results."""
    figure = Figure(figsize=(6.4, 2.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.0, 0.75, 1.35))
    z = np.linspace(-6, 6, 801)
    sources = draw_sources(np.random.SeedSequence(3), 3, 3, np.ones(1, bool), family="gaussian")
    for u in range(3):
        left.plot(z, density(sources.derivatives(z[:, None])[0][u, :, 0], z), linewidth=1.2, label=f"domain {u + 1}")
    left.set(title="Latents change by domain", xlabel="one latent", ylabel="density", yticks=[])
    left.legend(frameon=False, fontsize=6.5, handlelength=1, borderpad=0)
    middle.imshow(SparseMixing().draw_support(SEED), cmap="Greys", vmin=0, vmax=1.3)
    middle.set(title="Sparse mixing", xlabel="latents", ylabel="observed variables")
    middle.set_xticks(np.arange(3) + 0.5, [])
    middle.set_yticks(np.arange(7) + 0.5, [])
    middle.tick_params(length=0)
    middle.grid(color="0.7", linewidth=0.4)
    recovered(right)
    save(figure, "overview")


def few_domains() -> None:
    """What is recovered, alone, for a slide."""
    figure = Figure(figsize=(4.6, 2.6), layout="constrained")
    recovered(figure.subplots())
    save(figure, "few_domains")
    figure.savefig(OUT / "few_domains.pdf", metadata={"CreationDate": None})


def recovered(right: Axes) -> None:
    """What the VAE ladder recovers in the reference results, against the number of domains."""
    results = gather([Store(ROOT / "results" / "reference")])
    for place, (method, what, corner) in enumerate(LADDER):
        domains, mean, low, high = without_violation(results, method)
        colour, marker = KNOWN[method]
        x = domains + 0.08 * (place - 1.5)  # intervals side by side
        right.plot(x, mean, color=colour, linestyle=LINES[corner], marker=marker, markersize=4, label=what)
        right.vlines(x, low, high, color=colour, linewidth=0.9)
    for method, what, line in (("supervised", "ceiling (supervised)", "-"), ("identity", "floor (identity)", ":")):
        domains, mean, _, _ = without_violation(results, method)
        right.plot(domains, mean, color="0.45", linewidth=0.9, linestyle=line, label=what)
    right.set(title="What is recovered", xlabel="number of domains", ylabel="MCC (Spearman)", ylim=(0.68, 1.02))
    right.set_xticks([2, 3, 5, 9])
    right.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


LADDER = (  # methods of one backbone by what they assume, the most first
    ("synergy-vae", "both assumptions\n(synergy-vae)", "both"),
    ("flow-vae", "changes\n(flow-vae)", "changes"),
    ("sparse-vae", "sparse mixing\n(sparse-vae)", "sparsity"),
    ("vae", "neither\n(vae)", "neither"),
)


def without_violation(results: Results, method: str) -> tuple[np.ndarray, ...]:
    """The numbers of domains, and the mean score with its 95 % interval at each, of a method where no latent violates sparsity."""
    trials = results.trials
    own = score_array(trials[(trials["label"] == method) & (trials["violation"] == 0)], ["domains"])
    mean, low, high, _ = mean_interval(own.values[0], bounds=results.headline.range)
    return own.cells["domains"].to_numpy(), mean, low, high


def supports() -> None:
    """The support of one seed along each dial."""
    cases = [
        ("violation 0", {}),
        ("violation 0.5", {"violation": 0.5}),
        ("violation 0.75", {"violation": 0.75}),
        ("violation 0.5,\ntwins 0.5", {"violation": 0.5, "twins": 0.5}),
        ("violation 0.5,\nshadow size 2", {"violation": 0.5, "shadow_size": 2}),
        ("density 0", {"density": 0.0}),
        ("density 1", {"density": 1.0}),
    ]
    figure = Figure(figsize=(WIDTH, 2.0), layout="constrained")
    for axes, (title, fields) in zip(figure.subplots(1, len(cases)), cases, strict=True):
        axes.imshow(SparseMixing(**fields).draw_support(SEED), cmap="Greys", vmin=0, vmax=1.3)
        axes.set_title(title, fontsize=7)
        axes.set_xticks(np.arange(3) + 0.5, [])
        axes.set_yticks(np.arange(7) + 0.5, [])
        axes.tick_params(length=0)
        axes.grid(color="0.7", linewidth=0.4)
        axes.set_xlabel("latents", fontsize=7)
    figure.axes[0].set_ylabel("observed variables", fontsize=7)
    save(figure, "supports")


def changes() -> None:
    """Densities of one latent in five domains, by what changes and by the family of the sources."""
    cases = [
        ("both", {"family": "gaussian"}),
        ("mean", {"family": "gaussian", "changes": "mean"}),
        ("scale", {"family": "gaussian", "changes": "scale"}),
        ("shape", {"family": "skewed", "changes": "shape"}),
        ("strength 0.25", {"family": "gaussian", "strength": 0.25}),
    ]
    figure = Figure(figsize=(WIDTH, 2.5), layout="constrained")
    top, bottom = figure.subfigures(2, 1)
    z = np.linspace(-6, 6, 801)
    for axes, (title, fields) in zip(top.subplots(1, len(cases), sharey=True), cases, strict=True):
        sources = draw_sources(SEED, 3, 5, np.ones(1, bool), **fields)
        for u in range(5):
            axes.plot(z, density(sources.derivatives(z[:, None])[0][u, :, 0], z), linewidth=0.8)
        axes.set(title=title, yticks=[])
    top.axes[0].set_ylabel("density, 5 domains")
    e = np.linspace(-3.5, 3.5, 801)
    for axes, (name, family) in zip(bottom.subplots(1, len(FAMILIES)), FAMILIES.items(), strict=True):
        slope = family.slope(e[:, None], np.array([family.shape]))[:, 0]
        axes.fill_between(e, density(slope, e), color="#0072B2", alpha=0.3, linewidth=0)
        axes.set(title=name, yticks=[])
    bottom.axes[0].set_ylabel("standard density")
    save(figure, "changes")


def density(slope: np.ndarray, z: np.ndarray) -> np.ndarray:
    """At the points `z`, from the slope of its logarithm there."""
    log_density = np.concatenate([[0], np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(z))])
    values = np.exp(log_density - log_density.max())
    return values / np.trapezoid(values, z)


def mixings() -> None:
    """One observed variable against one of its latents, by the size of the nonlinear part."""
    figure = Figure(figsize=(WIDTH, 1.5), layout="constrained")
    cases = [(kind, size) for kind, size in (("masked-mlp", 0.0), ("masked-mlp", 0.5), ("masked-mlp", 1.0), ("additive", 1.0), ("polynomial", 0.5))]  # fmt: skip
    z = np.zeros((200, 4))
    for axes, (kind, size) in zip(figure.subplots(1, len(cases), sharey=True), cases, strict=True):
        mixing = SparseMixing(mixing=kind, nonlinearity=size).draw_mixing(SEED)
        for latent in range(4):
            z[:] = 0
            z[:, latent] = np.linspace(-4, 4, 200)
            row = int(np.argmax(mixing.support[:, latent]))
            axes.plot(z[:, latent], mixing(z)[:, row], linewidth=0.9)
        axes.set(title=f"{kind} {size:g}", xlabel="latent")
    figure.axes[0].set_ylabel("observed")
    save(figure, "mixings")


def sprites() -> None:
    """What each latent of a scene moves: the pixels that depend on it, and pictures along it, the others at 0. Below, two domains."""
    dataset = Sprites(domains=2, pixels=24, violation=0.5, twins=0.5, n_samples=100)
    instance = dataset.generate(SEED)
    scene: Scene = dataset.draw_mixing(SEED)
    steps = np.linspace(-4, 4, 7)
    figure = Figure(figsize=(WIDTH, 4.5), layout="constrained")
    axes = figure.subplots(6, 1 + len(steps))
    of_pixels = scene.support.reshape(*dataset.image, -1)[0]
    for latent in range(4):
        axes[latent, 0].imshow(of_pixels[..., latent], cmap="Greys", vmin=0, vmax=1.3)
        axes[latent, 0].set_ylabel(f"latent {latent}")
        for ax, x in zip(axes[latent, 1:], scene(steps[:, None] * np.eye(4)[latent]), strict=True):
            show(ax, x, dataset.image)
    for u in range(2):
        axes[4 + u, 0].set_ylabel(f"domain {u}")
        drawn = instance.train.x[instance.train.domains == u]
        for ax, x in zip(axes[4 + u], drawn, strict=False):
            show(ax, x, dataset.image)
    axes[0, 0].set_title("moves", fontsize=7)
    for ax, step in zip(axes[0, 1:], steps, strict=True):
        ax.set_title(f"{step:.2g}", fontsize=7)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
    save(figure, "sprites")


def digits() -> None:
    """Coloured digits of two domains in the two-colour set-up, and of two domains in which every style changes."""
    every = dict.fromkeys(("thickness", "slant", "rotation", "brightness"), "changes")
    cases = [("two colours", {}), ("every dial changes", {"two_colour": False, **every})]
    figure = Figure(figsize=(WIDTH, 2.1), layout="constrained")
    grid = figure.subplots(2, 2)
    for column, (title, fields) in zip(grid.T, cases, strict=True):
        made = ColouredDigits(n_samples=500, **fields)
        split = made.generate(SEED).train
        for domain, axes in enumerate(column):
            own = split.x[split.domains == domain][:10].reshape(2, 5, *made.image)
            axes.imshow(own.transpose(0, 3, 1, 4, 2).reshape(2 * made.size, 5 * made.size, 3))
            axes.set(xticks=(), yticks=())
            axes.set_ylabel(f"domain {domain}", fontsize=7)
        column[0].set_title(title, fontsize=7)
    save(figure, "coloured_digits")


def show(axes: Axes, x: np.ndarray, shape: tuple[int, int, int]) -> None:
    """Draws one flat picture, its lights brighter by half."""
    axes.imshow((1.5 * x.reshape(shape).transpose(1, 2, 0)).clip(0, 1))


if __name__ == "__main__":
    with setting():
        overview()
        few_domains()
        supports()
        changes()
        mixings()
        sprites()
        digits()
