"""The rows of an atlas's base, from survey, second pass, weights and labels."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from patchclamp.atlas.bake.concept_labels import as_rows
from patchclamp.atlas.bake.detected import detected_by
from patchclamp.atlas.bake.head_reads import SLOTS, head_reads, writers_of
from patchclamp.atlas.bake.head_rows import write_head_rows
from patchclamp.atlas.bake.second_pass import KINDS, STRIP, Snippets, read_results
from patchclamp.atlas.bake.weight_panels import Directions, Panels, read_directions, token_panels, unit_panels
from patchclamp.core.bundle import Bundle
from patchclamp.core.estimate import Estimate
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.survey import StoredSurvey
from patchclamp.evaluate.labelled import Labelled
from patchclamp.record.features import Features
from patchclamp.record.heads import WithHeads, is_heads, split_path
from patchclamp.record.run import manifest_of
from patchclamp.subjects.corpora import Batches
from patchclamp.subjects.language import LanguageModel

TOKEN_PANELS = ("promotes", "suppresses", "excited_by", "inhibited_by")
LOUD = 0.5


def write_rows(
    db: sqlite3.Connection,
    model: LanguageModel | Features | WithHeads,
    batches: Batches,
    sites: Sequence[Site],
    survey: StoredSurvey,
    look: Bundle,
    labels: Labelled | None,
    beside: Sequence[Site] = (),
) -> None:
    """Write every table of the base, or of a layer of features, which is filled like one.

    Args:
        db: an empty base, its tables made.
        model: the subject.
        batches: what was read of a corpus of text.
        sites: the baked sites.
        survey: their survey.
        look: the second pass.
        labels: labelled tokens, where the text has them.
        beside: sites whose neurons come before these units, and may be their neighbours.
    """
    _about(db, model, batches, sites, survey, labels)
    directions = read_directions(model, sites)
    n_before = sum(site.width for site in beside)
    starts = np.cumsum([n_before, *(s.width for s in sites)]).tolist()
    firsts = dict(zip((s.path for s in sites), starts, strict=False))
    ids: set[int] = set()
    used: dict[int, Any] = {}
    samples = {}
    lengths = np.array([len(s) for batch in batches for s in batch], dtype=np.int64)
    read = model.read_as(sites) if isinstance(model, WithHeads) else list(sites)
    scored, strongest = detected_by(model, batches, read, labels)
    for number, site in enumerate(sites, len(beside)):
        first = firsts[site.path]
        path, basis = split_path(site.path)
        if isinstance(model, Features):
            basis = model.bases[site.path].name
        db.execute(
            "INSERT INTO sites VALUES (?, ?, ?, ?, ?, ?, ?)",
            (number, path, site.kind, site.layer, basis, first, site.width),
        )
        held, own = model.locate(site.path) if isinstance(model, WithHeads) else (site.path, slice(None))
        strips, counts = read_results(look, held, own)
        samples[site.path] = counts.pop("sample")
        _examples(db, first, strips, lengths)
        used |= dict.fromkeys(np.unique(strips.stimulus).tolist())
        panels = token_panels(model, directions, site)
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
        ids |= write_head_rows(db, model.model, batches, heads, firsts)
    _write_reads(db, model, sites, beside, firsts, directions)
    for path, panels in unit_panels(sites, directions, samples, firsts, _writes_of(model, beside)):
        insert_panels(db, firsts[path], panels)
    db.execute("INSERT INTO about VALUES ('reasons', ?)", [json.dumps(directions.reasons, sort_keys=True)])
    ids |= _contexts(db, batches, used)
    spelt = [(id, *model.tokenizer.spelling(id)) for id in sorted(ids)]
    db.executemany("INSERT INTO tokens VALUES (?, ?, ?)", [(id, word, int(raw)) for id, word, raw in spelt])
    _fires(db)
    index_words(db)


def _write_reads(
    db: sqlite3.Connection,
    model: LanguageModel | Features | WithHeads,
    sites: Sequence[Site],
    beside: Sequence[Site],
    firsts: dict[str, int],
    directions: Directions,
) -> None:
    """Write which units the queries and keys of heads read: heads of these sites, or of those before them."""
    if model.family is None:
        return
    own = [(site, firsts[site.path]) for site in sites]
    before = np.cumsum([0, *(site.width for site in beside)]).tolist()
    listed = list(zip(beside, before, strict=False)) if isinstance(model, Features) else own
    bare = model.model if isinstance(model, Features | WithHeads) else model
    writers = writers_of(bare, own, directions.write)
    for site, first in listed:
        if is_heads(site):
            panels = head_reads(bare, site, writers)
            if not isinstance(panels, str):
                insert_panels(db, first, panels)
            elif site.path in directions.reasons:
                directions.reasons[site.path] |= dict.fromkeys(SLOTS, panels)


def _writes_of(
    model: LanguageModel | Features | WithHeads, beside: Sequence[Site]
) -> dict[int, tuple[int | None, Float[Tensor, "unit d_model"]]]:
    """Return what the neurons before write, by the number of their site's first."""
    directions = read_directions(model.model, beside) if isinstance(model, Features) else None
    first, written = 0, {}
    for site in beside:
        if directions is not None and (rows := directions.write[site.path]) is not None:
            written[first] = (site.layer, rows)
        first += site.width
    return written


def _about(
    db: sqlite3.Connection,
    model: LanguageModel | Features | WithHeads,
    batches: Batches,
    sites: Sequence[Site],
    survey: StoredSurvey,
    labels: Labelled | None,
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
    db.executemany("INSERT INTO about VALUES (?, ?)", [(n, json.dumps(v, sort_keys=True)) for n, v in about.items()])


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
    n = np.minimum(lengths[strips.stimulus] - strips.start, STRIP).tolist()
    columns = [(strips.unit + first).tolist(), strips.kind.tolist(), strips.rank.tolist(), strips.value.tolist()]
    columns += [strips.stimulus.tolist(), strips.position.tolist(), strips.start.tolist()]
    acts = strips.acts.astype("<f2")
    db.executemany(
        "INSERT INTO examples VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        ((*row, acts[i, : n[i]].tobytes()) for i, row in enumerate(zip(*columns, strict=True))),
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


def _contexts(db: sqlite3.Connection, batches: Batches, used: dict[int, Any]) -> set[int]:
    """Keep the stimuli that examples stand in, and return their token ids."""
    ids: set[int] = set()
    number = 0
    for batch in batches:
        for stimulus in batch:
            assert isinstance(stimulus, Stimulus)
            if number in used:
                ids |= set(stimulus.ids.tolist())
                counted = stimulus.counted.astype(np.uint8).tobytes()
                db.execute(
                    "INSERT INTO contexts VALUES (?, ?, ?)", (number, stimulus.ids.astype("<i4").tobytes(), counted)
                )
            number += 1
    return ids


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
