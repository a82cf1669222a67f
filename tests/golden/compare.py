"""Comparison of kept rows with computed ones: within a tolerance, after renames, ties free.

Two values are the same where they differ by no more than RTOL of the kept one, or by ATOL of the largest value of their
measure in the case: a value that is nothing but rounding has no figure of its own.
"""

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from golden.rows import DRAWN, RANKED, Rows

RTOL, ATOL = 1e-5, 5e-6
COARSE = {"r": 1e-4, "share": 1e-5, "m:total": 5e-5, "m:score.sum": 5e-5, "m:gap": 1e-4, "m:corrupt": 1e-5}
"""ATOL of measures and quantities that add up the rounding of many: sums over all parts, slopes over few,
shares of pairs whose two ends differ little, a planted answer that is absent."""
LEAST_SCALE = {"share": 1.0}
"""A share is of m(clean) − m(baseline): however small the shares of a case, their rounding is the whole's."""
LOOSE = (
    ("explain-mover*", "*:rival*", "four heads are equally loud, and rounding decides which of them is taken"),
    ("patch-*", "n:run", "counts places whose two values agree to the bit"),
    ("patch-*", "n:agree", "counts places whose two values agree to the bit"),
    ("calibrate-backup", "n:unit.worst", "the backup has no effect alone: its rank is among rounding"),
    ("calibrate-planted", "n:*.worst", "ranks among rounding, as above"),
    ("calibrate-language", "r:spearman*", "most nodes move nothing, and their ranks are rounding"),
    ("calibrate-tasks", "r:spearman*", "most nodes move nothing, and their ranks are rounding"),
    ("evaluate-find-language-neuron-atp", "*random*", "orders of neurons that score nothing but rounding"),
)
"""What rounding decides, by case and quantity, each with the reason: rows are kept to be read and not compared."""
DIGITS = 9
COUNTED = ("n", "probability")
"""Measures of which nothing is rounding: a count is what it is."""
Name = tuple[str, str]


@dataclass(frozen=True)
class Rename:
    """One line of the map of renames: a pattern that a whole quantity or key must match, and what it is called now."""

    what: str
    old: str
    new: str

    def apply(self, text: str) -> str:
        """Return the text under its present name."""
        found = re.fullmatch(self.old, text)
        return text if found is None else found.expand(self.new)


@dataclass(frozen=True)
class Difference:
    """One row that is not what was kept; None where there is no such row."""

    name: Name
    kept: float | str | None
    computed: float | str | None

    def __str__(self) -> str:
        quantity, key = self.name
        return f"{quantity} of {key or 'the whole'}: kept {self.kept}, computed {self.computed}"


ABSENT = "nothing"


def read_rows(text: str) -> Rows:
    """Read a golden file: quantity, key and value, with tabs; lines that begin with # are for people."""
    rows: Rows = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            quantity, key, value = line.split("\t")
            rows[quantity, key] = None if value == "none" else float(value)
    return rows


def written(value: float | None) -> str:
    """Return a value as a golden file has it."""
    return "none" if value is None else f"{value:.{DIGITS}g}"


def write_rows(rows: Rows, heading: str) -> str:
    """Return the text of a golden file."""
    lines = [f"{quantity}\t{key}\t{written(value)}" for (quantity, key), value in rows.items()]
    return "\n".join([f"# {heading}", *lines]) + "\n"


def read_renames(text: str) -> list[Rename]:
    """Read the map of renames: what is renamed (quantity or key), old, new."""
    lines = [line for line in csv.reader(io.StringIO(text), delimiter="\t") if line and not line[0].startswith("#")]
    return [Rename(*line) for line in lines]


def renamed(name: Name, renames: Iterable[Rename]) -> Name:
    """Return what a row is called today; renames apply one after another."""
    quantity, key = name
    for rename in renames:
        if rename.what == "quantity":
            quantity = rename.apply(quantity)
        else:
            key = rename.apply(key)
    return quantity, key


