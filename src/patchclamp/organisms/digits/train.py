"""The two architectures, and the training that makes the shipped digits organisms."""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from patchclamp.core.errors import PatchclampError
from patchclamp.organisms.training import weight_decay_groups
from patchclamp.subjects.images import digits
from patchclamp.train import Objective, Plan
from patchclamp.train import train as train_modules

NAMES = ("digits-vit", "digits-cnn")
STEPS = {"digits-vit": 3000, "digits-cnn": 1500}
"""Optimizer steps of the shipped files."""
HELD_OUT = 450
"""Images of 1,797 that training never shows: a quarter."""
CLASSES = 10


@dataclass(frozen=True)
class Recipe:
    """Hold everything that decides what a training run gives.

    Args:
        name: one of ``NAMES``.
        seed: of the first weights, the order of the images and their shifts.
        steps: optimizer steps.
        images: images per step.
        rate: peak learning rate; it rises over the first twentieth and then falls along a cosine to nothing.
        decay: weight decay of matrices and kernels.
        smoothing: share of the label that is spread over all classes.
    """

    name: str
    seed: int = 0
    steps: int = 3000
    images: int = 64
    rate: float = 3e-3
    decay: float = 0.05
    smoothing: float = 0.05


def architecture(name: str) -> Any:
    """Return an untrained model of an organism, its first weights drawn by torch's own generator.

    Raises:
        PatchclampError: no such organism.
    """
    from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

    labels: dict[str, Any] = {
        "id2label": {i: str(i) for i in range(CLASSES)},
        "label2id": {str(i): i for i in range(CLASSES)},
    }
    if name == "digits-vit":
        vit = ViTConfig(
            image_size=8,
            patch_size=2,
            num_channels=1,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=96,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            **labels,
        )
        return ViTForImageClassification(vit)
    if name == "digits-cnn":
        resnet = ResNetConfig(
            num_channels=1, embedding_size=16, hidden_sizes=[24, 48], depths=[2, 1], layer_type="basic", **labels
        )
        return ResNetForImageClassification(resnet)
    raise PatchclampError(
        expected=f"an organism among {', '.join(NAMES)}", got=repr(name), remedy="Choose one of these."
    )


def processor(name: str) -> Any:
    """Return the image processor that ships beside an organism: 8 x 8 for the ViT, drawn out to 32 x 32 for the CNN."""
    from transformers import ViTImageProcessorPil

    side = 8 if name == "digits-vit" else 32
    return ViTImageProcessorPil(size={"height": side, "width": side}, image_mean=[0.5], image_std=[0.5])


def split() -> tuple[Int[np.ndarray, " shown"], Int[np.ndarray, " held_out"]]:
    """Return which images training shows and which are held out, the same for ever."""
    order = np.random.default_rng(20240).permutation(1797)
    return np.sort(order[HELD_OUT:]), np.sort(order[:HELD_OUT])


def train(recipe: Recipe, folder: Path, *, progress: Callable[[int, int], None] | None = None) -> Path:
    """Train an organism and write it as a Hugging Face folder, its weights in float32.

    Args:
        recipe: what to train.
        folder: where it goes.
        progress: called with steps done and steps in all.

    Returns:
        Path: the folder.

    Raises:
        PatchclampError: no such organism, or scikit-learn, whose images it is trained on, is not installed.

    Cost: about two minutes of one core; the same weights again on the same machine and with the same versions.
    """
    pictures, labels = digits()
    prepare = processor(recipe.name)
    stacked = np.stack([np.asarray(picture.pixels)[None] for picture in pictures])
    shown, _ = split()
    pixels = torch.from_numpy(np.stack([_preprocess(prepare, stacked[i]) for i in shown]))
    targets = torch.tensor([labels[i] for i in shown])
    start = time.monotonic()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = architecture(recipe.name).train()
        _fit(model, recipe, pixels, targets, progress)
    model.eval().save_pretrained(folder)
    prepare.save_pretrained(folder)
    record = {**asdict(recipe), "seconds": round(time.monotonic() - start), "images_shown": len(shown)}
    (folder / "recipe.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return folder


def _preprocess(prepare: Any, pixels: np.ndarray) -> np.ndarray:
    pixel_values = prepare(pixels, input_data_format="channels_first", return_tensors="np")["pixel_values"][0]
    return np.asarray(pixel_values, dtype=np.float32)


def _fit(
    model: Any,
    recipe: Recipe,
    pixels: Float[Tensor, "image channel y x"],
    targets: Int[Tensor, " image"],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Take the optimizer steps, every image moved by at most one of its own pixels in each direction."""
    step_of_one = pixels.shape[-1] // 8
    draws = torch.Generator()
    draws.set_state(torch.get_rng_state())

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            chosen = torch.randint(len(pixels), (recipe.images,), generator=draws)
            dy, dx = (int(i) * step_of_one for i in torch.randint(-1, 2, (2,), generator=draws))
            yield _shift(pixels[chosen], dy, dx), targets[chosen]

    def loss(batch: tuple[Tensor, Tensor], _step: int) -> Tensor:
        return cross_entropy(model(batch[0]).logits, batch[1], label_smoothing=recipe.smoothing)

    def optimizer(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(weight_decay_groups(parameters, recipe.decay), lr=recipe.rate)

    def share(step: int, steps: int) -> float:
        return min((step + 1) / (steps // 20 + 1), (1 + math.cos(math.pi * (step / steps))) / 2)

    plan = Plan(steps=recipe.steps, clip=1.0, seed=recipe.seed)
    train_modules(Objective(model, loss, optimizer, share), batches(), plan, progress=progress)


def _shift(x: Float[Tensor, "image channel y x"], dy: int, dx: int) -> Float[Tensor, "image channel y x"]:
    """Return images moved down and to the right, black where nothing comes in."""
    side = x.shape[-1]
    wide = pad(x, (side, side, side, side), value=-1.0)
    return wide[..., side - dy : 2 * side - dy, side - dx : 2 * side - dx]
