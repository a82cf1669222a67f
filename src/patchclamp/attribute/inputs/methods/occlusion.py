"""Occlusion: what an answer loses when each region of an image is filled."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import Block, UnitIndex
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.regions import SITE, Fill, basis_name, fill_regions, grid_regions
from patchclamp.core.scores import Scores
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.subjects.protocols import Classifies, Intervenes, Reads


class Subject(Classifies, Reads, Intervenes, Protocol):
    """What occlusion needs."""

    name: str


@dataclass(frozen=True)
class OcclusionOptions:
    """Options of occlusion."""

    size: int = option(2, "side of the squares, in pixels", least=1)
    fill: Fill = option("zero", "what stands in the place of a region")


def occlusion(subject: Subject, task: Task, options: OcclusionOptions, *, progress: Progress) -> Scores:
    r"""Score every square of an image by what m loses when it is filled.

    score(r) = m(x) − m(x with the pixels of r filled).

    Args:
        subject: a network that answers with classes.
        task: images of one size, each with its target (the class), and contrasts where m is a difference.
        options: size of the squares, filling.
        progress: called with images done and in all.

    Returns:
        Scores: of regions, ``input/grid-SIZE/INDEX``; their mean over images, and ``per_case`` those of each.

    Raises:
        PatchclampError: no images, images of several sizes, or a square as large as the image.

    Source: Zeiler & Fergus (2014), 1311.2901, section 4.2. Departs from it in squares that do not overlap, so that
    each pixel is in one region.

    Cost: regions + 1 forward passes per image.
    """
    cases = subject.read(task, least=None)
    pictures = cases.pictures
    regions = [grid_regions(picture, options.size) for picture in pictures]
    if len({one.shape for one in regions}) != 1:
        raise PatchclampError(
            expected="images of one size", got=f"{len({one.shape for one in regions})} sizes", remedy="Resize them."
        )
    n = int(regions[0].max()) + 1
    removed = np.concatenate([np.zeros((1, n), dtype=bool), np.eye(n, dtype=bool)])
    each, clean = np.empty((len(pictures), n)), np.empty(len(pictures))
    for i, (picture, metric) in enumerate(zip(pictures, cases.metrics, strict=True)):
        shown = fill_regions(picture, regions[i], removed, options.fill)
        values = subject.measure(shown, metric).cpu().double().numpy()
        clean[i], each[i] = values[0], values[0] - values[1:]
        progress(i + 1, len(pictures))
    index = UnitIndex([Block(SITE, basis_name(options.size), n)], subject.name)
    return Scores(
        index, each.mean(0), "m", options.fill, float(clean.mean()), per_case=each, task=cases.task.hash
    )  # fmt: skip


def _cost(sizes: Sizes, _options: OcclusionOptions) -> Cost:
    return Cost(forward=sizes.cases * (sizes.units + 1))


METHOD = Method(
    occlusion,
    name="occlusion",
    room="attribute",
    title="occlusion",
    question="Which regions of the image carried this answer?",
    papers=(Paper("1311.2901", equation="section 4.2"),),
    keys=("region",),
    cost=_cost,
    oracle="oracles.occlusion:occlusion",
    calibrated_on=("digits-vit", "digits-cnn"),
    must_show="inserting regions in its order brings the answer back sooner than in a random order",
)
