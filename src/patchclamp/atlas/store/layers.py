"""What was found out after the bake, a file each, written whole and named by its content.

A layer holds descriptions of units, the graph of one explained answer, a comparison, or the features of a dictionary
(written by ``bake.features``). Any number can be added; the base never changes.
"""

import json
import math
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from patchclamp.atlas.store.comparisons import ARRAYS, Comparison, fill_arrays, kind_of, read_comparison
from patchclamp.atlas.store.counter_examples import Counter, counters_of, local_key
from patchclamp.atlas.store.provenance import Run, write_run
from patchclamp.atlas.store.scored import TABLE, fill_failures, read_failures
from patchclamp.atlas.store.sqlite_files import (
    BASE,
    HASHED,
    as_os_error,
    check_values,
    content_hash,
    open_database,
    read_head,
    write_database,
)
from patchclamp.core.arguments import checked
from patchclamp.core.checks import same_subject
from patchclamp.core.description import Description
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.disk import hold_folder, refuse_write
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.graph import Edge, Graph, Node, finite_measures
from patchclamp.core.model_comparison import ModelComparison
from patchclamp.core.scoring import FailingWindow, Scoring, measure_name
from patchclamp.core.stats import Interval
from patchclamp.core.unit import UnitKey

LAYERS = "layers"
_NAME = re.compile(r"(descriptions|graph|basis|comparison)-([0-9a-f]{16})")
ABOUT = "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;"
_DESCRIPTIONS = f"""{ABOUT}{TABLE}
CREATE TABLE descriptions (
    id INTEGER PRIMARY KEY, unit TEXT NOT NULL, text TEXT NOT NULL, author TEXT NOT NULL,
    evidence TEXT NOT NULL, scores TEXT NOT NULL
) STRICT;
CREATE TABLE counters (   -- an example of the base, the place in its strip, and what the words get wrong there
    description INTEGER NOT NULL, rank INTEGER NOT NULL, kind INTEGER NOT NULL, example INTEGER NOT NULL,
    place INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (description, rank)
) STRICT, WITHOUT ROWID;
"""
_GRAPH = f"""{ABOUT}
CREATE TABLE nodes (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, unit TEXT, position INTEGER, kind TEXT NOT NULL, score REAL NOT NULL,
    measures TEXT NOT NULL
) STRICT;
CREATE TABLE edges (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL, target TEXT NOT NULL, weight REAL NOT NULL, slot TEXT NOT NULL,
    measured REAL
) STRICT;
"""
BASES = """
CREATE TABLE bases (            -- of a layer of features: how the vectors of a site are read
    site INTEGER PRIMARY KEY, activation TEXT NOT NULL, k INTEGER, reads TEXT, hash TEXT NOT NULL
) STRICT;
CREATE TABLE arrays (           -- little-endian; none where the dictionary is too large to be kept
    site INTEGER NOT NULL, name TEXT NOT NULL, dtype TEXT NOT NULL, shape TEXT NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (site, name)
) STRICT;
"""
_TABLES = {
    "descriptions": ("about", "descriptions", "counters", "failures"),
    "graph": ("about", "nodes", "edges"),
    "basis": (*HASHED, "bases", "arrays"),
    "comparison": ("about", "arrays"),
}


@dataclass(frozen=True)
class StoredDescription:
    """A description as a layer holds it.

    Args:
        number: its number in the layer.
        description: the words.
        counters: examples of the base that contradict them.
        failures: how many windows the layer keeps that they get wrong.
    """

    number: int
    description: Description
    counters: tuple[Counter, ...]
    failures: int


@dataclass(frozen=True)
class Layer:
    """One layer, read.

    Args:
        id: ``descriptions-…``, ``graph-…``, ``comparison-…`` or ``basis-…``.
        kind: which of these.
        bytes: size of its file.
        title: who wrote the descriptions, the prompt and answer of a graph, what was compared, or the name of a basis
            and its sites.
        descriptions: with what each gets wrong.
        scoring: of descriptions, how they were made and judged; None where nobody said.
        graph: the graph of a graph's layer.
        n_features: how many features a basis's layer has.
        comparison: that of a comparison's layer.
    """

    id: str
    kind: str
    bytes: int
    title: str
    descriptions: tuple[StoredDescription, ...] = ()
    scoring: Scoring | None = None
    graph: Graph | None = None
    n_features: int = 0
    comparison: Comparison | None = None


