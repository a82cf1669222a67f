"""The rows of an atlas's base, from survey, second pass, weights and labels."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from patchclamp.atlas.bake.concept_labels import as_rows
from patchclamp.atlas.bake.detected import detected_by
from patchclamp.atlas.bake.head_reads import SLOTS, head_reads, writers_of
from patchclamp.atlas.bake.head_rows import write_head_rows
from patchclamp.atlas.bake.look import KINDS, read_site
from patchclamp.atlas.bake.neighbours import LEFT_OUT, PANELS, Neighbours, Population, populations
from patchclamp.atlas.bake.passes import Passes
from patchclamp.atlas.bake.read_text import read_text
from patchclamp.atlas.bake.second_pass import STRIP, Snippets, read_results
from patchclamp.atlas.bake.token_patterns import sample_tokens
from patchclamp.atlas.bake.weight_panels import Directions, Panels, blocks_of, read_directions, token_panels
from patchclamp.core.bundle import Bundle
from patchclamp.core.estimate import Estimate
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Role, Stimulus
from patchclamp.core.survey import StoredSurvey
from patchclamp.evaluate.labelled import Labelled
from patchclamp.record.features import Features
from patchclamp.record.heads import WithHeads, is_heads, split_path
from patchclamp.record.run import manifest_of
from patchclamp.subjects.corpora import Batches
from patchclamp.subjects.language import LanguageModel

TOKEN_PANELS = ("promotes", "suppresses", "excited_by", "inhibited_by")
LOUD = 0.5


@dataclass(frozen=True, eq=False)
class TextUnits:
    """The units that rows are written about, and what their weights say.

    Args:
        model: the subject.
        sites: the baked sites.
        firsts: number of each site's unit 0 among all units.
        directions: what the units write and read.
        beside: sites whose neurons come before these units, and may be their neighbours.
    """

    model: LanguageModel | Features | WithHeads
    sites: Sequence[Site]
    firsts: Mapping[str, int]
    directions: Directions
    beside: Sequence[Site] = ()

    @classmethod
    def of(
        cls, model: LanguageModel | Features | WithHeads, sites: Sequence[Site], beside: Sequence[Site] = ()
    ) -> "TextUnits":
        """Number the units of sites, after those of other sites, and read what they write.

        Args:
            model: the subject.
            sites: the sites whose units rows are written about.
            beside: sites whose neurons come before these units.

        Returns:
            TextUnits: with the numbers and the directions.
        """
        firsts = number_units(sites, sum(site.width for site in beside))
        return cls(model, sites, firsts, read_directions(model, sites), beside)

    def locate(self, path: str) -> tuple[str, slice]:
        """Return the path under which a pass over the text kept a site, and which of the units there are its own."""
        return self.model.locate(path) if isinstance(self.model, WithHeads) else (path, slice(None))

    def populations(self, look: Bundle) -> list[Population]:
        """Return the units among which neighbours are sought."""

        def sample(path: str, units: slice) -> np.ndarray:
            held, own = self.locate(path)
            return np.asarray(read_site(look, held, ["sample"])["sample"][own][units])

        return populations(self.sites, self.directions, self.firsts, sample)

    def before(self) -> list[Population]:
        """Return the neurons before these units."""
        if not isinstance(self.model, Features):
            return []
        written, firsts = read_directions(self.model.model, self.beside).write, number_units(self.beside)
        return [Population(s.path, s.layer, firsts[s.path], s.width, written[s.path]) for s in self.beside]


def number_units(sites: Sequence[Site], first: int = 0) -> dict[str, int]:
    """Return the number of each site's unit 0, counted on from one site to the next."""
    starts = np.cumsum([first, *(site.width for site in sites)]).tolist()
    return dict(zip((site.path for site in sites), starts, strict=False))


