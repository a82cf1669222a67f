"""Clean and corrupted prompts with their answers, as tables of the field hold them."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from patchclamp.core.arguments import checked
from patchclamp.core.checks import one_of
from patchclamp.core.errors import PatchclampError
from patchclamp.core.json_text import parse
from patchclamp.core.metric import MetricKind
from patchclamp.core.task import FORMAT, Case, Task

MAX_FILE = 256 * 2**20
_WORD = re.compile(r"[^\W\d_]+")


@checked
def read_task(path: str | PathLike[str], layout: str | None = None, *, measure: MetricKind | None = None) -> Task:
    """Read a task from a CSV or a JSONL file of clean and corrupted prompts, or from what ``Task.save`` wrote.

    | layout | columns, or fields of every line |
    |---|---|
    | own | clean, corrupted, answer (or answers), wrong (or wrongs), and if need be group; several |
    |     | answers are a list in JSONL and parted by ``|`` in CSV |
    | ioi | clean, corrupted, correct_idx: the answer is the name that occurs once in the clean prompt, |
    |     | the wrong one the name that occurs again; ids in the file belong to one tokenizer, and are not read |
    | greater-than | clean, corrupted, label: two digits; answers are all that are above, wrong all that are not |
    | agreement | clean_prefix, patch_prefix, clean_answer, patch_answer, and case, which is the group |

    Args:
        path: the file, in UTF-8; a line that begins with ``{`` first makes it JSONL.
        layout: one of the table (default: found by the file's own columns).
        measure: m (default: that of the task's file), else the difference of two logits, or of probabilities where
            a case has several answers.

    Returns:
        Task: a case for each line, in the file's order: the answers are its targets, the wrong ones its contrasts.

    Raises:
        PatchclampError: no such file, not UTF-8, unknown columns, no cases, or a line that is none, which is named.

    Cost: the file is read into memory.

    Example:
        >>> from tempfile import NamedTemporaryFile
        >>> with NamedTemporaryFile("w", suffix=".csv") as file:
        ...     print("clean,corrupted,answer,wrong\\nthe old cat,the old dog, sat, ran", file=file, flush=True)
        ...     read_task(file.name).cases[0].targets
        (' sat',)
    """
    file = Path(fspath(path))
    if layout is not None:
        one_of("layout", layout, LAYOUTS, remedy="Leave it out to have it found.")
    text = _text(file)
    if text.lstrip().startswith("{") and f'"{FORMAT}"' in text[:200]:
        task = Task.load(file)
        return task if measure is None else replace(task, measure=measure)
    return replace(parse_task(text, file.name, layout, measure=measure), name=file.stem)


@checked
def parse_task(text: str, name: str, layout: str | None = None, *, measure: MetricKind | None = None) -> Task:
    """Read a task from lines of CSV or JSON; see ``read_task``.

    Args:
        text: the lines; a first one that begins with ``{`` makes it JSON.
        name: what errors call the text, and the task's name.
        layout: of the columns (default: found by them).
        measure: m (default: what ``measure_of`` gives).

    Returns:
        Task: a case for each line.

    Raises:
        PatchclampError: unknown columns, no cases, or a line that is none, which is named.

    Cost: none besides the text.

    Example:
        >>> parse_task("clean,corrupted,answer,wrong\\nthe old cat,the old dog, sat, ran", "pairs").cases[0].targets
        (' sat',)
    """
    if layout is not None:
        one_of("layout", layout, LAYOUTS, remedy="Leave it out to have it found.")
    rows = _read_json(text, name) if text.lstrip().startswith("{") else _read_csv(text, name)
    cases: list[Case] = []
    for line, row in rows:
        try:
            layout = layout or _layout_of(row)
            cases.append(LAYOUTS[layout](row))
            _check_columns(layout, row)
        except _NoColumn as problem:
            # Of a CSV the first line names the columns: it is wrong, whatever follows.
            header = {} if text.lstrip().startswith("{") else {"remedy": "Mend the names in line 1."}
            at = 1 if header else line
            raise _broken(name, at, problem.got, expected=problem.expected, **header) from problem
        except PatchclampError as problem:
            raise _broken(name, line, problem.got, expected=problem.expected) from problem
    if not cases:
        raise PatchclampError(
            expected="at least one case", got=f"{name}, which has none", remedy="A CSV begins with its columns."
        )
    return Task(tuple(cases), measure or measure_of(cases), name)


def measure_of(cases: Sequence[Case]) -> MetricKind:
    """Return m where nobody names it: the difference of probabilities where a case has several answers, else of logits.

    Example:
        >>> measure_of([Case("1752 to 17", "1701 to 17", ("53", "54"), ("52",))])
        'probability_difference'
    """
    several = any(len(case.targets) > 1 or len(case.contrasts) > 1 for case in cases)
    return "probability_difference" if several else "logit_difference"


def _text(file: Path) -> str:
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "is not there"
        raise PatchclampError(
            expected="a CSV or JSONL file of pairs", got=f"{file}, which {what}", remedy="Check the path."
        )
    try:
        if file.stat().st_size > MAX_FILE:
            raise PatchclampError(
                expected=f"a file of at most {MAX_FILE // 2**20} MiB",
                got=f"{file}, which is larger",
                remedy="Cut it: some hundred cases are many.",
            )
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise PatchclampError(
            expected="a file in UTF-8", got=f"{file.name}: byte {problem.start} is not", remedy="Save it as UTF-8."
        ) from problem
    except OSError as problem:
        raise PatchclampError(
            expected="a file to read", got=f"{file}: {problem.strerror or problem}", remedy="Check its permissions."
        ) from problem


class _NoColumn(PatchclampError):
    """The columns are not those of a layout."""


def _broken(
    name: str, line: int, got: str, *, expected: str, remedy: str = "Mend or remove that line."
) -> PatchclampError:
    return PatchclampError(expected=expected, got=f"line {line} of {name}: {got}", remedy=remedy)


def _read_json(text: str, name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    # Not splitlines: it parts at characters, such as U+2028, that JSON allows inside a string.
    for line, written in enumerate(text.split("\n"), 1):
        if not written.strip():
            continue
        try:
            row = parse(written)
        except (ValueError, RecursionError) as problem:
            raise _broken(name, line, f"{problem}"[:120], expected="one JSON object a line") from problem
        if not isinstance(row, dict):
            raise _broken(name, line, f"{written!r:.60}", expected="one JSON object a line")
        yield line, row


def _read_csv(text: str, name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    before = 0
    try:
        names = reader.fieldnames or ()
        n = len(names)
        if doubled := [name for name, times in Counter(names).items() if times > 1]:
            raise _broken(
                name,
                reader.line_num,
                f"{doubled[0]!r} twice",
                expected="each column once",
                remedy="Leave one of them out.",
            )
        before = reader.line_num
        for row in reader:
            if None in row or None in row.values():
                raise _broken(name, reader.line_num, "more or fewer", expected=f"{n} columns, as the first line has")
            yield reader.line_num, {key: _split_parts(key, value) for key, value in row.items()}
            before = reader.line_num
    except csv.Error as problem:
        # A quote that is never closed is reported where it was opened, not where the file ends.
        raise _broken(name, before + 1, str(problem), expected="CSV, fields with commas in quotes") from problem


def _check_columns(layout: str, row: Mapping[str, Any]) -> None:
    """Refuse columns that a layout has no meaning for, and two for one thing.

    Raises:
        _NoColumn: names one.
    """
    known = _COLUMNS[layout] | _MORE[layout]
    # A spreadsheet's first column, which numbers the rows, has no name.
    strange = [name for name in row if name not in known and name != ""]
    doubled = [name for name in ("answer", "wrong") if layout == "own" and {name, f"{name}s"} <= row.keys()]
    if strange or doubled:
        raise _NoColumn(
            expected=f"columns among {', '.join(sorted(known))} in the layout {layout}",
            got=f"{strange[0]!r}" if strange else f"both {doubled[0]} and {doubled[0]}s",
            remedy="Take it out of the file.",
        )


def _split_parts(column: str, value: str) -> str | list[str]:
    return value.split("|") if column.rstrip("s") in ("answer", "wrong") else value


def _layout_of(row: Mapping[str, Any]) -> str:
    """Return the layout whose columns a row has."""
    for layout, columns in _COLUMNS.items():
        if columns <= row.keys():
            return layout
    return "own"


def _string(row: Mapping[str, Any], *columns: str) -> str:
    values = _strings(row, *columns)
    if len(values) != 1:
        raise PatchclampError(expected=f"one {columns[0]}", got=f"{len(values)}", remedy="Give one.")
    return values[0]


def _strings(row: Mapping[str, Any], *columns: str) -> tuple[str, ...]:
    """Return the text, or the texts, under the first of some columns that a row has."""
    column = next((c for c in columns if c in row), None)
    if column is None:
        raise _NoColumn(
            expected=f"a column {' or '.join(columns)}",
            got=f"{', '.join(map(repr, row))[:120] or 'no columns'}",
            remedy="The columns are clean, corrupted, answer and wrong.",
        )
    value = row[column]
    values = tuple(value) if isinstance(value, list) else (value,)
    for one in values:
        # A lone surrogate, which JSON can spell, is no character and has no bytes to hash.
        if not isinstance(one, str) or any("\ud800" <= c <= "\udfff" for c in one):
            raise PatchclampError(expected=f"text under {column}", got=f"{one!r:.60}", remedy="Put it in quotes.")
    return values


def _case(clean: str, corrupted: str, answers: tuple[str, ...], wrongs: tuple[str, ...], group: str = "") -> Case:
    if not answers or not wrongs:
        raise PatchclampError(
            expected="at least one answer and one wrong answer",
            got=f"none with {clean!r:.60}",
            remedy="Give both, each with its leading space.",
        )
    return Case(clean, corrupted, answers, wrongs, group=group)


def _own(row: Mapping[str, Any]) -> Case:
    group = _string(row, "group") if row.get("group") is not None else ""
    clean, corrupted = _string(row, "clean"), _string(row, "corrupted")
    return _case(clean, corrupted, _strings(row, "answer", "answers"), _strings(row, "wrong", "wrongs"), group)


def _ioi(row: Mapping[str, Any]) -> Case:
    clean, corrupted = _string(row, "clean"), _string(row, "corrupted")
    words = _WORD.findall(clean)
    times = Counter(word for word in words if word[0].isupper())
    once, again = ([word for word, n in times.items() if (n == 1) == single] for single in (True, False))
    # The first word has a capital whether it is a name or not.
    once = once if len(once) < 2 else [word for word in once if word != words[0]]
    if len(once) != 1 or len(again) != 1:
        raise PatchclampError(
            expected="one name that occurs once in the clean prompt, and one that occurs again",
            got=f"{', '.join(once) or 'none'}; {', '.join(again) or 'none'}",
            remedy="Give answer and wrong in columns of their own.",
        )
    return _case(clean, corrupted, (f" {once[0]}",), (f" {again[0]}",))


def _greater_than(row: Mapping[str, Any]) -> Case:
    given = row.get("label")
    # A spreadsheet writes 4 for 04.
    label = str(given)[:3].zfill(2)
    if not re.fullmatch(r"[0-9]{2}", label) or label == "99":
        raise PatchclampError(expected="a label from 00 to 98", got=f"{given!r:.40}", remedy="Give two digits.")
    years = [f"{year:02d}" for year in range(100)]
    above, others = (tuple(y for y in years if (y > label) == greater) for greater in (True, False))
    return _case(_string(row, "clean"), _string(row, "corrupted"), above, others)


def _agreement(row: Mapping[str, Any]) -> Case:
    group = _string(row, "case") if row.get("case") is not None else ""
    clean, corrupted = _string(row, "clean_prefix"), _string(row, "patch_prefix")
    return _case(clean, corrupted, _strings(row, "clean_answer"), _strings(row, "patch_answer"), group)


LAYOUTS: Mapping[str, Callable[[Mapping[str, Any]], Case]] = {
    "own": _own,
    "ioi": _ioi,
    "greater-than": _greater_than,
    "agreement": _agreement,
}
_COLUMNS: Mapping[str, set[str]] = {
    "agreement": {"clean_prefix", "patch_prefix"},
    "own": {"clean", "corrupted", "answer"},
    "ioi": {"clean", "corrupted", "correct_idx"},
    "greater-than": {"clean", "corrupted", "label"},
}
_MORE: Mapping[str, set[str]] = {
    "agreement": {"clean_answer", "patch_answer", "case"},
    "own": {"answers", "wrong", "wrongs", "group"},
    "ioi": {"corrupted_hard", "incorrect_idx"},
    "greater-than": set(),
}
"""Columns that a file of a layout may have in addition to those that identify it."""
