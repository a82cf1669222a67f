"""No changed byte, and no changed value, of what a folder says of itself goes unnoticed."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import patchclamp as pc
from patchclamp.atlas.atlas import open_atlas
from patchclamp.atlas.bake.base import bake_atlas
from patchclamp.attribute.pairs import attribute_pairs
from patchclamp.attribute.patching import plan_patching
from patchclamp.attribute.patching_folder import patch_to_folder
from patchclamp.cli import main
from patchclamp.core.bundle import Bundle
from patchclamp.core.circuit import load_circuit
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError
from patchclamp.core.recording import check_shapes
from patchclamp.core.scores import Scores
from patchclamp.core.task import Case, Task
from patchclamp.decompose import Job, Recipe, TextSource, TopKConfig, train
from patchclamp.record import record_corpus, survey_corpus

SITE = "blocks.0.mlp.act"
ALL = 2760
"""Flips of the long count, over all kinds of folders."""


@dataclass(frozen=True)
class Kind:
    """A kind of folder.

    Args:
        files: those that say what it is.
        read: reads it as `patchclamp info` (or `atlas info`) does.
    """

    files: tuple[str, ...]
    read: Callable[[Path], Any]


def shown(folder: Path) -> None:
    bundle = Bundle.open(folder)
    check_shapes(bundle)
    if bundle.find_damaged() or not bundle.whole:
        raise PatchclampError(expected="whole", got="damaged", remedy="")


OF_BUNDLES = ("manifest.json", "journal.jsonl")
KINDS = {
    "recording": Kind(OF_BUNDLES, shown), "survey": Kind(OF_BUNDLES, shown),
    "circuit": Kind(OF_BUNDLES, load_circuit), "patching": Kind(OF_BUNDLES, Scores.load),
    "training": Kind(OF_BUNDLES, Bundle.open), "basis": Kind(("basis.json",), Dictionary.load),
    "atlas": Kind(("atlas.json",), lambda folder: open_atlas(folder).page()),
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("folders")
    cat = pc.load("organism:cat")
    text = place / "story.txt"
    text.write_text("the old cat sat on the mat.\n" * 20)
    record_corpus(cat, pc.Corpus(text, window=16), "blocks.*.mlp.act", place / "recording")
    survey_corpus(cat, pc.Corpus(text, window=16), "blocks.*.mlp.act", place / "survey")
    pairs = cat.read(Task((Case("the old cat", "the old dog", (" sat",), (" ran",)),)))
    attribute_pairs(cat, pairs, method="activation_patching").save(place / "circuit", files={"circuit.html": b"<p>"})
    patch_to_folder(plan_patching(cat, pairs, "mlp"), place / "patching")
    jobs, recipe = [Job(SITE, SITE, TopKConfig(8, k=2))], Recipe(batch_size=32)
    [one] = train(TextSource(cat, pc.Corpus(text, window=16)), jobs, recipe, out=place / "t")
    (place / "t" / "training").rename(place / "training")
    Dictionary({SITE: one.coder.to_basis("lab")}, {"slug": "cat", "hash": cat.hash}, "topk", {"seed": 0}).save(
        place / "basis"
    )
    bake_atlas(cat, pc.Corpus(text, window=16), place / "atlas")
    return place


def unnoticed(kind: Kind, folder: Path) -> bool:
    try:
        kind.read(folder)
    except PatchclampError:
        return False
    return True


@pytest.mark.soak
@pytest.mark.parametrize("name", KINDS)
def test_flipped_bytes_are_noticed(name, folders, soak):
    kind, folder, draw = KINDS[name], folders / name, random.Random(name)
    assert unnoticed(kind, folder), "as it was written it must be read"
    missed = blank = 0
    n = -(-ALL // len(KINDS)) if soak else 30
    for _ in range(n):
        file = folder / draw.choice(kind.files)
        data = file.read_bytes()
        at = draw.randrange(len(data))
        changed = data[:at] + bytes([data[at] ^ draw.randrange(1, 256)]) + data[at + 1 :]
        file.write_bytes(changed)
        if unnoticed(kind, folder):
            try:
                same = json.loads(changed) == json.loads(data)
            except ValueError:
                # A journal without its last newline has one line fewer: it says that the run did not end.
                same = name == "training" or not Bundle.open(folder).whole
            blank, missed = blank + same, missed + (not same)
        file.write_bytes(data)
    print(f"{name}: {n} flips, {missed} unnoticed, {blank} in white space or the last newline")
    assert missed == 0


def leaves(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container with the place of a value in it that is no container."""
    for place, value in list(data.items() if isinstance(data, dict) else enumerate(data)):
        if isinstance(value, dict | list):
            yield from leaves(value)
        else:
            yield data, place


