"""What holds along every ladder: its corners differ in what they assume, and in nothing else."""

import dataclasses

import pytest
import torch

from bench.registry import CORNERS
from methods import Batch, Shape, methods, nets

SHAPE = Shape(n_observed=4, n_latents=2, n_domains=3)
LADDERS = {
    ladder: {entry.facts.corner: entry for entry in methods if entry.facts.ladder == ladder}
    for ladder in sorted({entry.facts.ladder for entry in methods} - {""})
}
PRIORS = (
    "prior.",
    "prior_",
    "flow.affine",
    "flow.s",
    "base.",
    "discriminator.",
)  # parts that see the domain, or a constant
WEIGHED = [
    name
    for name in methods.names()
    if "alpha" in methods[name].fields and methods[name].facts.ladder in ("VAE", "iVAE", "GAN")
]


def numbers():
    generator = torch.Generator().manual_seed(0)
    return nets.Rng(torch.randn(10_000, generator=generator).double(), torch.rand(10_000, generator=generator).double())


def bent_model(method):
    """A model none of whose parts is linear or constant."""
    torch.manual_seed(0)
    model = method.build(SHAPE).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def batch(n=16):
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(1)).double()
    return Batch(x, torch.eye(3).double()[torch.arange(n) % 3], x[:, :0])


@pytest.mark.parametrize("ladder", LADDERS)
def test_the_corners_of_a_ladder_share_all_parts_and_fields_but_those_of_their_two_assumptions(ladder):
    corners = LADDERS[ladder]
    assert set(corners) == set(CORNERS)
    fields = {corner: entry.defaults for corner, entry in corners.items()}
    of_sparsity = set(fields["sparsity"]) - set(fields["neither"])
    of_changes = set(fields["changes"]) - set(fields["neither"])
    assert of_sparsity and not of_sparsity & of_changes
    assert fields["both"] == fields["changes"] | {name: fields["sparsity"][name] for name in of_sparsity}
    assert fields["neither"] == {name: fields["both"][name] for name in fields["neither"]}
    shapes = {}
    for corner, entry in corners.items():
        state = entry.make({}).build(SHAPE).state_dict()
        shapes[corner] = {name: value.shape for name, value in state.items() if not name.startswith(PRIORS)}
    assert shapes["neither"] and all(shape == shapes["neither"] for shape in shapes.values())


@pytest.mark.parametrize("ladder", LADDERS)
@pytest.mark.parametrize("corner", CORNERS)
def test_the_loss_of_a_corner_depends_on_the_domain_beside_its_encoder_only_if_it_assumes_changes(ladder, corner):
    method = LADDERS[ladder][corner].make({"width": 8})
    model, data = bent_model(method), batch()
    if hasattr(model, "encoder") and hasattr(model.encoder, "shift"):
        torch.nn.init.zeros_(model.encoder.shift)  # the encoder of every corner sees the domain
    losses = [
        method.loss(model, data._replace(u=torch.eye(3).double()[[domain] * 16]), numbers()).item() for domain in (0, 1)
    ]
    assert (losses[0] != losses[1]) == ("changes" in LADDERS[ladder][corner].cls.assumes)


@pytest.mark.parametrize("name", WEIGHED)
def test_the_sparsity_term_weighs_alpha_in_loss_and_objective(name):
    method = methods[name].make({"width": 8, "alpha": 0.1})
    free, greater = (dataclasses.replace(method, alpha=alpha) for alpha in (0.0, 0.5))
    model, data = bent_model(method), batch()
    for term in ("loss", "objective"):
        without, weighed, five_times = (
            getattr(own, term)(model, data, numbers()).item() for own in (free, method, greater)
        )
        assert weighed > without and five_times - without == pytest.approx(5 * (weighed - without), rel=1e-9)
