"""What a bake takes: memory, disk, and stimuli that are shown."""

from collections.abc import Sequence
from dataclasses import dataclass

from patchclamp.atlas.bake.concept_labels import BLOCK as MEASURED
from patchclamp.atlas.bake.concept_labels import group_sites
from patchclamp.atlas.bake.look import SAMPLE
from patchclamp.atlas.bake.neighbours import BLOCK, Method, choose_method
from patchclamp.atlas.bake.pictures import estimate_disk
from patchclamp.atlas.bake.read_text import MOST_MEASURED, MOST_SCORED, spread
from patchclamp.atlas.bake.weight_panels import BLOCK as SCORED
from patchclamp.atlas.bake.weight_panels import FETCHED
from patchclamp.core.site import Site
from patchclamp.record.features import Features
from patchclamp.record.heads import WithHeads
from patchclamp.record.mapped import HELD
from patchclamp.record.picture_units import PictureUnits
from patchclamp.record.survey import memory_bytes as survey_bytes
from patchclamp.subjects.corpora import Batches

TEXT_BYTES, PICTURE_BYTES, RESULT_BYTES, ROW_BYTES, BASE_BYTES = 13_000, 5_800, 15_000, 51_000, 9_000
"""What the second pass holds of a unit, of a text and of images; what its results take of each unit of the widest site,
and its rows; on disk, of a unit with its examples."""
DETECTED_BYTES = 1_000
"""What is known of what a unit detects, until its row is written."""
FIXED = 20_000_000
"""Bytes that libraries take once they compute."""


@dataclass(frozen=True)
class BakeCost:
    """What a bake takes beside the model.

    Args:
        memory: bytes at most, about.
        disk: bytes of the atlas, about.
        aside: bytes on disk while it is baked, about: vectors and checkpoints.
    """

    memory: int
    disk: int
    aside: int


def bake_cost(
    model: WithHeads | Features | PictureUnits,
    sites: Sequence[Site],
    *,
    rows: int = 1024,
    n_tokens: int | None = None,
    n_pictures: int = 0,
    shape: tuple[int, int, int] | None = None,
    neighbours: Method | None = None,
) -> BakeCost:
    """Return what a bake takes; what grows with the units is held up to a bound, of neighbours and panels a few blocks.

    Args:
        model: the subject.
        sites: what is baked.
        rows: tokens (of images: places) per forward pass.
        n_tokens: tokens of the text, where they are counted.
        n_pictures: how many images are shown.
        shape: ``(channel, y, x)`` of each; None for a text.
        neighbours: how they are found.

    Returns:
        BakeCost: bytes.

    Cost: none. What Python's allocator keeps of freed memory comes on top.
    """
    n_units, widest = sum(site.width for site in sites), max((site.width for site in sites), default=0)
    wide = max((site.width for site in model.sites() if site.kind.startswith("resid_")), default=0)
    n_answers = 0 if shape is not None else int(model.n_answers)
    held = n_units * (TEXT_BYTES if shape is None else PICTURE_BYTES)
    batch = 4 * rows * (widest + 6 * wide)
    look = max(min(held, HELD), survey_bytes(sites)) + RESULT_BYTES * widest + batch
    measured = 4 * min(MOST_SCORED, n_tokens or MOST_SCORED) * 3 * min(widest, MEASURED)
    scored = 5 * 4 * SCORED * n_answers + 10 * 4 * FETCHED * wide
    written = max(measured, ROW_BYTES * widest) + scored + DETECTED_BYTES * n_units
    block, near, vectors = min(BLOCK, n_units), 0, 0
    if choose_method(neighbours, n_units) != "none":
        # Two blocks of values at sampled stimuli, three of directions, four of products.
        near = 4 * block * (2 * SAMPLE + 3 * wide + 4 * block)
        vectors = 4 * n_units * (SAMPLE + 2 * wide)
    memory = FIXED + max(look, near, written)
    disk = n_units * BASE_BYTES if shape is None else estimate_disk(sites, n_pictures, shape)
    return BakeCost(memory, disk, vectors + 3 * held + disk)


def count_shown(batches: Batches, sites: Sequence[Site]) -> tuple[int, int]:
    """Return how many stimuli the passes over an unlabelled text show, and how many more at most for what heads attend.

    Args:
        batches: the text.
        sites: the sites that are read.

    Returns:
        tuple[int, int]: stimuli of both passes and of the patterns of tokens, exactly; and those of attention.
    """
    groups = len(group_sites(list(sites)))
    scored = -(-batches.n_stimuli // spread(batches.n_tokens, MOST_SCORED))
    measured = -(-batches.n_stimuli // spread(batches.n_tokens, MOST_MEASURED))
    n_heads = sum(site.width for site in sites if site.path.endswith("/heads"))
    return 2 * batches.n_stimuli + groups * scored, min(batches.n_stimuli, measured + 10 * n_heads) if n_heads else 0
