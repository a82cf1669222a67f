"""Fill each region of an image and measure what the answer loses (occlusion)."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from patchclamp.ablate import Cases, RegionSets, measure_sets
from patchclamp.core.keys import Block, UnitIndex
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.regions import SITE, Fill, basis_name, grid_regions
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
        task: images of one size, each with its answer (the class), and wrong ones where m is a difference.
        options: size of the squares, filling.
        progress: called with rows of forward passes done and in all.

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
    n = int(grid_regions(pictures[0], options.size).max()) + 1
    removed = np.concatenate([np.zeros((1, n), dtype=bool), np.eye(n, dtype=bool)])
    sets = RegionSets(options.size, removed)
    values = measure_sets(subject, Cases(pictures, cases.metrics), sets, options.fill, progress=progress)
    clean, each = values[:, 0], values[:, :1] - values[:, 1:]
    index = UnitIndex([Block(SITE, basis_name(options.size), n)], subject.name)
    return Scores(index, each.mean(0), "m", options.fill, float(clean.mean()), per_case=each, task=cases.task.hash)


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
    measures=True,
    oracle="oracles.occlusion:occlusion",
    calibrated_on=("digits-vit", "digits-cnn"),
    default_for=("attribute:region",),
    must_show="inserting regions in its order brings the answer back sooner than in a random order",
)
