"""The rows of the base of an atlas of images, from survey, second pass, weights and labels."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from torch import Tensor

from patchclamp.atlas.bake.concept_labels import as_rows, clustered_auroc
from patchclamp.atlas.bake.look import read_site
from patchclamp.atlas.bake.neighbours import Neighbours, Population, populations
from patchclamp.atlas.bake.passes import Passes
from patchclamp.atlas.bake.picture_pass import read_examples, sample_pictures
from patchclamp.atlas.bake.weight_panels import BLOCK, Directions, Rows, blocks_of, ends_panels, one_hot
from patchclamp.atlas.bake.write_rows import (
    about_neighbours,
    index_words,
    insert_neighbours,
    insert_panels,
    insert_units,
    number_units,
)
from patchclamp.core.bundle import Bundle
from patchclamp.core.corpus import Corpus
from patchclamp.core.estimate import Estimate
from patchclamp.core.picture_places import PicturePlaces
from patchclamp.core.site import Site
from patchclamp.core.stats import rank
from patchclamp.core.stimulus import Picture
from patchclamp.core.survey import StoredSurvey
from patchclamp.record.picture_units import HEADS, PictureUnits
from patchclamp.record.run import manifest_of
from patchclamp.subjects.corpora import Batches
from patchclamp.subjects.images import gallery
from patchclamp.subjects.picture_places import MOST_SIDE, places_of, png_of, shown_pixels
from patchclamp.subjects.vision import VisionModel

MOST_CELLS = 16
"""Rows and columns of a kept map; larger ones are pooled."""
FEWEST, PER_UNIT = 5, 3
"""Pictures of a class, and not of it, in each half that a class is scored on; classes kept per unit."""
LOUD = 0.5
UNIT_BYTES, EXAMPLE_BYTES, N_EXAMPLES = 2_000, 45, 70
"""On disk: of a unit without its examples, of an example without its map; examples of a unit at most."""
TOP = 0


def default_sites(model: VisionModel) -> str:
    """Return what is baked where no sites are named: neurons and heads, or channels and what the answer is read from.

    Example:
        >>> from patchclamp.loaders import load
        >>> default_sites(load("organism:digits-vit"))
        'blocks.*.mlp.act,blocks.*.attn.z'
    """
    if model.direct:
        return "blocks.*.mlp.act,blocks.*.attn.z"
    maps = [*model.of_level("channel")]
    final = ["final"] if model.family is not None else []
    return ",".join(maps + final) or "module.*.out"


def schema() -> str:
    """Return the script that makes the tables of such a base."""
    place = files("patchclamp.atlas.store")
    return place.joinpath("schema.sql").read_text() + place.joinpath("pictures.sql").read_text()


def estimate_disk(sites: Sequence[Site], n_pictures: int, shape: tuple[int, int, int]) -> int:
    """Return the bytes that such an atlas takes on disk, about and at most.

    Args:
        sites: what is baked.
        n_pictures: how many pictures are shown.
        shape: ``(channel, y, x)`` of each.

    Returns:
        int: bytes.
    """
    units = 0
    for site in sites:
        rows, columns = pooled_shape((site.places[0], site.places[1] if len(site.places) == 2 else 1))
        cells = rows * columns if len(site.places) == 2 else min(site.n_places, MOST_CELLS**2)
        units += site.width * (UNIT_BYTES + N_EXAMPLES * (EXAMPLE_BYTES + 2 * cells))
    return units + n_pictures * (200 + shape[0] * min(shape[1], MOST_SIDE) * min(shape[2], MOST_SIDE))


@dataclass(frozen=True, eq=False)
class PictureRows:
    """The units of an atlas of images that rows are written about.

    Args:
        model: the subject.
        sites: the baked sites.
    """

    model: PictureUnits
    sites: Sequence[Site]

    @cached_property
    def firsts(self) -> dict[str, int]:
        """Number of each site's unit 0 among all units."""
        return number_units(self.sites)

    @cached_property
    def directions(self) -> Directions:
        """What the units write; they read no direction that is known."""
        model = self.model.model
        write = {site.path: _directions(model, site) for site in self.sites}
        reasons = {
            site.path: _reasons(model, site, _promotes(model, site), write[site.path] is not None)
            for site in self.sites
        }
        return Directions(write, dict.fromkeys(write), reasons)

    def populations(self, look: Bundle) -> list[Population]:
        """Return the units among which neighbours are sought."""

        def sample(path: str, units: slice) -> np.ndarray:
            return np.asarray(read_site(look, path, ["sample"])["sample"][units])

        return populations(self.sites, self.directions, self.firsts, sample)

    def before(self) -> list[Population]:
        """Return no others: an atlas of images has no layers of features."""
        return []