def scales(rows: Rows) -> dict[str, float]:
    """Return the largest value of each measure, by magnitude; 0 of those of which nothing is rounding."""
    found: dict[str, float] = {}
    for (quantity, _), value in rows.items():
        measure = quantity.partition(":")[0]
        size = 0.0 if value is None or measure in COUNTED else abs(value)
        found[measure] = max(found.get(measure, LEAST_SCALE.get(measure, 0.0)), size)
    return found


def is_same(kept: float | None, computed: float | None, scale: float, atol: float = ATOL) -> bool:
    """Return whether two values are one figure."""
    if kept is None or computed is None:
        return kept is computed
    return abs(kept - computed) <= max(RTOL * abs(kept), atol * scale)


def is_loose(case: str, quantity: str) -> bool:
    """Return whether rounding decides this quantity of a case."""
    return any(fnmatchcase(case, of) and fnmatchcase(quantity, pattern) for of, pattern, _ in LOOSE)


def compare(kept: Rows, computed: Rows, renames: Iterable[Rename] = ()) -> list[Difference]:
    """Return every row that differs, is gone or is new.

    Of keys cut at a rank the last may change places with others of the same score, of keys drawn from an order
    any: the rows of both are free.
    """
    renames = list(renames)
    today = {renamed(name, renames): value for name, value in kept.items()}
    assert len(today) == len(kept), "two rows are renamed to one"
    scale = scales(today)

    def differ(name: Name, other: Name) -> bool:
        measure = name[0].partition(":")[0]
        atol = COARSE.get(name[0], COARSE.get(measure, ATOL))
        return not is_same(today[name], computed[other], scale[measure], atol)

    gone = [name for name in today if name not in computed]
    new = [name for name in computed if name not in today]
    free: set[str] = set()
    for quantity in (*RANKED, *DRAWN):
        sizes = {name: abs(value) for name, value in today.items() if name[0] == quantity and value is not None}
        least = min(sizes, key=sizes.__getitem__, default=None)
        left = [name for name in new if name[0] == quantity]
        if quantity in RANKED:
            left = [name for name in left if least is not None and not differ(least, name)]
        for name in (name for name in gone if name[0] == quantity):
            tied = next((other for other in left if not differ(name, other)), None)
            if tied is not None:
                left.remove(tied)
                free |= {name[1], tied[1]}
    found = [Difference(name, today[name], computed[name]) for name in today if name in computed and differ(name, name)]
    found += [Difference(name, today[name], ABSENT) for name in gone if name[1] not in free]
    found += [Difference(name, ABSENT, computed[name]) for name in new if name[1] not in free]
    return found


def rewritten(kept: Rows, computed: Rows, renames: Iterable[Rename] = ()) -> Rows:
    """Return rows to keep from now on: the kept ones where they are the same, so that a diff shows the rest."""
    renames = list(renames)
    wrong = {one.name for one in compare(kept, computed, renames)}
    rows: Rows = {}
    for name, value in kept.items():
        today = renamed(name, renames)
        if today not in wrong:
            rows[name] = value
        elif today in computed:
            rows[name] = computed[today]
    known = {renamed(name, renames) for name in kept}
    return rows | {name: value for name, value in computed.items() if name in wrong and name not in known}


def digests(rows: Rows) -> dict[str, str]:
    """Return a hash of every quantity's rows."""
    lines: dict[str, list[str]] = {}
    for (quantity, key), value in rows.items():
        lines.setdefault(quantity, []).append(f"{key}\t{written(value)}")
    return {name: hashlib.sha256("\n".join(sorted(of)).encode()).hexdigest()[:12] for name, of in lines.items()}


def read_differences(path: Path) -> list[tuple[str, str]]:
    """Return the accepted differences: patterns of a case and a quantity, each with a cause."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 3:
            assert cells[2], f"a difference without a cause: {line}"
            found.append((cells[0].strip("`"), cells[1].strip("`")))
    return found


def changed(taken: Mapping[str, str], kept: Mapping[str, str]) -> list[str]:
    """Return the quantities of a case whose rows are not those that were taken first."""
    return [name for name in {**taken, **kept} if taken.get(name) != kept.get(name)]
