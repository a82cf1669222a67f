"""An atlas's files opened, checked and joined."""

import hashlib
import math
import shlex
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from patchclamp.atlas.read import attached_layers as joined
from patchclamp.atlas.read.attached_layers import AttachedLayer
from patchclamp.atlas.read.head_line import head_words
from patchclamp.atlas.read.notes import SEARCHED, WRITTEN, as_description, join_notes, written_counters
from patchclamp.atlas.read.recorded import CANNOT_CLAMP, RECORDING, recorded_label, recorded_line, recorded_name
from patchclamp.atlas.read.responses import ConceptScore, CorpusView, EstimateView, Source, TokenView, TokenWeight
from patchclamp.atlas.read.unit_line import UnitLine, label_below, label_line, write_line
from patchclamp.atlas.store.layers import LAYERS, Counter, Layer, layer_files, read_layer
from patchclamp.atlas.store.notes import NOTES
from patchclamp.atlas.store.provenance import RUNS, Run, read_runs
from patchclamp.atlas.store.sqlite_files import (
    BASE,
    CLUSTERED,
    DAMAGED,
    SUBJECT,
    check_values,
    open_database,
    read_head,
)
from patchclamp.core.description import Description
from patchclamp.core.disk import file_hash
from patchclamp.core.errors import CannotIntervene, Damaged, PatchclampError, report_damage
from patchclamp.core.estimate import Estimate
from patchclamp.core.plain_names import name_unit
from patchclamp.core.stats import Interval
from patchclamp.core.unit import UnitKey

P = ParamSpec("P")
R = TypeVar("R")


class NotFound(PatchclampError):
    """What was asked for is not in this atlas."""


@dataclass(frozen=True)
class ScoredDescription:
    """A description with the layer that holds it and what it gets wrong; of a written one, its note and its time.

    Args:
        layer: the layer's id.
        description: the words.
        counters: examples of the base that contradict them.
        number: the description's in its layer.
        failures: how many windows the layer keeps that the words get wrong.
        note: id of a written one.
        made: when that was written.
    """

    layer: str
    description: Description
    counters: tuple[Counter, ...]
    number: int = 0
    failures: int = 0
    note: str = ""
    made: str | None = None

    @property
    def wrong(self) -> int:
        """Places that are known where the words are wrong."""
        return len(self.counters) + self.failures

    @property
    def best(self) -> Estimate | None:
        """The score that it is ranked by: its first."""
        return self.description.scores[0] if self.description.scores else None


