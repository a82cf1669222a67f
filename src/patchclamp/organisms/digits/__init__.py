"""A small vision transformer and a small convolutional network that read handwritten digits.

The images are scikit-learn's 1,797 digits of 8 x 8 pixels. They do not ship: ``digits:17`` asks scikit-learn for one.
"""

import json
from pathlib import Path
from typing import Any

from patchclamp.core.checks import one_of
from patchclamp.core.task import Case, Task
from patchclamp.organisms.digits.cards import evaluate, write_card
from patchclamp.organisms.digits.train import NAMES, STEPS, Recipe, split, train
from patchclamp.subjects import images
from patchclamp.subjects.loading import load_vision_model
from patchclamp.subjects.vision import VisionModel

__all__ = ["STEPS", "Recipe", "build", "card", "evaluate", "folder", "names", "split", "task", "train", "write_card"]


def names() -> tuple[str, ...]:
    """List the digits organisms.

    Example:
        >>> names()
        ('digits-vit', 'digits-cnn')
    """
    return NAMES


def folder(name: str) -> Path:
    """Return the Hugging Face folder that an organism ships in.

    Raises:
        PatchclampError: no such organism.
    """
    one_of("organism", name, NAMES)
    return Path(__file__).parent / "data" / name


def build(name: str, *, device: str = "cpu", dtype: str | None = None) -> VisionModel:
    """Load an organism from its shipped file.

    Args:
        name: one of ``names()``.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto``.
        dtype: by default ``float32``.

    Returns:
        VisionModel: the classifier with its image processor.

    Raises:
        PatchclampError: no such organism, dtype or device.

    Example:
        >>> import numpy as np
        >>> one = np.zeros((8, 8), dtype=np.uint8)
        >>> one[1:7, 3:5] = 240
        >>> model = build("digits-cnn")
        >>> model.answer_name(model.run(one).logits[0].argmax().item())
        '1'
    """
    loaded = load_vision_model(str(folder(name)), device=device, dtype=dtype or "float32")
    loaded.name = name
    return loaded


def task(n: int = 4) -> Task:
    """Return a task of held-out digits, each with its class: the first ``n`` that no organism was trained on.

    Raises:
        PatchclampError: scikit-learn is not installed.
    """
    _, labels = images.digits()
    _, held_out = split()
    cases = [Case(f"digits:{i}", targets=(str(labels[i]),)) for i in held_out[:n]]
    return Task(tuple(cases), "logit", "held-out digits")


def card(name: str) -> dict[str, Any]:
    """Say what an organism can do: architecture, data, and what ``evaluate`` measured on the shipped file.

    Raises:
        PatchclampError: no such organism.

    Example:
        >>> card("digits-cnn")["tasks"]["held-out digits"]["accuracy"] > 0.95
        True
    """
    read: dict[str, Any] = json.loads((folder(name) / "card.json").read_text(encoding="utf-8"))
    return read