def another(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return not value
    return value + 1 if isinstance(value, int | float) else value + "x"


@pytest.mark.parametrize("name", KINDS)
def test_changed_values_are_noticed(name, folders):
    kind, file = KINDS[name], folders / name / KINDS[name].files[0]
    whole = file.read_bytes()
    data = json.loads(whole)
    n = 0
    for owner, place in leaves(data):
        before, owner[place] = owner[place], another(owner[place])
        file.write_bytes(json.dumps(data, indent=1, sort_keys=True).encode())
        assert not unnoticed(kind, folders / name), (place, before)
        owner[place], n = before, n + 1
    file.write_bytes(whole)
    assert n >= 3
    print(f"{name}: {n} changed values, all noticed")


def test_sites_widths_and_rows_are_those_of_the_pieces(folders, capsys):
    """Also where somebody knows how to seal a manifest and a journal."""
    for name in ("recording", "survey"):
        bundle = Bundle.open(folders / name)
        for change in (
            {"path": "blocks.7.mlp.act"}, {"width": 999},
        ):  # fmt: skip
            sites = [{**bundle.manifest["sites"][0], **change}, *bundle.manifest["sites"][1:]]
            forged = Bundle(bundle.path, {**bundle.manifest, "sites": sites}, bundle.entries, ("", ""))
            with pytest.raises(PatchclampError, match="the sites, widths and rows"):
                check_shapes(forged)
    bundle = Bundle.open(folders / "recording")
    entries = [{**entry, "tokens": entry.get("tokens", 0) + 1} for entry in bundle.entries]
    with pytest.raises(PatchclampError, match="the sites, widths and rows"):
        check_shapes(Bundle(bundle.path, bundle.manifest, entries, ("", "")))
    assert main(["info", str(folders / "recording")]) == 0
    assert "whole" in capsys.readouterr().out


def test_info_on_a_site_without_a_path_ends_in_three_parts(folders, capsys, tmp_path):
    file = folders / "recording" / "manifest.json"
    whole = file.read_text()
    file.write_text(whole.replace('"path"', '"patj"'))
    assert main(["info", str(folders / "recording")]) == 2
    assert "to do" in capsys.readouterr().err
    file.write_text(whole)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity"])
def test_a_number_that_is_none_in_a_graphs_file_is_refused(number, tmp_path, capsys):
    graph = pc.core.graph.Graph({"slug": "toy"}, {"kind": "logit"}, (pc.core.graph.Node("output", "output", 1.0),))
    graph.save(tmp_path / "g.json")
    text = (tmp_path / "g.json").read_text().replace('"score": 1.0', f'"score": {number}')
    assert number in text
    (tmp_path / "g.json").write_text(text)
    assert main(["info", str(tmp_path / "g.json")]) == 2
    assert "a graph in JSON" in capsys.readouterr().err


def test_a_pages_file_that_was_changed_is_named(folders, capsys):
    file = folders / "circuit" / "circuit.html"
    whole = file.read_bytes()
    file.write_bytes(b"<script>")
    assert main(["info", str(folders / "circuit")]) == 2
    assert "circuit.html" in capsys.readouterr().err
    file.write_bytes(whole)