def write_picture_rows(
    db: sqlite3.Connection,
    units: PictureRows,
    batches: Batches,
    passes: Passes,
) -> None:
    """Write every table of the base of an atlas of images.

    Args:
        db: an empty base, its tables made by ``schema()``.
        units: what rows are written about.
        batches: what was read of a corpus of images.
        passes: what the passes over it found.

    Cost: a forward pass of every picture in which an example stands, stopped at the last site.
    """
    model, sites, firsts = units.model, units.sites, units.firsts
    survey, look, near = passes.survey, passes.look, passes.near
    labels = read_labels(batches)
    sampled = sample_pictures(batches, survey.bundle.manifest["plan"]["seed"])
    places = {site.path: places_of(model.model, model.model.site(site.path)) for site in sites}
    _about(db, model, batches, sites, survey, labels, places, near)
    for number, site in enumerate(sites):
        first, basis = firsts[site.path], model.basis(site)
        db.execute(
            "INSERT INTO sites VALUES (?, ?, ?, ?, ?, ?, ?)",
            (number, site.path, site.kind, site.layer, basis, first, site.width),
        )
        counts = read_site(look, site.path, ("edges", "tokens", "pieces", "sample"))
        classes = score_classes(counts["sample"], None if labels is None else labels[sampled])
        named = [[("label", class_name(model, label), one) for label, one in scored] for scored in classes]
        db.executemany("INSERT INTO concepts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", as_rows(first, named))
        strongest = [] if labels is None else strongest_classes(counts["sample"], labels[sampled])
        db.executemany("INSERT INTO strongest VALUES (?, ?, ?, ?)", [(first + unit, *row) for unit, row in strongest])
        insert_units(db, number, first, survey.statistics(site.path), counts, named)
        if _promotes(model.model, site):
            promoted = (_find_promoted(model.model, site, some) for some in blocks_of(site.width, BLOCK))
            insert_panels(db, first, ends_panels("promotes", "suppresses", promoted))
    insert_neighbours(db, near, units.directions.reasons)
    _classes(db, model, labels)
    _examples(db, model, batches, sites, survey, look, firsts, labels, places)
    if labels is not None:
        _shown_classes(db)
    index_words(db)


def read_labels(batches: Batches) -> np.ndarray | None:
    """Return the class of every picture as a number; None where the inputs carry none."""
    corpus = batches.corpus
    assert isinstance(corpus, Corpus)
    labels = list(gallery(corpus.source).labels)[: batches.n_stimuli]
    return np.array(labels, dtype=np.int64) if len(labels) == batches.n_stimuli else None