@checked
def write_descriptions(
    atlas: str | Path,
    descriptions: Sequence[Description] | Descriptions,
    *,
    failures: Mapping[str, Sequence[FailingWindow]] | None = None,
    scoring: Scoring | None = None,
    run: Run | None = None,
    title: str | None = None,
) -> str:
    """Add descriptions of units to an atlas as a layer, with examples that contradict them.

    A description that names tokens in quotation marks, such as ``fires on " cat"``, says where the unit fires. A
    counter-example is a named token at which the unit stays below a tenth of its maximum, or another token at which it
    exceeds half of it, among the examples that the atlas holds of it. Descriptions that were scored have ``failures``
    instead, which know more than the quotation marks.

    Args:
        atlas: the atlas's folder.
        descriptions: the descriptions, of neurons or of features that were added; keys may leave the subject out. Of
            Descriptions, units without words are left out.
        failures: windows of text that a description gets wrong, the worst first, by the unit's key without subject.
        scoring: how the descriptions were made and judged; the Trust page shows it.
        run: how they were made; remembered under the layer's id.
        title: what the layer is called (default: the authors).

    Returns:
        str: the layer's id, which its content gives: the same descriptions are the same layer.

    Raises:
        PatchclampError: no atlas there, a unit that it does not have, or a full disk.

    Cost: reads the examples of every described unit.
    """
    folder = Path(atlas)
    head = read_head(folder)
    some = list_described(descriptions) if isinstance(descriptions, Descriptions) else descriptions
    if not some:
        raise PatchclampError(expected="at least one description", got="none", remedy="Describe a unit first.")
    rows = sorted(some, key=lambda d: (str(local_key(d.unit)), d.author, d.text))
    about: dict[str, Any] = {"kind": "descriptions", "title": title or ", ".join(sorted({d.author for d in rows}))}
    if scoring is not None:
        about["scoring"] = scoring.to_json()
    with ExitStack() as files:
        parts = [
            files.enter_context(closing(open_database(path)))
            for path in (folder / BASE, *_features(folder, head["base"]))
        ]
        wrong = [counters_of(parts, d, contradict=failures is None) for d in rows]

    def fill(db: sqlite3.Connection) -> None:
        for id, (row, counters) in enumerate(zip(rows, wrong, strict=True)):
            scores = json.dumps([_score(s) for s in row.scores], sort_keys=True)
            evidence = json.dumps(list(row.evidence))
            db.execute(
                "INSERT INTO descriptions VALUES (?, ?, ?, ?, ?, ?)",
                (id, str(local_key(row.unit)), row.text, row.author, evidence, scores),
            )
            db.executemany(
                "INSERT INTO counters VALUES (?, ?, ?, ?, ?, ?)",
                [(id, r, c.kind, c.example, c.place, c.reason) for r, c in enumerate(counters)],
            )
            fill_failures(db, id, (failures or {}).get(str(local_key(row.unit)), ()))

    return write_layer(folder, "descriptions", _DESCRIPTIONS, about, fill, run)


@checked
def write_graph(atlas: str | Path, graph: Graph, *, run: Run | None = None) -> str:
    """Add an explained answer to an atlas as a layer.

    Args:
        atlas: the atlas's folder.
        graph: the graph.
        run: how it was made.

    Returns:
        str: the layer's id.

    Raises:
        PatchclampError: no atlas there, a graph of another model, or a full disk.
    """
    folder = Path(atlas)
    read_head(folder)
    with closing(open_database(folder / BASE)) as base:
        subject = json.loads(base.execute("SELECT value FROM about WHERE name = 'subject'").fetchone()[0])
    same_subject(subject, graph, what="a graph", remedy="Bake an atlas of that model.", required=True)
    data = graph.to_json()
    about = {"kind": "graph", **{n: data[n] for n in ("subject", "metric", "measures", "about")}}

    def fill(db: sqlite3.Connection) -> None:
        for id, node in enumerate(graph.nodes):
            unit, position = _unit_of(node.key)
            measures = json.dumps(finite_measures(node.measures), sort_keys=True)
            db.execute(
                "INSERT INTO nodes VALUES (?, ?, ?, ?, ?, ?, ?)",
                (id, node.key, unit, position, node.kind, float(node.score), measures),
            )
        db.executemany(
            "INSERT INTO edges VALUES (?, ?, ?, ?, ?, ?)",
            [(id, e.source, e.target, float(e.weight), e.slot, e.measured) for id, e in enumerate(graph.edges)],
        )

    return write_layer(folder, "graph", _GRAPH, about, fill, run)


