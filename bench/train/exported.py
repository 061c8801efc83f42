"""A model as files that run without this project: `torch.export` archives of encoder and decoder, and what must be known to use them."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import torch
from torch import nn

from bench.text import markdown
from bench.train.models import Model

POINTS = torch.export.Dim("points", min=1)


def files(model: Model, row: dict[str, Any]) -> dict[str, bytes]:
    """The files of an export, by name. `row` is the trial's."""
    n_observed = math.prod(model.x_shape)
    points = [torch.zeros(2, n_observed, dtype=torch.float64), torch.zeros(2, dtype=torch.int64)]
    points += [torch.zeros(2, model.n_u, dtype=torch.float64)] * bool(model.n_u)
    found = {"encoder.pt2": _archive(model.encoder, *points)}
    if model.decoder is not None:
        found["decoder.pt2"] = _archive(model.decoder, torch.zeros(2, model.n_latents, dtype=torch.float64))
    facts = _facts(model, row)
    text = json.dumps(facts, indent=2) + "\n"
    return found | {"model.json": text.encode(), "README.md": _readme(facts, model.decoder is not None).encode()}


def _archive(module: nn.Module, *inputs: torch.Tensor) -> bytes:
    """`module` as an archive that takes any number of points."""
    program = torch.export.export(module, inputs, dynamic_shapes=tuple({0: POINTS} for _ in inputs))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names files of this machine
    content = io.BytesIO()
    torch.export.save(program, content)
    return content.getvalue()


def _facts(model: Model, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "method": row["method"],
        "trial_id": row["trial_id"],
        "dataset": row["dataset"],
        "torch": torch.__version__.split("+")[0],
        "n_latents": model.n_latents,
        "x_shape": list(model.x_shape),
        "columns": list(model.columns),
        "domains": list(model.labels),
        "n_u": model.n_u,
        "u_columns": list(model.u_columns),
    }


def _readme(facts: dict[str, Any], has_decoder: bool) -> str:
    n_observed, n_latents, n_u = math.prod(facts["x_shape"]), facts["n_latents"], facts["n_u"]
    order = ""
    numbers = f", torch.zeros(10, {n_u}, dtype=torch.float64)" if n_u else ""
    of_u = f", the columns {', '.join(map(markdown, facts['u_columns']))}, in this order" if facts["u_columns"] else ""
    third = f"""
- the numbers u (n, {n_u}), float64, in the units of the data{of_u}, on which its latents depend beside the domain; it standardises them itself.
"""
    if facts["columns"]:
        order = f", the columns {', '.join(map(markdown, facts['columns']))}, in this order"
    elif len(facts["x_shape"]) > 1:
        order = f", each a point of the shape {tuple(facts['x_shape'])}, flattened in C order"
    domains = "\n".join(f"| {place} | {markdown(label)} |" for place, label in enumerate(facts["domains"]))
    decoder = f"""
`decoder.pt2` takes latents (n, {n_latents}), float64, and gives points (n, {n_observed}), float64, in the same units as the encoder takes.
"""
    use = """
    decoder = torch.export.load("decoder.pt2").module()
    x = decoder(z)
"""
    return f"""# {markdown(facts["method"])}, trial {facts["trial_id"]}

`encoder.pt2` takes {"three" if n_u else "two"} tensors and gives the estimated latents (n, {n_latents}), float64:

- points (n, {n_observed}), float64, in the units of the data that it was trained on{order}; it standardises them itself;
- the number of each point's domain (n,), int64:

| number | domain |
|---|---|
{domains}
{third if n_u else ""}{decoder if has_decoder else ""}
The archives are made by `torch.export` of torch {facts["torch"]} and need torch alone. Any number of points can be given at a time.

    import torch

    encoder = torch.export.load("encoder.pt2").module()
    z = encoder(torch.randn(10, {n_observed}, dtype=torch.float64), torch.zeros(10, dtype=torch.int64){numbers})
{use if has_decoder else ""}
`model.json` says the same for programs.
"""