def score_classes(values: np.ndarray, labels: np.ndarray | None) -> list[list[tuple[int, Estimate]]]:
    """Return, per unit, the classes that it detects best, each with its AUROC over pictures.

    A picture counts by the unit's highest value in it. Of every class each second picture is set aside: classes are
    chosen on the rest and scored on these, with a 95 % interval that takes every picture as independent.

    Args:
        values: ``(unit, picture)`` highest values.
        labels: ``(picture,)`` classes; None where they are not known.

    Returns:
        list[list[tuple[int, Estimate]]]: per unit its best classes, the best first; none where no class has enough
            pictures.

    Example:
        >>> labels = np.repeat([0, 1], 20)
        >>> [[(label, round(one.value, 2))] for label, one in score_classes(1.0 * labels[None], labels)[0]][0]
        [(1, 1.0)]
    """
    none: list[list[tuple[int, Estimate]]] = [[] for _ in values]
    if labels is None:
        return none
    names, which = np.unique(labels, return_inverse=True)
    truth = which[:, None] == np.arange(len(names))  # (picture, class)
    chosen_on = (np.cumsum(truth, axis=0)[np.arange(len(labels)), which] % 2) == 1
    halves = (chosen_on, ~chosen_on)
    enough = np.all([np.minimum(truth[h].sum(0), (~truth[h]).sum(0)) >= FEWEST for h in halves], axis=0)
    asked = np.flatnonzero(enough)
    if not len(asked):
        return none
    known = truth[chosen_on][:, asked]
    positives, n = known.sum(0), int(chosen_on.sum())
    held_out, pictures = truth[~chosen_on], np.arange(int((~chosen_on).sum()))
    for unit, row in enumerate(values):
        if np.isfinite(row).all() and row.max() > row.min():
            areas = (rank(row[chosen_on]) @ known - positives * (positives + 1) / 2) / (positives * (n - positives))
            best = asked[np.argsort(-areas, kind="stable")[:PER_UNIT]]
            none[unit] = [(int(names[c]), clustered_auroc(row[~chosen_on], held_out[:, c], pictures)) for c in best]
    return none


def strongest_classes(values: np.ndarray, labels: np.ndarray) -> list[tuple[int, tuple[int, float, int]]]:
    """Return units with the class whose pictures have the highest mean of ``(unit, picture)`` values.

    Returns:
        list[tuple[int, tuple[int, float, int]]]: unit, and class, mean and number of pictures; units with values that
            are not finite are left out.
    """
    names, which, n = np.unique(labels, return_inverse=True, return_counts=True)
    means = values @ (which[:, None] == np.arange(len(names))) / n  # (unit, class)
    best = np.nan_to_num(means, nan=-np.inf).argmax(1)
    return [
        (unit, (int(names[k]), float(means[unit, k]), int(n[k])))
        for unit, k in enumerate(best.tolist())
        if np.isfinite(means[unit, k])
    ]


