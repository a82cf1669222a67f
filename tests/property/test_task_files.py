"""Whatever lies in a file, reading pairs gives pairs or says what is wrong in three parts."""

import csv
import io
import json
import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from patchclamp.core.errors import PatchclampError
from patchclamp.core.task import Case
from patchclamp.core.task_files import LAYOUTS, read_task

COLUMNS = ["clean", "corrupted", "answer", "answers", "wrong", "wrongs", "group", "label", "correct_idx",
           "clean_prefix", "patch_prefix", "clean_answer", "patch_answer", "case"]  # fmt: skip
words = st.text(max_size=8) | st.sampled_from(["", " sat", " ran", "52", "99", "Mary and John and John", "a|b"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
rows = st.dictionaries(st.sampled_from(COLUMNS), anything, max_size=6)


def asked(data: bytes, layout: str | None) -> list[Case]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs"
        path.write_bytes(data)
        try:
            return list(read_task(path, layout).cases)
        except PatchclampError as problem:
            said = problem
    assert all((said.expected, said.got, said.remedy))
    return []


layouts = st.none() | st.sampled_from(sorted(LAYOUTS))


@given(st.binary(max_size=200), layouts)
@example(b"\x00\x00\n\x00", None)
@example(b"clean,corrupted,answer,wrong\r\n\x00,\x00,a,b", None)
@example(b"{" * 5000, None)
def test_any_bytes(data, layout):
    asked(data, layout)


@given(st.lists(rows, max_size=3), layouts)
def test_any_json_lines(many, layout):
    text = "".join(json.dumps(row) + "\n" for row in many)
    for pair in asked(text.encode(), layout):
        assert pair.id
        assert pair.targets


@given(st.lists(st.sampled_from(COLUMNS), max_size=6), st.lists(st.lists(words, max_size=7), max_size=3), layouts)
def test_any_table(header, table, layout):
    text = io.StringIO()
    csv.writer(text).writerows([header, *table])
    for pair in asked(text.getvalue().encode("utf-8", "surrogatepass"), layout):
        assert pair.shown


texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
several = st.lists(texts, min_size=1, max_size=3, unique=True).map(tuple)


@given(st.lists(st.tuples(texts, texts, several, several, texts), min_size=1, max_size=4))
def test_what_is_written_as_json_lines_is_read_again(many):
    pairs = [Case(*one[:4], group=one[4]) for one in many if not set(one[2]) & set(one[3])]
    text = "".join(
        json.dumps({"clean": p.shown, "corrupted": p.counterpart, "answers": p.targets, "wrongs": p.contrasts,
                    "group": p.group}, ensure_ascii=False) + "\n"
        for p in pairs
    )  # fmt: skip
    assert asked(text.encode(), None) == pairs
