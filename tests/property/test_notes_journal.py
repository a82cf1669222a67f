"""The journal of notes is a plain list whatever is written, torn or changed in it."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchclamp.atlas.store.notes import NOTES, Note, add_notes, read_notes, standing
from patchclamp.core.errors import PatchclampError

UNITS = [f"cat/blocks.0.mlp.act/neurons/{i}" for i in range(3)]
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
# What is written: a unit, a kind, words, and which of the earlier lines it replaces, if any.
LINES = st.lists(
    st.tuples(
        st.sampled_from(UNITS),
        st.sampled_from(["note", "star", "description", "tag", "withdraw"]),
        WORDS,
        st.none() | st.integers(0, 9),
    ),
    max_size=10,
)


def stands(rows, at):
    """Say by definition whether a line stands: none that stands replaces it."""
    return not any(row.replaces == rows[at].id and stands(rows, later) for later, row in enumerate(rows))


def write(folder, lines):
    """Write lines one by one; return those that a plain list of them accepts."""
    rows = []
    for unit, kind, text, replaced in lines:
        target = rows[replaced] if replaced is not None and replaced < len(rows) else None
        note = Note(unit, kind, "" if kind in ("star", "withdraw") else text, replaces=target.id if target else "")
        allowed = (target is None or target.unit == unit) and (kind != "withdraw" or target is not None)
        try:
            [row] = add_notes(folder, [note])
        except PatchclampError:
            assert not allowed
        else:
            assert allowed
            rows.append(row)
    return rows


@given(lines=LINES)
def test_any_sequence_is_a_plain_list(lines):
    with tempfile.TemporaryDirectory() as place:
        rows = write(Path(place), lines)
        assert read_notes(Path(place)) == (rows, "")
        shown = [row for at, row in enumerate(rows) if row.kind != "withdraw" and stands(rows, at)]
        assert standing(rows) == shown


@given(lines=LINES.filter(bool), cut=st.integers(1, 10_000), text=WORDS)
def test_a_torn_end_takes_nothing_with_it_and_is_gone_with_the_next_line(lines, cut, text):
    with tempfile.TemporaryDirectory() as place:
        rows = write(Path(place), lines)
        file = Path(place) / NOTES
        data = file.read_bytes() if file.exists() else b""
        kept = data[: max(len(data) - cut, 0)]
        file.write_bytes(kept)
        whole = rows[: kept.count(b"\n")]
        assert read_notes(Path(place)) == (whole, "")
        added = add_notes(Path(place), [Note(UNITS[0], "note", text)])
        assert read_notes(Path(place)) == (whole + added, "")


@given(lines=LINES, at=st.integers(0, 10_000), to=st.integers(0, 255))
def test_a_changed_byte_loses_its_line_at_most_and_is_reported(lines, at, to):
    with tempfile.TemporaryDirectory() as place:
        rows = write(Path(place), lines)
        file = Path(place) / NOTES
        data = bytearray(file.read_bytes()) if file.exists() else bytearray()
        if not data or data[at % len(data)] == to:
            return
        changed = at % len(data)
        data[changed] = to
        file.write_bytes(bytes(data))
        read, problem = read_notes(Path(place))
        # A changed end of a line joins two; whoever replaces a lost line is lost with it.
        first = bytes(data[:changed]).count(b"\n")
        assert read[:first] == rows[:first]
        assert [row for row in rows if row in read] == read
        assert len(read) < len(rows)
        torn = b"\n" not in bytes(data[changed:])
        assert problem or torn


def test_a_full_journal_refuses_and_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("patchclamp.atlas.store.notes.MOST_NOTES", 2)
    rows = add_notes(tmp_path, [Note(UNITS[0], "star"), Note(UNITS[1], "star")])
    before = (tmp_path / NOTES).read_bytes()
    with pytest.raises(PatchclampError, match="at most 2 notes"):
        add_notes(tmp_path, [Note(UNITS[2], "star")])
    assert (tmp_path / NOTES).read_bytes() == before
    assert add_notes(tmp_path, rows) == []
