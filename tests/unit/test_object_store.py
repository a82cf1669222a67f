"""A bundle in an object store holds what a folder would, and is read the same way."""

import hashlib

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.core import object_store
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.object_store import StoreBundle, create_bundle, open_bundle
from patchclamp.record import record_corpus, stream, survey_corpus

fsspec = pytest.importorskip("fsspec", reason="the extra `scale` is not installed")


@pytest.fixture
def url(request):
    """Give a place of its own in a store that lies in this process's memory."""
    place = "memory://" + hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
    yield place
    files = fsspec.filesystem("memory")
    if files.exists(place.removeprefix("memory:/")):
        files.rm(place.removeprefix("memory:/"), recursive=True)


def write(url, n, **more):
    bundle = create_bundle(url, kind="recording", manifest={"sites": []})
    for number in range(n):
        bundle.append(f"shard-{number:05d}", {"x": np.full(3, number, dtype=np.float32)}, stimuli=1, **more)
    return bundle


def files_at(url):
    files = fsspec.filesystem("memory")
    return {
        name.rpartition("/")[2]: files.cat_file(name) for name in files.ls(url.removeprefix("memory:/"), detail=False)
    }


def test_a_recording_and_a_survey_are_those_of_a_folder(cat, url, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "SHARD_BYTES", 2**10)
    text = tmp_path / "story.txt"
    text.write_text("the old cat sat on the mat. " * 30)
    for verb in (record_corpus, survey_corpus):
        here, there = f"{tmp_path}/{verb.__name__}", f"{url}/{verb.__name__}"
        one, other = (verb(cat, pc.Corpus(text, window=8), "blocks.*.mlp.act", place) for place in (here, there))
        assert one.hash == other.hash
        assert other.bundle.find_damaged() == []
        kept = files_at(there)
        for piece in one.bundle.pieces:
            name = f"{piece['piece']}.safetensors"
            assert kept[name] == (tmp_path / verb.__name__ / name).read_bytes()
    assert len(one.bundle.pieces) == 3
    whole = pc.StoredRecording(f"{tmp_path}/record_corpus").load()
    again = pc.StoredRecording(f"{url}/record_corpus").load()
    assert all(np.array_equal(whole[site], again[site]) for site in whole.values)
    survey = pc.StoredSurvey(f"{url}/survey_corpus")
    assert survey.exemplars("blocks.0.mlp.act", 7)[0].value == one.exemplars("blocks.0.mlp.act", 7)[0].value


def test_an_interrupted_recording_goes_on(cat, url, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "SHARD_BYTES", 2**10)
    text = tmp_path / "story.txt"
    text.write_text("the old cat sat on the mat. " * 60)
    corpus = pc.Corpus(text, window=8)

    def interrupt(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record_corpus(cat, corpus, "blocks.*.mlp.act", f"{url}/run", progress=interrupt)
    fsspec.filesystem("memory").pipe_file(f"{url.removeprefix('memory:/')}/run/shard-00099.safetensors", b"torn")
    before = open_bundle(f"{url}/run")
    assert before.pieces
    assert not before.whole
    with pytest.raises(PatchclampError, match="nothing is yet"):
        record_corpus(cat, corpus, "blocks.*.mlp.act", f"{url}/run")
    with pytest.raises(PatchclampError, match="same model, text and plan"):
        record_corpus(cat, pc.Corpus(text, window=4), "blocks.*.mlp.act", f"{url}/run", resume=True)
    record_corpus(cat, corpus, "blocks.*.mlp.act", f"{url}/run", resume=True)
    record_corpus(cat, corpus, "blocks.*.mlp.act", f"{url}/whole")
    assert files_at(f"{url}/run") == files_at(f"{url}/whole")


def test_a_journal_is_a_row_of_small_objects(url, monkeypatch):
    monkeypatch.setattr(object_store, "LINES", 4)
    bundle = write(url, 11)
    kept = files_at(url)
    assert [name for name in sorted(kept) if name.startswith("journal")] == [f"journal-0000{i}.jsonl" for i in range(3)]
    assert [kept[f"journal-0000{i}.jsonl"].count(b"\n") for i in range(3)] == [4, 4, 3]
    again = open_bundle(url)
    assert again.entries == bundle.entries
    assert again.hash == bundle.hash
    again.drop("shard-00002")
    again.append("shard-00011", {"x": np.zeros(1)})
    assert [e["piece"] for e in open_bundle(url).pieces] == [f"shard-{i:05d}" for i in range(12) if i != 2]
    for number in range(3, 12):
        again.drop(f"shard-{number:05d}")
    assert [e["piece"] for e in open_bundle(url).pieces] == ["shard-00000", "shard-00001"]


def test_what_was_changed_is_damaged(url):
    write(url, 2)
    place = url.removeprefix("memory:/")
    files = fsspec.filesystem("memory")
    shard = files.cat_file(f"{place}/shard-00001.safetensors")
    files.pipe_file(f"{place}/shard-00001.safetensors", shard[:-1] + b"\x01")
    assert open_bundle(url).find_damaged() == ["shard-00001"]
    files.rm_file(f"{place}/shard-00001.safetensors")
    assert open_bundle(url).find_damaged() == ["shard-00001"]
    with pytest.raises(Damaged, match="shard-00001"):
        open_bundle(url).read("shard-00001")
    journal = files.cat_file(f"{place}/journal-00000.jsonl")
    files.pipe_file(f"{place}/journal-00000.jsonl", journal.replace(b'"stimuli":1', b'"stimuli":2', 1))
    with pytest.raises(Damaged, match="journal"):
        open_bundle(url)


def test_stores_that_cannot_be_had_are_refused(monkeypatch):
    with pytest.raises(PatchclampError, match="fsspec knows"):
        open_bundle("nosuchkind://bucket/recording")
    with pytest.raises(PatchclampError, match=r"no manifest\.json"):
        open_bundle("memory://nothing-there")
    bundle = write("memory://full", 1)
    assert isinstance(bundle, StoreBundle)

    def refuse(*_args, **_how):
        raise ConnectionError("no network")

    monkeypatch.setattr(type(bundle._fs), "pipe_file", refuse)
    with pytest.raises(PatchclampError, match="no network"):
        bundle.append("shard-00001", {"x": np.zeros(1)})
    assert [entry["piece"] for entry in bundle.pieces] == ["shard-00000"]
    bundle.discard()
