"""Pieces that somebody changed and sealed anew are refused in three parts by whoever reads them in Python."""

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import patchclamp as pc
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.json_text import canonical

SITE, CHANNELS = "blocks.0.mlp.act", "blocks.0.conv1.act"


@pytest.fixture
def folders(tmp_path):
    """Return a recording and a survey of a text, and a survey of images."""
    text = tmp_path / "text.txt"
    text.write_text("the old cat sat on the mat.\nthe dog ran to the park.\n" * 8)
    model, images = pc.load("organism:cat"), [np.full((8, 8), value, dtype=np.uint8) for value in (0, 90, 200)]
    pc.record(model, pc.Corpus(text, window=16), SITE, tmp_path / "recording")
    pc.survey(model, pc.Corpus(text, window=16), SITE, tmp_path / "survey")
    pc.survey(pc.load("organism:digits-cnn"), images, CHANNELS, tmp_path / "images")
    return tmp_path


def seal(folder):
    """Give every journal line the hash and the seal of what the folder now holds."""
    last, lines = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest(), []
    for line in (folder / "journal.jsonl").read_text().splitlines():
        entry = {name: value for name, value in json.loads(line).items() if name != "seal"}
        if "piece" in entry:
            entry["sha256"] = hashlib.sha256((folder / f"{entry['piece']}.safetensors").read_bytes()).hexdigest()
        last = hashlib.sha256(last.encode() + canonical(entry)).hexdigest()
        lines.append(canonical({**entry, "seal": last}) + b"\n")
    (folder / "journal.jsonl").write_bytes(b"".join(lines))


def read_recording(folder):
    recording = pc.StoredRecording(folder)
    return recording.mean(SITE), recording.load(), recording.of(SITE, 0), recording.stimulus(0)


def read_survey(folder):
    survey = pc.StoredSurvey(folder)
    site = next(iter(survey.sites))
    return survey.statistics(site), survey.mean(site), [survey.exemplars(site, unit) for unit in range(4)]


CHANGES = {
    "no rows": ("recording", "shard-00000", SITE, lambda a: a[:0]),
    "one unit less": ("recording", "shard-00000", SITE, lambda a: a[:, 1:]),
    "offsets cut to bytes": ("recording", "shard-00000", "offsets", lambda a: a.astype(np.int8)),
    "offsets backwards": ("recording", "shard-00000", "offsets", lambda a: a[::-1]),
    "offsets with fractions": ("recording", "shard-00000", "offsets", lambda a: a + 0.5),
    "a mean of one unit": ("survey", "statistics", f"{SITE}|mean", lambda a: a[:1]),
    "no offsets": ("survey", "contexts", "offsets", lambda a: a[:0]),
    "offsets that are none": ("survey", "contexts", "offsets", lambda a: a.astype(bool)),
    "exemplars nowhere": ("survey", "exemplars", f"{SITE}|top_at", lambda a: a[..., :0]),
    "exemplars of other stimuli": ("survey", "exemplars", f"{SITE}|top_at", lambda a: np.full_like(a, 2**40)),
    "values of two axes": ("survey", "exemplars", f"{SITE}|random_value", lambda a: a[:, :, None]),
    "names with fractions": ("images", "contexts", "name_offsets", lambda a: a.astype(np.float64)),
    "no names": ("images", "contexts", "name_offsets", lambda a: a[None]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_piece_that_does_not_fit_is_damaged(name, folders):
    where, piece, array, change = CHANGES[name]
    file = folders / where / f"{piece}.safetensors"
    arrays = load_file(file)
    save_file({**arrays, array: np.ascontiguousarray(change(arrays[array]))}, file)
    seal(folders / where)
    with pytest.raises(Damaged) as caught:
        (read_recording if where == "recording" else read_survey)(folders / where)
    assert all(caught.value.to_json().values())


def test_sealing_anew_alone_damages_nothing(folders):
    for where in ("recording", "survey", "images"):
        seal(folders / where)
        (read_recording if where == "recording" else read_survey)(folders / where)


@pytest.mark.parametrize("kind", [{}, [], 5])
def test_stimuli_of_a_kind_that_is_none(kind, folders):
    manifest = json.loads((folders / "survey" / "manifest.json").read_text())
    (folders / "survey" / "manifest.json").write_text(json.dumps({**manifest, "stimuli": kind}))
    seal(folders / "survey")
    with pytest.raises(Damaged):
        pc.StoredSurvey(folders / "survey")


def test_a_recording_without_anything_has_no_mean(folders):
    (folders / "recording" / "journal.jsonl").write_bytes(b"")
    model, recording = pc.load("organism:cat"), pc.StoredRecording(folders / "recording")
    with pytest.raises(PatchclampError, match="counted token"):
        recording.mean(SITE)
    with pytest.raises(PatchclampError, match="counted token"):
        model.run("the old cat", interventions=[pc.change("ablate", SITE, 7, mode="mean", source=recording)])
    bare = model.run("the old cat", record=SITE).recording
    nothing = pc.Recording((), {SITE: np.asarray(bare[SITE])[:0]}, bare.sites)
    with pytest.raises(PatchclampError, match="counted token"):
        nothing.mean(SITE)
