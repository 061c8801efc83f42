"""What can be kept of a trial beside its row and its first test points: its model, and the estimated latents of every point.

What is kept travels as arrays named `KIND/NAME`, as `models/weights/encoder.shift`, with those of the trial's first test points. A model is
in `bench.train.models`; here is what needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets import Instance
from datasets.points import PARTS

if TYPE_CHECKING:
    import pandas as pd

MODELS, LATENTS = "models", "latents"  # also the folders of a run that they are in
KINDS = (MODELS, LATENTS)
LATENT = "z_hat_{}"  # name of the column of an estimated latent


def named(kind: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same arrays, named as something of this kind."""
    return {f"{kind}/{name}": array for name, array in arrays.items()}


def kind_of(name: str) -> str:
    """The kind of an array called `KIND/NAME`; nothing for one of a trial's first test points."""
    return name.partition("/")[0] if "/" in name else ""


def text_of(facts: Any) -> np.ndarray:
    """Facts that JSON can hold as an array, which an .npz file can."""
    return np.array(json.dumps(facts))


def facts_of(array: np.ndarray) -> Any:
    """What `text_of` made an array of. Raises ValueError where it is none."""
    return json.loads(str(array))


def labels_of(instance: Instance) -> list[str]:
    """The labels of the domains, in their order: their numbers where they have no other."""
    return list(instance.labels or map(str, range(instance.n_domains)))


def latents_of(instance: Instance, estimates: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Estimated latents of all points as arrays, from those of train, validation and test, (n_samples, n_estimated) each."""
    splits = [getattr(instance, part) for part in PARTS]
    rows = [np.arange(len(split.x)) if split.rows is None else split.rows for split in splits]
    return {
        "z_hat": np.concatenate(estimates),
        "split": np.repeat(np.arange(len(PARTS)), [len(split.x) for split in splits]),
        "row": np.concatenate(rows),
        "domain": np.concatenate([split.domains for split in splits]),
        "facts": text_of({"labels": labels_of(instance), "path": instance.path}),
    }


def table_of(arrays: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """What `latents_of` gives as a table, a row per point: split, row, domain by its label, and z_hat_0, z_hat_1, ...

    `row` is the point's place in the user's file, from 0, whose path is the column `file`; of data that are drawn, in its own split.
    """
    import pandas as pd

    facts = facts_of(arrays["facts"])
    columns: dict[str, Any] = {"file": pd.Categorical([facts["path"]] * len(arrays["row"]))} if facts["path"] else {}
    columns |= {
        "row": arrays["row"].astype(np.int64),
        "split": pd.Categorical.from_codes(arrays["split"], list(PARTS)),
        "domain": pd.Categorical.from_codes(arrays["domain"], facts["labels"]),
    }
    columns |= {LATENT.format(place): latent for place, latent in enumerate(arrays["z_hat"].T)}
    table = pd.DataFrame(columns)
    return table.sort_values("row", kind="stable", ignore_index=True) if facts["path"] else table
