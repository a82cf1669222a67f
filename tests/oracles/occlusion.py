"""Occlusion by its formula, one square and one plain forward at a time."""

import numpy as np
import torch


@torch.no_grad()
def logits(subject, pixels):
    return subject.module(pixel_values=torch.tensor(subject.prepare(pixels))[None]).logits[0].double().numpy()


def squares(height, width, size):
    return [(y, x) for y in range(0, height, size) for x in range(0, width, size)]


def occlusion(subject, task, options):
    """Return the mean over images of z_t(x) − z_t(x with a square at 0), by key."""
    scores = {}
    for case in task.cases:
        [picture] = subject.stimuli(case.shown)
        t = subject.class_index(case.targets[0])
        clean = logits(subject, picture)[t]
        for r, (y, x) in enumerate(squares(*picture.pixels.shape[:2], options.size)):
            pixels = picture.pixels.copy()
            pixels[y : y + options.size, x : x + options.size] = 0
            effect = clean - logits(subject, type(picture).of(pixels))[t]
            scores[f"input/grid-{options.size}/{r}"] = scores.get(f"input/grid-{options.size}/{r}", 0) + effect
    return {key: float(np.float64(total) / len(task.cases)) for key, total in scores.items()}
