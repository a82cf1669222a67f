"""The comparison of golden figures sees what it must see, and nothing else."""

from itertools import chain

import pytest

from golden.compare import (
    ABSENT,
    ATOL,
    RTOL,
    Rename,
    changed,
    compare,
    digests,
    read_differences,
    read_renames,
    read_rows,
    rewritten,
    write_rows,
)

KEPT = {
    ("m:clean", ""): 8.0,
    ("m:predicted", "a/heads/0@1"): 4.0,
    ("m:predicted", "a/heads/2@1"): 0.5,
    ("m:predicted.measured", "a/heads/2@1"): 0.75,
    ("m:check.predicted", "a/heads/5@0"): 3.0,
    ("m:check.predicted", "a/heads/6@0"): 1.0,
    ("m:random", "0"): 2e-6,
    ("share:cell", "a@-1"): 1e-9,
    ("probability:random", ""): 0.05,
    ("n:parts", ""): 16.0,
    ("m:alone", "b"): None,
}


def names(differences):
    return [one.name for one in differences]


def test_the_same_rows_in_another_order_do_not_differ():
    assert compare(KEPT, dict(reversed(KEPT.items()))) == []


@pytest.mark.parametrize("name", [name for name in KEPT if name[0] not in ("m:random", "share:cell", "m:alone")])
def test_a_value_altered_by_a_ten_thousandth_is_seen(name):
    assert names(compare(KEPT, KEPT | {name: KEPT[name] * (1 + 1e-4)})) == [name]


@pytest.mark.parametrize("name", KEPT)
def test_a_row_that_is_gone_and_a_row_that_is_new_are_seen(name):
    fewer = {other: value for other, value in KEPT.items() if other != name}
    (gone,), (new,) = compare(KEPT, fewer), compare(fewer, KEPT)
    assert (gone.name, gone.computed, new.name, new.kept) == (name, ABSENT, name, ABSENT)


def test_a_number_in_the_place_of_none_is_seen():
    assert names(compare(KEPT, KEPT | {("m:alone", "b"): 0.0})) == [("m:alone", "b")]


def test_a_value_below_rounding_is_free_up_to_its_measures_largest_and_no_further():
    name, largest = ("m:random", "0"), 8.0
    assert compare(KEPT, KEPT | {name: KEPT[name] + 0.9 * ATOL * largest}) == []
    assert names(compare(KEPT, KEPT | {name: KEPT[name] + 1.1 * ATOL * largest})) == [name]
    assert compare(KEPT, KEPT | {("share:cell", "a@-1"): -1e-9}) == []
    assert names(compare(KEPT, KEPT | {("n:parts", ""): 16 * (1 + 2 * RTOL)})) == [("n:parts", "")]


def test_tied_keys_at_a_cut_may_change_places_and_others_may_not():
    cut = {name: value for name, value in KEPT.items() if name[1] != "a/heads/2@1"}
    other = {("m:predicted", "a/heads/3@1"): 0.5, ("m:predicted.measured", "a/heads/3@1"): 0.7}
    assert compare(KEPT, cut | other) == []
    first = {
        ("m:predicted", "a/heads/3@1") if name == ("m:predicted", "a/heads/0@1") else name: x
        for name, x in KEPT.items()
    }
    assert len(compare(KEPT, first)) == 2, "it does not stand at the end"
    untied = compare(KEPT, cut | other | {("m:predicted", "a/heads/3@1"): 0.51})
    assert set(names(untied)) == {*other, *(name for name in KEPT if name[1] == "a/heads/2@1")}


def test_checks_drawn_from_a_whole_order_are_free_wherever_they_tie():
    name = ("m:check.predicted", "a/heads/5@0")
    fewer = {other: value for other, value in KEPT.items() if other != name}
    assert compare(KEPT, fewer | {("m:check.predicted", "a/heads/7@0"): 3.0}) == []
    assert len(compare(KEPT, fewer | {("m:check.predicted", "a/heads/7@0"): 3.001})) == 2


def test_renames_apply_to_whole_quantities_and_keys_from_the_top_down():
    renames = read_renames(
        "# a comment\nquantity\tm:clean\tm:metric_clean\nkey\t(.*)/heads/(.*)\t\\1/units/\\2\nkey\ta/units/0@1\tfirst\n"
    )
    assert renames[0] == Rename("quantity", "m:clean", "m:metric_clean")
    today = {
        (
            quantity.replace("m:clean", "m:metric_clean"),
            key.replace("heads", "units").replace("a/units/0@1", "first"),
        ): x
        for (quantity, key), x in KEPT.items()
    }
    assert compare(KEPT, today, renames) == []
    assert len(compare(KEPT, today)) == 4  # a tie at the end is free; two others are gone and new


def test_rewriting_changes_what_differs_and_nothing_else():
    name, added = ("m:predicted", "a/heads/0@1"), ("m:token", "0")
    computed = {other: value for other, value in KEPT.items() if other != ("n:parts", "")}
    computed |= {name: 5.0, added: 1.0, ("m:clean", ""): 8.0 + 1e-6}
    rows = rewritten(KEPT, computed)
    assert rows == {other: KEPT[other] for other in KEPT if other != ("n:parts", "")} | {name: 5.0, added: 1.0}
    assert changed(digests(KEPT), digests(rows)) == ["m:predicted", "n:parts", "m:token"]


def test_a_file_holds_nine_digits_of_every_row():
    rows = KEPT | {("m:score", "a → b"): 1.23456789012}
    read = read_rows(write_rows(rows, "patchclamp explain"))
    assert read == rows | {("m:score", "a → b"): 1.23456789}


def test_a_difference_without_a_cause_is_refused(tmp_path):
    path = tmp_path / "differences.md"
    lines = ["| case | quantity | cause |", "|---|---|---|", "| `find-*` | `m:random*` | drawn by one rule |"]
    path.write_text("\n".join(lines))
    assert read_differences(path) == [("find-*", "m:random*")]
    path.write_text("\n".join(chain(lines, ["| `find-*` | `m:score` | |"])))
    with pytest.raises(AssertionError, match="without a cause"):
        read_differences(path)
