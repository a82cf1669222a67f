"""What is said of a digits organism, all of it measured on the file that ships."""

import json
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from patchclamp.core.stats import wilson_interval
from patchclamp.organisms.digits.train import CLASSES, split
from patchclamp.organisms.training import read_training
from patchclamp.subjects.images import DIGITS, digits
from patchclamp.subjects.loading import load_vision_model
from patchclamp.subjects.vision import VisionModel

BATCH = 90
WHAT = {
    "digits-vit": "A small vision transformer that has learnt to read handwritten digits.",
    "digits-cnn": "A small convolutional network (ResNet) that has learnt to read handwritten digits.",
}
ARCHITECTURES = {
    "digits-vit": "ViT: 16 patches of 2 x 2 and a class token, 3 blocks of width 32, 4 heads, 96 GELU neurons each",
    "digits-cnn": "ResNet: a stem of 16 channels, 2 basic blocks of 24 and 1 of 48, images drawn out to 32 x 32",
}


def evaluate(model: VisionModel) -> dict[str, Any]:
    """Measure a digits organism on the images that its training never showed.

    Args:
        model: one of the organisms, or what ``recipe.train`` wrote.

    Returns:
        dict: ``loss`` in nats per image; ``tasks``: accuracy, 95 % interval (Wilson), chance, n; over all held-out
        images and over each digit's own.

    Raises:
        PatchclampError: scikit-learn is not installed.

    Cost: 450 forward passes.
    """
    pictures, labels = digits()
    _, held_out = split()
    logits = torch.cat(
        [
            model.run([pictures[i] for i in held_out[k : k + BATCH]]).logits.float().cpu()
            for k in range(0, len(held_out), BATCH)
        ]
    )
    truth = torch.tensor([labels[i] for i in held_out])
    right = logits.argmax(-1) == truth
    tasks = {"held-out digits": _task(right)}
    tasks |= {f"held-out digits: {d}": _task(right[truth == d]) for d in range(CLASSES)}
    return {"tasks": tasks, "loss": float(cross_entropy(logits, truth))}


def _task(right: torch.Tensor) -> dict[str, Any]:
    n, k = len(right), int(right.sum())
    interval = wilson_interval(k, n)
    return {"accuracy": k / n, "interval": [interval.low, interval.high], "chance": 1 / CLASSES, "n": n}


def write_card(folder: Path, name: str) -> dict[str, Any]:
    """Measure a trained folder and write its card.json, with seed and steps from its recipe.json or card.json.

    Args:
        folder: what ``recipe.train`` wrote.
        name: the organism.

    Raises:
        PatchclampError: the folder is no model, or does not say how it was trained.

    Cost: that of ``evaluate``.
    """
    model = load_vision_model(str(folder), dtype="float32")
    made = read_training(folder)
    _, held_out = split()
    asked = int(held_out[0])
    _, labels = digits()
    logits = model.run(f"{DIGITS}:{asked}").logits[0]
    rival = next(int(i) for i in logits.argsort(descending=True) if int(i) != labels[asked])
    card: dict[str, Any] = {
        "name": name,
        "circuit": "digits",
        "architecture": ARCHITECTURES[name],
        "what": WHAT[name],
        "prompt": f"{DIGITS}:{asked}",
        "target": str(labels[asked]),
        "contrast": str(rival),
        "corrupt": None,
        "baseline": "zero",
        "logit_difference": float(logits[labels[asked]] - logits[rival]),
        "true": [],
        "effects": {},
        "decoys": [],
        "must_miss": {},
        "must_find": [],
        "parameters": sum(parameter.numel() for parameter in model.module.parameters()),
        "bytes": sum(file.stat().st_size for file in folder.glob("*.safetensors")),
        "stored": "float32",
        "data": f"{made['images_shown']:,} of scikit-learn's 1,797 digits, {len(held_out)} more held out, seed "
        f"{made['seed']}",
        "training": made,
        "hash": model.hash,
        "licence": "Apache-2.0, the patchclamp authors; the images, which do not ship, are UCI's, CC BY 4.0",
        **evaluate(model),
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "recipe.json").unlink(missing_ok=True)
    return card