class Reading:
    """Hold an atlas open for reading; what the pages are made from.

    Args:
        folder: the atlas.
        check: compare the base's file with its hash; left out where that was done before.

    Raises:
        PatchclampError: no atlas there, or a newer one.
        Damaged: the base is not what was baked.
    """

    def __init__(self, folder: Path, *, check: bool = True) -> None:
        self.folder = folder
        self.head = read_head(folder)
        try:
            whole = not check or file_hash(folder / BASE) == self.head["files"][BASE]
        except OSError as problem:
            raise Damaged(
                expected="the base of an atlas", got=f"{folder / BASE}: {problem}", remedy=DAMAGED
            ) from problem
        if not whole:
            raise Damaged(expected=f"{folder / BASE} as it was baked", got="another file", remedy=DAMAGED)
        self.db = open_database(folder / BASE)
        # Whoever lets go of the atlas has closed it.
        weakref.finalize(self, self.db.close)
        self.lock = threading.Lock()
        self.db.execute("PRAGMA temp_store = MEMORY")
        self.layers: list[Layer] = []
        self.notes: list[str] = []
        try:
            if check:
                check_values(self.db)
            self.parts: list[AttachedLayer] = [joined.read_part(self.db, "main", self.base_run, 0, 0)]
            self.about = self.parts[0].about
            self.corpus = CorpusView(**self.about["corpus"])
            if not all(isinstance(self.about["subject"][name], str) for name in ("slug", "hash", "class", "dtype")):
                raise TypeError("its subject is none")
            self._read_layers()
            joined.join(self.db, self.parts)
        except (sqlite3.DatabaseError, ValueError, LookupError, TypeError, AttributeError, PatchclampError) as problem:
            raise Damaged(expected="a whole base", got=f"{self.folder / BASE}: {problem}", remedy=DAMAGED) from problem
        self.sites = [row for part in self.parts for row in part.sites]
        self.n_units = sum(part.n for part in self.parts)
        self.tokens = {id: TokenView(id, text, bool(raw)) for id, text, raw in self.rows("SELECT * FROM tokens")}
        self.written = join_notes(folder, self.index_of)
        self.notes += self.written.warnings
        self._join_descriptions()

    # -- asking -------------------------------------------------------------------------------------------------------

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows that a query gives.

        Raises:
            Damaged: the file was changed under it.
        """
        try:
            with self.lock:
                return self.db.execute(query, values).fetchall()
        except sqlite3.DatabaseError as problem:
            raise Damaged(expected="a whole base", got=f"{self.folder / BASE}: {problem}", remedy=DAMAGED) from problem

    @property
    def slug(self) -> str:
        """The subject's slug."""
        return str(self.about["subject"]["slug"])

    @cached_property
    def hash(self) -> str:
        """Content hash of base and layers together, and of what people wrote."""
        parts = [self.head["base"], *(layer.id for layer in self.layers)]
        return hashlib.sha256("\n".join(parts + [self.written.digest] * bool(self.written.digest)).encode()).hexdigest()

    @property
    def base_run(self) -> str:
        """Id of the run that made the base."""
        return f"base-{self.head['base'][:16]}"

    @cached_property
    def runs(self) -> dict[str, Run]:
        """What is remembered of every part, the parts without a record included."""
        kept = read_runs(self.folder)
        parts = {self.base_run: ("atlas bake", "the base")}
        verbs = {"graph": "explain", "basis": "atlas add", "comparison": "compare"}
        parts |= {layer.id: (verbs.get(layer.kind, "describe"), layer.kind) for layer in self.layers}
        known = {id: run for id, run in kept.items() if id in parts}
        if self.written.digest:
            command = f"patchclamp atlas serve {shlex.quote(self.folder.name)} --write"
            known[WRITTEN] = Run("atlas serve", command, "what people wrote about units")
        return known | {id: Run(verb, "", made) for id, (verb, made) in parts.items() if id not in known}

    def require_text(self, what: str) -> None:
        """Refuse an atlas of images or of a recording where something is made of texts.

        Args:
            what: that, as the subject of the sentence.

        Raises:
            PatchclampError: it is one.
        """
        others = {
            "image": ("images", "`patchclamp atlas serve` shows its pictures; atlas.pictures(KEY) gives the numbers."),
            RECORDING: (
                "a recorded brain",
                "Export parquet; `patchclamp atlas serve` and atlas.recorded_unit(KEY) show it.",
            ),
        }
        if self.about["modality"] in others:
            of, remedy = others[self.about["modality"]]
            raise PatchclampError(
                expected=f"an atlas of text: {what}", got=f"{self.folder.name}, an atlas of {of}", remedy=remedy
            )

    def require_model(self) -> None:
        """Refuse an atlas of a recording where a model is to be attached or written about.

        Raises:
            CannotIntervene: it is one.
        """
        if self.about["modality"] == RECORDING:
            raise CannotIntervene(
                expected="an atlas of a model",
                got=f"{self.folder.name}, an atlas of a recorded brain. {CANNOT_CLAMP}",
                remedy="Serve it without --model, or clamp a network instead.",
            )

    def source(self, python: str, run: str | None = None) -> Source:
        """Return where a page comes from."""
        id = run or self.base_run
        return Source(id, self.runs[id].command, f"pc.atlas.open({self.folder.name!r}){python}")

    @cached_property
    def spelt(self) -> dict[str, list[int]]:
        """Tokens by their text without the space before it."""
        found: dict[str, list[int]] = {}
        for id, token in self.tokens.items():
            found.setdefault(token.text.strip(), []).append(id)
        return found

    def token(self, id: int) -> TokenView:
        """Return a token as people read it."""
        return self.tokens.get(id) or TokenView(id, f"token {id}", False)

    def part(self, unit: int) -> tuple[AttachedLayer, int]:
        """Return the part that has a unit, and the unit's number in its tables."""
        for part in self.parts:
            if part.first <= unit < part.first + part.n:
                return part, unit - part.first + part.own
        raise NotFound(expected=f"a unit below {self.n_units}", got=str(unit), remedy="Restore the atlas.")

    def row(self, unit: int, *columns: str) -> tuple[Any, ...]:
        """Return some columns of a unit, from the part that has it."""
        part, own = self.part(unit)
        [values] = self.rows(f"SELECT {', '.join(columns)} FROM {part.schema}.units WHERE id = ?", [own])
        return values

    # -- units --------------------------------------------------------------------------------------------------------

    def key(self, unit: int) -> UnitKey:
        """Return a unit's key from its number among all."""
        for _, path, _, _, basis, first, units in self.sites:
            if first <= unit < first + units:
                return UnitKey(path, unit - first, basis, self.slug)
        raise NotFound(expected=f"a unit below {self.n_units}", got=str(unit), remedy="Restore the atlas.")

    def name(self, unit: int) -> str:
        """Return a unit in words: of a recording what it is called there, else its site and number."""
        return recorded_name(self, unit) if self.about["modality"] == RECORDING else name_unit(self.key(unit))

    def index_of(self, key: str) -> int:
        """Return a unit's number among all from its key, subject and place allowed.

        Raises:
            NotFound: the atlas has no such unit.
        """
        try:
            parsed = UnitKey.parse(key)
        except PatchclampError as problem:
            raise NotFound(expected=problem.expected, got=problem.got, remedy=problem.remedy) from problem
        for _, path, _, _, basis, first, units in self.sites:
            if (path, basis) == (parsed.site, parsed.basis) and parsed.index < units:
                if parsed.subject in (None, self.slug):
                    return int(first) + parsed.index
                break
        raise NotFound(
            expected=f"a unit of {self.slug} in this atlas",
            got=repr(key[:120]),
            remedy="Search for it, or see the sites on the first page.",
        )

    def concepts(self, unit: int) -> list[ConceptScore]:
        """Return the labelled concepts or patterns of tokens that a unit detects best."""
        part, own = self.part(unit)
        ways = {"image": "every picture by itself", RECORDING: "clustered by trial, or by block of time"}
        clusters = ways.get(part.about["modality"], CLUSTERED)
        return [
            ConceptScore(name, kind, EstimateView.of(Estimate(area, Interval(low, high, 0.95, clusters), n, "AUROC")))
            for name, kind, area, low, high, n in self.rows(
                f"SELECT concept, kind, round(auroc, 4), round(low, 4), round(high, 4), n FROM {part.schema}.concepts "
                "WHERE unit = ? ORDER BY rank",
                [own],
            )
        ]

    def line(self, unit: int | str) -> UnitLine:
        """Return what is known of a unit in one measured line.

        Args:
            unit: its number among all, or its key.

        Raises:
            NotFound: the atlas has no such unit.

        Cost: four look-ups.
        """
        number = unit if isinstance(unit, int) else self.index_of(unit)
        part, own = self.part(number)
        concepts = self.concepts(number)
        if part.about["modality"] == RECORDING:
            return recorded_line(self, number, concepts)
        frequency, minimum, maximum = map(number_or_none, self.row(number, "frequency", "minimum", "maximum"))
        strongest = self.rows(f"SELECT token, mean FROM {part.schema}.strongest WHERE unit = ?", [own])
        promoted = self.rows(
            f"SELECT ids, weights FROM {part.schema}.panels WHERE unit = ? AND name = 'promotes'", [own]
        )
        return write_line(
            concepts[0] if concepts else None,
            self.weigh(*strongest[0]) if strongest else None,
            self.token_weights(*promoted[0]) if promoted else [],
            frequency,
            minimum,
            maximum,
            self.attends(number),
        )

    def attends(self, unit: int) -> str:
        """Return where an attention head attends to, in words; empty of other units."""
        if self.key(unit).basis != "heads":
            return ""
        part, own = self.part(unit)
        known = self.rows(
            f"SELECT first, itself, previous, next, same, copies, erases FROM {part.schema}.heads WHERE unit = ?", [own]
        )
        pairs = self.rows(
            f"SELECT source, target, weight FROM {part.schema}.pairs WHERE unit = ? AND name = 'attends' AND rank = 0",
            [own],
        )
        pair = (self.token(pairs[0][0]), self.token(pairs[0][1]), float(pairs[0][2])) if pairs else None
        return head_words(list(known[0][:5]), float(known[0][5]), float(known[0][6]), pair) if known else ""

    def label(self, unit: int | str, value: float | None = None) -> str:
        """Return a few words for a unit: its best description, else what it detects, else what it promotes.

        Args:
            unit: its number among all, or its key.
            value: its activation where it is shown; below zero it promotes what it suppresses above.

        Raises:
            NotFound: the atlas has no such unit.
        """
        number = unit if isinstance(unit, int) else self.index_of(unit)
        said = self.descriptions_of(number)
        if not said and self.about["modality"] == RECORDING:
            return recorded_label(self.line(number))
        if not said and value is not None and value < 0:
            return self._label_below(number)
        return label_line(self.line(number), said[0].description.text if said else None)

    def _label_below(self, number: int) -> str:
        part, own = self.part(number)
        kept = self.rows(f"SELECT ids, weights FROM {part.schema}.panels WHERE unit = ? AND name = 'suppresses'", [own])
        return label_below(self.token_weights(*kept[0]) if kept else [])

    def weigh(self, id: int, weight: float) -> TokenWeight:
        """Return a token with a number of four digits."""
        token = self.token(id)
        return TokenWeight(token.id, token.text, token.bytes, float(f"{weight:.4g}"))

    def token_weights(self, ids: bytes, weights: bytes) -> list[TokenWeight]:
        """Return a panel of tokens as it is kept."""
        pairs = zip(np.frombuffer(ids, "<i4").tolist(), np.frombuffer(weights, "<f4").tolist(), strict=True)
        return [self.weigh(id, weight) for id, weight in pairs]

    def descriptions_of(self, unit: int) -> list[ScoredDescription]:
        """Return a unit's descriptions, the best scored first."""
        return self._said.get(unit, [])

    @property
    def described(self) -> Mapping[int, list[ScoredDescription]]:
        """Descriptions by their unit's number among all, the best scored first."""
        return self._said

    @property
    def descriptions(self) -> list[Description]:
        """All descriptions, unit by unit, the best scored first."""
        return [one.description for said in self._said.values() for one in said]

    @property
    def n_described(self) -> int:
        """Number of units with a description."""
        return len(self._said)

    def n_described_in(self, first: int, units: int) -> int:
        """Return how many of some consecutive units have a description."""
        return sum(first <= unit < first + units for unit in self._said)

    # -- layers -------------------------------------------------------------------------------------------------------

    def _read_layers(self) -> None:
        for file in layer_files(self.folder):
            try:
                with report_damage(file, DAMAGED):
                    layer = read_layer(file)
                    if layer.kind == "basis":
                        self.parts.append(joined.attach(self.db, file, layer.id, self.head["base"], self.parts))
                    self.layers.append(layer)
            except PatchclampError as problem:
                # One layer that cannot be read takes nothing from the rest.
                self.notes.append(f"{problem.got} was left out. {problem.remedy}")

    def _join_descriptions(self) -> None:
        """Bring descriptions to where Find can ask for them: tables in memory beside the base."""
        self._said: dict[int, list[ScoredDescription]] = {}
        self._told: set[str] = set()
        self._telling = threading.Lock()
        for layer in self.layers:
            for one in layer.descriptions:
                try:
                    unit = self.index_of(str(one.description.unit))
                except NotFound:
                    self.notes.append(f"{layer.id} describes {one.description.unit}, which this atlas does not have.")
                    continue
                self._said.setdefault(unit, []).append(
                    ScoredDescription(layer.id, one.description, one.counters, one.number, one.failures)
                )
        files = [self.folder / BASE, *(self.folder / LAYERS / f"{part.id}.sqlite" for part in self.parts[1:])]
        for unit, note in self.written.descriptions():
            counters = written_counters(files, note)
            self._said.setdefault(unit, []).append(
                ScoredDescription(WRITTEN, as_description(note), counters, note=note.id, made=note.time)
            )
        for said in self._said.values():
            said.sort(key=lambda one: (-one.best.value if one.best else math.inf, one.description.text))
        try:
            with self.lock:
                self.db.execute("CREATE TEMP TABLE described (unit INTEGER PRIMARY KEY, text TEXT, score REAL) STRICT")
                self.db.execute(
                    "CREATE VIRTUAL TABLE temp.said USING fts5 (text, content = '', tokenize = 'unicode61')"
                )
                self.db.executemany("INSERT INTO described VALUES (?, ?, ?)", self._best())
                self.db.execute("CREATE TEMP TABLE starred (unit INTEGER PRIMARY KEY) STRICT")
                self.db.executemany("INSERT INTO starred VALUES (?)", [(unit,) for unit in self.written.starred])
                self.db.executemany(
                    "INSERT INTO said (rowid, text) VALUES (?, ?)",
                    ((unit, "\n".join(texts)) for unit, texts in self._texts().items()),
                )
        except sqlite3.DatabaseError as problem:
            raise Damaged(expected="a whole base", got=f"{self.folder / BASE}: {problem}", remedy=DAMAGED) from problem

    def _texts(self) -> dict[int, list[str]]:
        """Return what people and methods wrote of each unit: descriptions, notes and tags."""
        texts = {unit: [one.description.text for one in said] for unit, said in self._said.items()}
        for unit, notes in self.written.by_unit.items():
            if own := [note.text for note in notes if note.kind in SEARCHED]:
                texts.setdefault(unit, []).extend(own)
        return texts

    def tell(self, table: str, lines: Callable[[], Iterable[tuple[int, str]]]) -> None:
        """Bring words of units to where Find can ask for them: a table in memory, made when it is first asked for.

        Args:
            table: its name.
            lines: gives units by their number among all, each with words; a unit may come several times.
        """
        with self._telling:
            if table in self._told:
                return
            texts: dict[int, list[str]] = {}
            for unit, line in lines():
                texts.setdefault(unit, []).append(line)
            with self.lock:
                self.db.execute(
                    f"CREATE VIRTUAL TABLE temp.{table} USING fts5 (text, content = '', tokenize = 'unicode61')"
                )
                self.db.executemany(
                    f"INSERT INTO {table} (rowid, text) VALUES (?, ?)",
                    ((unit, "\n".join(own)) for unit, own in texts.items()),
                )
            self._told.add(table)

    def _best(self) -> Iterable[tuple[int, str, float | None]]:
        for unit, said in self._said.items():
            yield unit, said[0].description.text, said[0].best.value if said[0].best else None

    # -- files --------------------------------------------------------------------------------------------------------

    @property
    def bytes(self) -> int:
        """Size on disk of everything."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())


def open_reading(path: str | Path, *, check: bool = True) -> Reading:
    """Open an atlas for reading; values which no bake writes are reported as damage.

    Args:
        path: the atlas's folder.
        check: compare the base's file with its hash.

    Raises:
        PatchclampError: no atlas there, or a newer one.
        Damaged: the base is not what was baked.
    """
    folder = Path(path).resolve()
    with report_damage(folder, DAMAGED):
        return Reading(folder, check=check)


def page_of(build: Callable[Concatenate[Reading, P], R]) -> Callable[Concatenate[Reading, P], R]:
    """Return a function of an atlas that reports values which no bake writes as damage."""

    @wraps(build)
    def read(atlas: Reading, *args: P.args, **kwargs: P.kwargs) -> R:
        with report_damage(atlas.folder, DAMAGED):
            return build(atlas, *args, **kwargs)

    return read


def stamp(folder: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Return what changes when a layer, run or note is added or the base is replaced; it costs a few system calls."""
    times = []
    for name in (SUBJECT, BASE, LAYERS, RUNS, NOTES):
        try:
            stat = (folder / name).stat()
            # Clocks of files tick slowly; a journal that only grows shows by its size that it did.
            times.append((name, stat.st_ino, stat.st_mtime_ns, stat.st_size))
        except OSError:
            times.append((name, 0, 0, 0))
    return tuple(times)


def number_or_none(x: Any, digits: int = 6) -> float | None:
    """Return a number to so many digits, or None where it is none that JSON has."""
    if x is None or not math.isfinite(x):
        return None
    return float(f"{x:.{digits}g}")