def write_rows(
    db: sqlite3.Connection,
    units: TextUnits,
    batches: Batches,
    passes: Passes,
    labels: Labelled | None,
) -> None:
    """Write every table of the base, or of a layer of features, which is filled like one.

    Args:
        db: an empty base, its tables made.
        units: what rows are written about.
        batches: what was read of a corpus of text.
        passes: what the passes over it found.
        labels: labelled tokens, where the text has them.
    """
    model, sites = units.model, units.sites
    survey, look, near = passes.survey, passes.look, passes.near
    _about(db, model, batches, sites, survey, labels, near)
    read = model.read_as(sites) if isinstance(model, WithHeads) else list(sites)
    used = {int(i) for site in read for i in np.unique(read_site(look, site.path, ["stimulus"])["stimulus"])}
    ids: set[int] = set()

    def keep(number: int, stimulus: Stimulus) -> None:
        ids.update(stimulus.ids.tolist())
        counted = stimulus.counted.astype(np.uint8).tobytes()
        db.execute("INSERT INTO contexts VALUES (?, ?, ?)", (number, stimulus.ids.astype("<i4").tobytes(), counted))

    text = read_text(batches, used, keep, lambda number: _context(db, number))
    scored, strongest = detected_by(model, sample_tokens(text.scored), read, labels, look.path.parent)
    for number, site in enumerate(sites, len(units.beside)):
        first = units.firsts[site.path]
        path, basis = split_path(site.path)
        if isinstance(model, Features):
            basis = model.bases[site.path].name
        db.execute(
            "INSERT INTO sites VALUES (?, ?, ?, ?, ?, ?, ?)",
            (number, path, site.kind, site.layer, basis, first, site.width),
        )
        held, own = units.locate(site.path)
        strips, counts = read_results(look, held, own)
        _examples(db, first, strips, text.lengths)
        panels = token_panels(model, units.directions, site)
        for name, (rows, _) in panels.items():
            assert name in TOKEN_PANELS
            ids |= set(np.unique(rows[rows >= 0]).tolist())
        insert_panels(db, first, panels)
        concepts = scored[held][own] if held in scored else [[] for _ in range(site.width)]
        db.executemany("INSERT INTO concepts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", as_rows(first, concepts))
        peaks = strongest[held][own] if held in strongest else []
        tokens = [(first + unit, *one) for unit, one in enumerate(peaks) if one is not None]
        db.executemany("INSERT INTO strongest VALUES (?, ?, ?, ?)", tokens)
        ids |= {token for _, token, *_ in tokens}
        statistics = {name: values[own] for name, values in survey.statistics(held).items()}
        insert_units(db, number, first, statistics, counts, concepts)
    heads = [site for site in sites if is_heads(site)]
    if heads and isinstance(model, WithHeads):
        ids |= write_head_rows(db, model.model, text, heads, units.firsts)
    _write_reads(db, units)
    insert_neighbours(db, near, units.directions.reasons)
    spelt = [(id, *model.tokenizer.spelling(id)) for id in sorted(ids)]
    db.executemany("INSERT INTO tokens VALUES (?, ?, ?)", [(id, word, int(raw)) for id, word, raw in spelt])
    _fires(db)
    index_words(db)


def _write_reads(db: sqlite3.Connection, units: TextUnits) -> None:
    """Write which units the queries and keys of heads read: heads of these sites, or of those before them."""
    model, directions = units.model, units.directions
    if model.family is None:
        return
    own = [(site, units.firsts[site.path]) for site in units.sites]
    before = number_units(units.beside)
    listed = [(site, before[site.path]) for site in units.beside] if isinstance(model, Features) else own
    bare = model.model if isinstance(model, Features | WithHeads) else model
    writers = writers_of(bare, own, directions.write)
    for site, first in listed:
        if is_heads(site):
            panels = head_reads(bare, site, writers)
            if not isinstance(panels, str):
                insert_panels(db, first, panels)
            elif site.path in directions.reasons:
                directions.reasons[site.path] |= dict.fromkeys(SLOTS, panels)


