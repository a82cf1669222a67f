"""Which weights decay, and how a folder says that its model was made."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from patchclamp.core.errors import PatchclampError


def read_training(folder: Path) -> dict[str, Any]:
    """Return seed, steps and the rest of a recipe, from a trained folder's recipe.json or its card.json.

    Raises:
        PatchclampError: neither is there.
    """
    for file, key in (("recipe.json", None), ("card.json", "training")):
        if (folder / file).is_file():
            read: dict[str, Any] = json.loads((folder / file).read_text(encoding="utf-8"))
            return read if key is None else read[key]
    raise PatchclampError(
        expected="recipe.json or card.json, which say how the model was trained",
        got=f"{folder}, without either",
        remedy="`patchclamp organism train NAME --out DIR` writes it.",
    )


def weight_decay_groups(parameters: Sequence[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """Return an optimizer's groups: matrices and kernels, whose weights decay, and the rest, whose weights do not."""
    heavy = [p for p in parameters if p.ndim > 1]
    light = [p for p in parameters if p.ndim <= 1]
    return [{"params": heavy, "weight_decay": decay}, {"params": light, "weight_decay": 0.0}]