def pooled_shape(grid: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of a map that is kept: blocks of a larger one become one cell.

    Example:
        >>> pooled_shape((8, 8)), pooled_shape((56, 40))
        ((8, 8), (14, 14))
    """
    rows, columns = (-(-side // max(-(-side // MOST_CELLS), 1)) for side in grid)
    return rows, columns


def pool_map(values: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return ``(row, column)`` of a map of cells, each block by its value of largest size, which keeps its sign.

    Args:
        values: ``(cell,)`` values, row after row.
        grid: rows and columns.
    """
    shape = pooled_shape(grid)
    factor = [-(-side // max(new, 1)) for side, new in zip(grid, shape, strict=True)]
    whole = np.zeros([n * f for n, f in zip(shape, factor, strict=True)], dtype=values.dtype)
    whole[: grid[0], : grid[1]] = values.reshape(grid)
    blocks = whole.reshape(shape[0], factor[0], shape[1], factor[1]).swapaxes(1, 2).reshape(*shape, -1)
    largest = np.abs(blocks).argmax(2)[..., None]
    return np.asarray(np.take_along_axis(blocks, largest, 2)[..., 0])


# -- what units write -------------------------------------------------------------------------------------------------


def _promotes(model: VisionModel, site: Site) -> bool:
    """Say whether a direct path leads from units to classes."""
    if site.kind == HEADS and site.n_heads:
        return False
    if site.kind == "final" and model.family is not None and not model.direct:
        return True
    return site.kind == "mlp.act" and model.promoted_logits(site.path, _one_hot(model, site, slice(0, 1))) is not None


def _find_promoted(model: VisionModel, site: Site, units: slice) -> Tensor:
    """Return ``(unit, class)`` logits that units promote by themselves."""
    rows = _one_hot(model, site, units)
    if site.kind == "final" and model.family is not None and not model.direct:
        with torch.no_grad():
            both = torch.cat([rows, torch.zeros_like(rows[:1])])
            logits = model.family.answer(model.module, both[:, None])
            return (logits[:-1] - logits[-1:]).float().cpu()
    promoted = model.promoted_logits(site.path, rows)
    assert promoted is not None
    return promoted.float().cpu()


def _one_hot(model: VisionModel, site: Site, units: slice) -> Tensor:
    return one_hot(units, site.width).to(model.device, model.dtype)


def _directions(model: VisionModel, site: Site) -> Rows | None:
    """Return what gives ``(unit, d_model)`` of neurons of a transformer, which write to the residual stream."""
    if not model.direct or site.kind != "mlp.act":
        return None
    if model.write_to_stream(site.path, _one_hot(model, site, slice(0, 1))) is None:
        return None

    def write(units: slice) -> Tensor:
        written = model.write_to_stream(site.path, _one_hot(model, site, units))
        assert written is not None
        return written.float().cpu()

    return write


def _reasons(model: VisionModel, site: Site, promotes: bool, writes: bool) -> dict[str, str]:
    reasons: dict[str, str] = {}
    if not promotes:
        why = "convolutions mix what it writes before a class is read, so no class is its own"
        if site.kind == HEADS and site.n_heads:
            why = "a head writes in as many directions as it has columns, so no class is its own"
        elif model.family is None:
            why = f"no family file covers {type(model.module).__name__}, so what it writes is not known"
        elif model.direct:
            why = f"units of {site.kind} do not write to the residual stream directly"
        reasons |= dict.fromkeys(("promotes", "suppresses"), why)
    if not writes:
        reasons["similar"] = "it writes no one direction of a residual stream"
    return reasons


# -- rows -------------------------------------------------------------------------------------------------------------


def _about(
    db: sqlite3.Connection,
    model: PictureUnits,
    batches: Batches,
    sites: Sequence[Site],
    survey: StoredSurvey,
    labels: np.ndarray | None,
    places: dict[str, PicturePlaces],
    near: Neighbours | None,
) -> None:
    read = batches.corpus
    assert read is not None
    about = manifest_of(model, sites, batches, seed=survey.bundle.manifest["plan"]["seed"])
    n = batches.n_stimuli
    corpus = {
        "name": read.path.name,
        "hash": read.content,
        "stimuli": n,
        "tokens": n,
        "counted": n,
        "window": 0,
        "labelled": 0 if labels is None else n,
    }
    kept = {n: about[n] for n in ("subject", "plan", "versions")}
    maps = {path: {**asdict(g), "map": pooled_shape(g.grid)} for path, g in places.items()}
    kept |= {"corpus": corpus, "modality": "image", "places": maps, "neighbours": about_neighbours(near)}
    db.executemany("INSERT INTO about VALUES (?, ?)", [(n, json.dumps(v, sort_keys=True)) for n, v in kept.items()])


def _classes(db: sqlite3.Connection, model: PictureUnits, labels: np.ndarray | None) -> None:
    """Keep the names of the classes that stand anywhere, in the table of tokens."""
    ids = {int(i) for i in (() if labels is None else np.unique(labels))}
    for (packed,) in db.execute("SELECT ids FROM panels WHERE name IN ('promotes', 'suppresses')"):
        ids |= set(np.frombuffer(packed, "<i4").tolist())
    db.executemany("INSERT INTO tokens VALUES (?, ?, 0)", [(i, class_name(model, i)) for i in sorted(ids)])


def class_name(model: Any, label: int) -> str:
    """Return a class's name; the number of a label that the model has no answer for."""
    return str(model.answer_name(label)) if label < model.n_answers else str(label)


def _examples(
    db: sqlite3.Connection,
    model: PictureUnits,
    batches: Batches,
    sites: Sequence[Site],
    survey: StoredSurvey,
    look: Bundle,
    firsts: dict[str, int],
    labels: np.ndarray | None,
    places: dict[str, PicturePlaces],
) -> None:
    """Show the pictures in which examples stand once more, for the maps of the units there."""
    found = {site.path: read_examples(survey, look, site.path) for site in sites}
    used = {int(i) for rows, _ in found.values() for i in np.unique(rows[:, 3])}
    number = 0
    for batch in batches:
        numbers = [number + i for i in range(len(batch))]
        number += len(batch)
        kept = [i for i in numbers if i in used]
        if not kept:
            continue
        shown = [one for i, one in zip(numbers, batch, strict=True) if i in used]
        for i, picture in zip(kept, shown, strict=True):
            assert isinstance(picture, Picture)
            db.execute("INSERT INTO pictures VALUES (?, ?, ?, ?, ?, ?)", _picture(model, i, picture, labels))

        def see(path: str, x: Tensor, kept: list[int] = kept) -> None:
            whole = x.float().cpu().view(len(kept), -1, x.shape[1]).numpy()
            rows, values = found[path]
            for picture, acts in zip(kept, whole, strict=True):
                first, last = np.searchsorted(rows[:, 3], [picture, picture + 1])
                own = rows[first:last]
                maps = _maps(acts, own[:, 0], places[path])
                db.executemany(
                    "INSERT INTO examples VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
                    (
                        (firsts[path] + unit, kind, order, value, picture, position, data)
                        for (unit, kind, order, _, position), value, data in zip(
                            own.tolist(), values[first:last].tolist(), maps, strict=True
                        )
                    ),
                )

        model.watch(shown, list(found), see)


def _maps(acts: np.ndarray, units: np.ndarray, places: PicturePlaces) -> list[bytes]:
    """Return the maps of some units over one picture, class tokens left out, as float16."""
    if not places.grid[0]:
        return [b""] * len(units)
    maps = {}
    for unit in np.unique(units).tolist():
        values = np.nan_to_num(acts[places.before :, unit], nan=0.0, posinf=65504, neginf=-65504)
        maps[unit] = np.clip(pool_map(values, places.grid), -65504, 65504).astype("<f2").tobytes()
    return [maps[unit] for unit in units.tolist()]


def _picture(model: PictureUnits, number: int, picture: Picture, labels: np.ndarray | None) -> tuple[Any, ...]:
    pixels = shown_pixels(model.prepare, picture)
    label = None if labels is None else int(labels[number])
    return number, picture.name or picture.id, label, pixels.shape[0], pixels.shape[1], png_of(pixels)


def _shown_classes(db: sqlite3.Connection) -> None:
    """Count the classes of each unit's top examples that reach half of its maximum; the most frequent one is named."""
    db.execute(
        "INSERT INTO fires SELECT p.label, e.unit, count(*) FROM examples e JOIN units u ON u.id = e.unit "
        "JOIN pictures p ON p.id = e.stimulus WHERE e.kind = ? AND e.value > 0 AND e.value >= ? * u.maximum "
        "GROUP BY e.unit, p.label",
        (TOP, LOUD),
    )
    rows = db.execute(
        "SELECT f.unit, f.token FROM fires f JOIN examples e ON e.unit = f.unit AND e.kind = ? "
        "JOIN pictures p ON p.id = e.stimulus AND p.label = f.token GROUP BY f.unit, f.token "
        "ORDER BY f.unit, f.n, min(e.rank) DESC",
        (TOP,),
    )
    # The last row of a unit wins: its most frequent class, of several the one of the highest example.
    db.executemany(
        "UPDATE units SET fires_on = ? WHERE id = ?", [(k, unit) for unit, k in dict(rows.fetchall()).items()]
    )