def insert_neighbours(db: sqlite3.Connection, near: Neighbours | None, reasons: Mapping[str, dict[str, str]]) -> None:
    """Insert the panels of neighbours, and why panels are missing."""
    for first, panels in near.panels() if near is not None else ():
        insert_panels(db, first, panels)
    if near is None:
        reasons = {path: {**dict.fromkeys(PANELS, LEFT_OUT), **known} for path, known in reasons.items()}
    db.execute("INSERT INTO about VALUES ('reasons', ?)", [json.dumps(reasons, sort_keys=True)])


def _about(
    db: sqlite3.Connection,
    model: LanguageModel | Features | WithHeads,
    batches: Batches,
    sites: Sequence[Site],
    survey: StoredSurvey,
    labels: Labelled | None,
    near: Neighbours | None,
) -> None:
    read = batches.corpus
    assert read is not None
    about = manifest_of(model, sites, batches, seed=survey.bundle.manifest["plan"]["seed"])
    corpus = {
        "name": read.path.name,
        "hash": read.content,
        "stimuli": batches.n_stimuli,
        "tokens": batches.n_tokens,
        "counted": survey.n_tokens,
        "window": read.window,
        "labelled": 0 if labels is None else len(labels.true),
    }
    about = {n: about[n] for n in ("subject", "plan", "versions")} | {"corpus": corpus, "modality": "language"}
    about["neighbours"] = about_neighbours(near)
    db.executemany("INSERT INTO about VALUES (?, ?)", [(n, json.dumps(v, sort_keys=True)) for n, v in about.items()])


def about_neighbours(near: Neighbours | None) -> dict[str, Any]:
    """Return how neighbours were found, for what an atlas says of itself."""
    return {"method": "none"} if near is None else near.about()


def insert_units(
    db: sqlite3.Connection,
    site: int,
    first: int,
    statistics: dict[str, Any],
    counts: dict[str, Any],
    concepts: Sequence[Sequence[tuple[str, str, Estimate]]],
) -> None:
    """Insert a site's units: statistics of the survey, ``edges tokens pieces`` of a second pass, scored concepts."""
    deviation = np.sqrt(np.maximum(np.asarray(statistics["variance"]), 0))
    named = [statistics["active"], statistics["mean"], deviation, statistics["minimum"], statistics["maximum"]]
    columns = [[_finite(x) for x in np.asarray(column, dtype=np.float64).tolist()] for column in named]
    quantiles = np.asarray(statistics["quantiles"], dtype="<f8")
    edges, tokens, pieces = (counts[n] for n in ("edges", "tokens", "pieces"))
    rows = []
    for unit, values in enumerate(zip(*columns, strict=True)):
        ranged = bool(np.isfinite(edges[unit]).all()) and edges[unit][-1] > edges[unit][0]
        histogram = [a[unit].astype(t).tobytes() for a, t in ((edges, "<f8"), (tokens, "<i8"), (pieces, "<i8"))]
        best = (concepts[unit][0][1], concepts[unit][0][2].value) if concepts[unit] else (None, None)
        rows.append(
            (
                first + unit,
                site,
                unit,
                *values,
                quantiles[unit].tobytes(),
                *(histogram if ranged else [None] * 3),
                None,
                best[0],
                best[1],
            )
        )
    db.executemany(f"INSERT INTO units VALUES ({', '.join('?' * 15)})", rows)


def _finite(x: float) -> float | None:
    return x if np.isfinite(x) else None


def _examples(db: sqlite3.Connection, first: int, strips: Snippets, lengths: np.ndarray) -> None:
    for some in blocks_of(len(strips.unit), 4096):
        own = Snippets(**{name: array[some] for name, array in strips.__dict__.items()})
        n = np.minimum(lengths[own.stimulus] - own.start, STRIP).tolist()
        columns = [own.unit + first, own.kind, own.rank, own.value, own.stimulus, own.position, own.start]
        rows = zip(*(column.tolist() for column in columns), strict=True)
        acts = own.acts.astype("<f2")
        db.executemany(
            "INSERT INTO examples VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            ((*row, acts[i, : n[i]].tobytes()) for i, row in enumerate(rows)),
        )