@checked
def write_comparison(atlas: str | Path, comparison: Comparison, *, run: Run | None = None) -> str:
    """Add a comparison to an atlas as a layer: of two models, or of two recordings.

    Args:
        atlas: the atlas's folder.
        comparison: of models one must be the atlas's; a Similarity of recordings may be of anything.
        run: how it was made.

    Returns:
        str: the layer's id.

    Raises:
        PatchclampError: no atlas there, a comparison of other models, or a full disk.
    """
    folder = Path(atlas)
    read_head(folder)
    if isinstance(comparison, ModelComparison):
        with closing(open_database(folder / BASE)) as base:
            subject = json.loads(base.execute("SELECT value FROM about WHERE name = 'subject'").fetchone()[0])
        if subject["hash"] not in comparison.hashes:
            raise PatchclampError(
                expected=f"a comparison with {subject['slug']}, the model of the atlas",
                got=f"{' and '.join(comparison.names)}, of other weights",
                remedy="Bake an atlas of one of them.",
            )
    about = {"kind": "comparison", "of": kind_of(comparison), "comparison": comparison.parts()[0]}
    return write_layer(folder, "comparison", ABOUT + ARRAYS, about, lambda db: fill_arrays(db, comparison), run)


def write_layer(folder: Path, kind: str, script: str, about: dict[str, Any], fill: Any, run: Run | None) -> str:
    """Write a layer under a passing name, find out what it is called, and rename it there; one writer at a time.

    Returns:
        str: the layer's id.
    """
    passing = folder / LAYERS / f"new-{kind}.sqlite"
    with hold_folder(passing.parent, wait=True):
        with write_database(passing, script) as db:
            rows = [(name, json.dumps(value, sort_keys=True)) for name, value in about.items()]
            db.executemany("INSERT INTO about VALUES (?, ?)", rows)
            fill(db)
        return name_layer(folder, kind, passing, run)


def name_layer(folder: Path, kind: str, passing: Path, run: Run | None) -> str:
    """Name a written layer by its content, remember its run, and put it in its place.

    Returns:
        str: the layer's id.

    Raises:
        PatchclampError: a full disk, or no permission.
    """
    layers = folder / LAYERS
    with closing(open_database(passing)) as db:
        id = f"{kind}-{content_hash(db, _TABLES[kind])[:16]}"
    if run is not None:
        # Before the layer: whoever sees the layer also sees where it came from.
        write_run(folder, id, run)
    try:
        passing.replace(layers / f"{id}.sqlite")
    except OSError as problem:
        raise refuse_write(layers / id, as_os_error(problem)) from problem
    return id


def layer_path(folder: Path, id: str) -> Path:
    """Return where a layer of an atlas lies."""
    return folder / LAYERS / f"{id}.sqlite"


def layer_files(folder: Path) -> list[Path]:
    """Return the files of an atlas's layers, by name; files of other names are left alone."""
    folder_of_layers = folder / LAYERS
    return (
        sorted(f for f in folder_of_layers.glob("*.sqlite") if _NAME.fullmatch(f.stem))
        if folder_of_layers.is_dir()
        else []
    )


def read_layer(path: Path) -> Layer:
    """Read a layer whole, and check that it is what its name says.

    Raises:
        Damaged: it is not.
        PatchclampError: it is of a newer version.
    """
    named = _NAME.fullmatch(path.stem)
    try:
        with closing(open_database(path)) as db:
            kind = named[1] if named else ""
            stat = path.stat()
            if not named or _hash_layer(path, kind, stat.st_ino, stat.st_mtime_ns, stat.st_size)[:16] != named[2]:
                raise ValueError("its content is not what its name says")
            db.row_factory = sqlite3.Row
            size = stat.st_size
            if kind == "basis":
                sites = db.execute("SELECT path, basis, units FROM sites ORDER BY id").fetchall()
                title = f"{sites[0]['basis']} at {', '.join(row['path'] for row in sites)}"
                return Layer(path.stem, kind, size, title, n_features=sum(row["units"] for row in sites))
            if kind == "comparison":
                found = read_comparison(path, stat.st_ino, stat.st_mtime_ns, stat.st_size)
                return Layer(path.stem, kind, size, " and ".join(found.names), comparison=found)
            if kind == "graph":
                graph = _graph(db)
                title = f"{graph.about.get('prompt', '')} → {graph.about.get('target', '')}"
                return Layer(path.stem, kind, size, title, graph=graph)
            about = {row["name"]: json.loads(row["value"]) for row in db.execute("SELECT * FROM about")}
            scoring = Scoring.from_json(about["scoring"]) if "scoring" in about else None
            title = str(about["title"])
            return Layer(path.stem, kind, size, title, descriptions=tuple(_descriptions(db)), scoring=scoring)
    except (sqlite3.Error, OSError, ValueError, KeyError, TypeError) as problem:
        raise Damaged(
            expected="a whole layer", got=f"{path}: {problem}", remedy="Write it again, or remove it."
        ) from problem


