"""Insertion and deletion areas, one plain forward a step."""

import itertools

import numpy as np

from oracles.occlusion import logits, squares


def insertion_deletion(subject, task, scores, options):
    """Return the mean over images of the area under p while regions come back, less that while they go."""
    size = int(scores.index.blocks[0].basis.removeprefix("grid-"))
    areas = []
    for i, case in enumerate(task.cases):
        [picture] = subject.stimuli(case.shown)
        t, where = subject.class_index(case.targets[0]), squares(*picture.pixels.shape[:2], size)
        order = sorted(range(len(where)), key=lambda r, i=i: -scores.per_case[i][r])
        area = {}
        for name, start in (("insertion", np.zeros_like(picture.pixels)), ("deletion", picture.pixels.copy())):
            x, p = start, []
            for r in [None, *order]:
                if r is not None:
                    y0, x0 = where[r]
                    box = (slice(y0, y0 + size), slice(x0, x0 + size))
                    x[box] = picture.pixels[box] if name == "insertion" else 0
                z = logits(subject, type(picture).of(x))
                p.append(np.exp(z - z.max())[t] / np.exp(z - z.max()).sum())
            area[name] = sum((a + b) / 2 for a, b in itertools.pairwise(p)) / len(where)
        areas.append(area["insertion"] - area["deletion"])
    return float(np.mean(areas))