def insert_panels(db: sqlite3.Connection, first: int, panels: Panels) -> None:
    """Insert a site's panels; ``first`` is the number of its unit 0."""

    def rows() -> Iterable[tuple[Any, ...]]:
        for name, (ids, weights) in sorted(panels.items()):
            for unit in range(len(ids)):
                kept = ids[unit] >= 0
                yield (
                    first + unit,
                    name,
                    ids[unit][kept].astype("<i4").tobytes(),
                    weights[unit][kept].astype("<f4").tobytes(),
                )

    db.executemany("INSERT INTO panels VALUES (?, ?, ?, ?)", rows())


def _context(db: sqlite3.Connection, number: int) -> Stimulus:
    """Return a kept stimulus again, as it is shown and counted."""
    [(ids, counted)] = db.execute("SELECT ids, counted FROM contexts WHERE stimulus = ?", [number]).fetchall()
    shown = Stimulus.of(np.frombuffer(ids, "<i4").astype(np.int64))
    return replace(shown, roles=np.where(np.frombuffer(counted, np.uint8), Role.TEXT, Role.SKIPPED))


def _fires(db: sqlite3.Connection) -> None:
    """Count the tokens at each unit's top examples that reach half of its maximum."""
    top = KINDS.index("top")
    held: Counter[int] = Counter()
    last = -1
    rows: list[tuple[int, int, int]] = []
    best: list[tuple[int, int]] = []

    def close() -> None:
        rows.extend((token, last, n) for token, n in held.items())
        if held:
            best.append((held.most_common(1)[0][0], last))

    contexts = {s: np.frombuffer(ids, "<i4") for s, ids in db.execute("SELECT stimulus, ids FROM contexts")}
    # In the order of rank, so that of equally frequent tokens the one with the higher activation is named.
    for unit, stimulus, position in db.execute(
        "SELECT e.unit, e.stimulus, e.position FROM examples e JOIN units u ON u.id = e.unit "
        "WHERE e.kind = ? AND e.value > 0 AND e.value >= ? * u.maximum ORDER BY e.unit, e.rank",
        (top, LOUD),
    ):
        if unit != last:
            close()
            held.clear()
            last = unit
        held[int(contexts[stimulus][position])] += 1
    close()
    db.executemany("INSERT INTO fires VALUES (?, ?, ?)", rows)
    db.executemany("UPDATE units SET fires_on = ? WHERE id = ?", best)


def index_words(db: sqlite3.Connection) -> None:
    """Index the tokens that each unit fires on and promotes, and its concepts."""
    word = dict(db.execute("SELECT id, text FROM tokens WHERE bytes = 0"))
    fires = _join_tokens(db.execute("SELECT unit, token FROM fires ORDER BY unit, n DESC, token"), word)
    concepts: dict[int, list[str]] = {}
    for unit, concept in db.execute("SELECT unit, concept FROM concepts ORDER BY unit, rank"):
        concepts.setdefault(unit, []).append(concept.replace("_", " "))
    promotes = {
        unit: " ".join(word.get(int(i), "") for i in np.frombuffer(ids, "<i4"))
        for unit, ids in db.execute("SELECT unit, ids FROM panels WHERE name = 'promotes'")
    }
    db.executemany(
        "INSERT INTO words (rowid, fires_on, promotes, concept) VALUES (?, ?, ?, ?)",
        (
            (unit, " ".join(fires.get(unit, [])), promotes.get(unit, ""), " ".join(concepts.get(unit, [])))
            for (unit,) in db.execute("SELECT id FROM units ORDER BY id").fetchall()
        ),
    )


def _join_tokens(rows: Iterable[tuple[int, int]], word: dict[int, str]) -> dict[int, list[str]]:
    tokens: dict[int, list[str]] = {}
    for unit, token in rows:
        tokens.setdefault(unit, []).append(word.get(token, ""))
    return tokens