@lru_cache(maxsize=256)
def _hash_layer(path: Path, kind: str, *_seen: int) -> str:
    """Hash a layer's content, once for each state of its file: a server opens the atlas anew with every layer."""
    with closing(open_database(path)) as db:
        check_values(db)
        return content_hash(db, _TABLES[kind])


def _score(score: Estimate) -> dict[str, Any]:
    interval = None if score.interval is None else asdict(score.interval)
    chance = None if score.null is None else asdict(score.null)
    return {"measure": score.unit, "value": score.value, "interval": interval, "n": score.n, "chance": chance}


def _read_score(data: Mapping[str, Any]) -> Estimate:
    interval = None if data["interval"] is None else Interval(**data["interval"])
    chance = None if data["chance"] is None else Interval(**data["chance"])
    return Estimate(float(data["value"]), interval, int(data["n"]), str(data["measure"]), chance)


def _descriptions(db: sqlite3.Connection) -> Iterable[StoredDescription]:
    counters: dict[int, list[Counter]] = {}
    for row in db.execute("SELECT * FROM counters ORDER BY description, rank"):
        found = Counter(row["kind"], row["example"], row["place"], row["reason"])
        counters.setdefault(row["description"], []).append(found)
    failures = dict(map(tuple, db.execute("SELECT description, count(*) FROM failures GROUP BY description")))
    for row in db.execute("SELECT * FROM descriptions ORDER BY id"):
        id, scores = row["id"], tuple(map(_read_score, json.loads(row["scores"])))
        evidence = tuple(map(str, json.loads(row["evidence"])))
        words = Description(UnitKey.parse(row["unit"]), row["text"], row["author"], evidence, scores)
        yield StoredDescription(id, words, tuple(counters.get(id, ())), failures.get(id, 0))


def failing_windows(path: Path, number: int) -> list[FailingWindow]:
    """Return the windows that a description of a layer gets wrong, the worst first.

    Args:
        path: the layer's file.
        number: the description's in it.

    Raises:
        Damaged: the file was changed.
    """
    try:
        with closing(open_database(path)) as db:
            return read_failures(db, number)
    except (sqlite3.Error, ValueError, PatchclampError) as problem:
        raise Damaged(
            expected="a whole layer", got=f"{path}: {problem}", remedy="Write it again, or remove it."
        ) from problem


def list_described(descriptions: Descriptions) -> list[Description]:
    """Return the descriptions of an index one by one; units without words are left out.

    Scores are named by their scorer: ``detection: balanced accuracy``.
    """
    found = []
    for place in range(len(descriptions)):
        if text := descriptions.text(place):
            scores = tuple(
                replace(
                    one, unit=measure_name(name, one.unit), null=Interval(column.chance, column.chance, 0.95, "chance")
                )
                for name, column in descriptions.scores.items()
                if math.isfinite((one := column.estimate(place)).value)
            )
            unit = descriptions.index.unit(place)
            found.append(Description(unit, text, descriptions.author, descriptions.evidence, scores))
    return found


def _graph(db: sqlite3.Connection) -> Graph:
    about = {row["name"]: json.loads(row["value"]) for row in db.execute("SELECT * FROM about")}
    nodes = [
        Node(row["key"], row["kind"], _finite(row["score"]), finite_measures(json.loads(row["measures"])))
        for row in db.execute("SELECT * FROM nodes ORDER BY id")
    ]
    edges = [
        # Layers that were written before edges had slots, or were measured, have neither.
        Edge(row["source"], row["target"], _finite(row["weight"]), row.get("slot", ""), row.get("measured"))
        for row in map(dict, db.execute("SELECT * FROM edges ORDER BY id"))
    ]
    return Graph(
        about["subject"],
        about["metric"],
        tuple(nodes),
        tuple(edges),
        finite_measures(about["measures"]),
        about["about"],
    )


def _finite(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r:.40} where a finite number belongs")
    return float(value)


def _unit_of(key: str) -> tuple[str | None, int | None]:
    try:
        parsed = UnitKey.parse(key)
    except PatchclampError:
        return None, None  # an input or an output
    return str(local_key(parsed)), parsed.position


def _features(folder: Path, base: str) -> Iterator[Path]:
    """Yield the layers of features that are read with an atlas: whole ones, made beside its base."""
    for file in layer_files(folder):
        if file.stem.startswith("basis-"):
            try:
                read_layer(file)
            except PatchclampError:
                continue
            with closing(open_database(file)) as db:
                beside = db.execute("SELECT value FROM about WHERE name = 'beside'").fetchone()
            if beside is not None and json.loads(beside[0]).get("base") == base:
                yield file
