"""Recordings against a fresh forward of the bare model, and everything that may go wrong on the way to the disk."""

import json
import random
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch

import patchclamp as pc
from oracles import hooks
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.recording import StoredRecording
from patchclamp.core.stimulus import Role
from patchclamp.record import record_corpus, stream
from patchclamp.subjects.corpora import read_corpus

SITES = ("blocks.0.attn.z", "blocks.1.mlp.act", "blocks.2.resid_out")
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


@pytest.fixture(scope="session")
def model(models):
    return models["llama"]


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    """Return 300 words in lines of seven."""
    words = [f"w{i}" for i in np.random.default_rng(1).integers(56, size=300)]
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text("\n".join(" ".join(words[i : i + 7]) for i in range(0, len(words), 7)))
    return file


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def fresh(model, stimuli, sites, pad):
    """Return each stimulus' values by site, from plain hooks on the bare model, the batch padded on the right."""
    longest = max(len(s) for s in stimuli)
    ids = torch.full((len(stimuli), longest), pad)
    logical = torch.full((len(stimuli), longest), -1)
    for row, s in enumerate(stimuli):
        ids[row, : len(s)] = torch.from_numpy(s.ids)
        logical[row, : len(s)] = torch.arange(len(s))
    seen = {}
    where = hooks.places("llama", model.n_layers)
    with torch.no_grad():
        hooks.called(
            model.module, ids, logical, [(*where[s], lambda x, s=s: seen.update({s: x.clone()})) for s in sites]
        )
    return [{site: x[row, : len(s)] for site, x in seen.items()} for row, s in enumerate(stimuli)]


def interrupted(after):
    """Return a progress callback that presses Ctrl-C once so many tokens are done."""

    def press(done, total):
        if done >= after:
            raise KeyboardInterrupt

    return press


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["float32", "float16", "bfloat16"])
def test_random_rows_of_wikitext_equal_a_fresh_forward_of_the_same_batch(stories, shared, tmp_path, store, monkeypatch):
    monkeypatch.setattr(stream, "SHARD_BYTES", 500_000)
    model = pc.load(str(stories))
    wiki = shared / "data" / "text" / "wikitext-2" / "valid.txt"
    recording = record_corpus(
        model, pc.Corpus(wiki, window=64, max_tokens=5000), SITES, tmp_path / "out", batch_size=4, store=store
    )
    assert len(recording.bundle.pieces) > 2
    draw = random.Random(0)
    rows = [(79, 7)] + [(draw.randrange(recording.n_stimuli - 1), draw.randrange(64)) for _ in range(19)]
    assert recording.n_stimuli == 79
    assert len(recording.stimulus(78)) == 5000 - 78 * 64
    for stimulus, position in [(78, 7), *rows[1:]]:
        first = stimulus // 4 * 4
        batch = [recording.stimulus(i) for i in range(first, min(first + 4, 79))]
        expected = fresh(model, batch, SITES, pad=2)[stimulus - first]
        alone = fresh(model, batch[stimulus - first :][:1], SITES, pad=2)[0]
        for site in SITES:
            found = recording.of(site, stimulus)[position]
            assert found.dtype == DTYPES[store]
            assert found.tobytes() == expected[site][position].numpy().astype(DTYPES[store]).tobytes()
            if store == "float32":
                np.testing.assert_allclose(found, alone[site][position].numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "gptj", "gpt_neox"])
def test_every_family_records_what_a_run_of_the_same_batch_records(tiny_language_model, text, tmp_path, name):
    model = tiny_language_model(name)
    sites = ["embed", "blocks.*.mlp.act", "blocks.1.attn.*", "final"]
    whole = record_corpus(model, pc.Corpus(text, window=16), sites, tmp_path / "out", batch_size=3).load()
    assert "blocks.1.attn.pattern" not in whole.values
    for first in (0, 3, 18):
        run = model.run(whole.stimuli[first : first + 3], record=list(whole.values), logits=False).recording
        for site in whole.values:
            for i in range(len(run.stimuli)):
                assert np.array_equal(whole.of(site, first + i), run.of(site, i).numpy())


def test_the_bare_model_is_as_it_was(model, text, tmp_path):
    before = model.module(torch.tensor([[0, 5, 6]])).logits
    hashed = model.hash
    record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out")
    assert torch.equal(model.module(torch.tensor([[0, 5, 6]])).logits, before)
    assert type(model)(model.module).hash == hashed


# -- text -------------------------------------------------------------------------------------------------------------


def test_windows_hold_the_text_in_order_and_begin_with_bos(model, text, tmp_path):
    whole = record_corpus(model, pc.Corpus(text, window=16), "embed", tmp_path / "out").load()
    assert [len(s) for s in whole.stimuli] == [16] * 20
    assert all(s.ids[0] == 0 and s.roles[0] == Role.BOS for s in whole.stimuli)
    assert [i for s in whole.stimuli for i in s.ids[1:]] == [int(w[1:]) + 2 for w in text.read_text().split()]
    assert int(whole.counted.sum()) == 300
    spelt = [text.read_text()[a:b].strip() for s in whole.stimuli for a, b in s.spans[1:]]
    assert spelt == text.read_text().split()


def test_windows_without_bos_hold_text_only(model, text, tmp_path):
    whole = record_corpus(model, pc.Corpus(text, window=16, bos=False), "embed", tmp_path / "out").load()
    assert [len(s) for s in whole.stimuli] == [16] * 18 + [12]
    assert whole.counted.all()


@pytest.mark.parametrize("most", [1, 15, 16, 17, 100, 320, 9999])
def test_max_tokens_is_exact_special_ones_included(model, text, tmp_path, most):
    recording = record_corpus(model, pc.Corpus(text, window=16, max_tokens=most), "embed", tmp_path / "out")
    expected = min(most, 320)
    assert recording.bundle.manifest["plan"]["n_tokens"] == expected
    assert recording.bundle.entries[-1] == {"done": True, "stimuli": -(-expected // 16), "tokens": expected}
    assert recording.load()["embed"].shape == (expected, 32)


def test_chat_puts_every_line_through_the_template(model, tmp_path):
    turns = [{"role": "user", "content": "w3"}, {"role": "user", "content": "w4 w5"}]
    (tmp_path / "chat.txt").write_text(f"w1 w2\n\n{json.dumps(turns)}\nw1 w2 w3 w4 w5 w6 w7 w8 w9\n")
    whole = record_corpus(
        model, pc.Corpus(tmp_path / "chat.txt", window=8, kind="chat"), "embed", tmp_path / "out"
    ).load()
    assert [s.ids.tolist() for s in whole.stimuli] == [
        [0, 58, 3, 4, 60],
        [0, 58, 5, 60, 58, 6, 7, 60],
        [0, 58, 3, 4, 5, 6, 7, 8],
    ]
    bos, special, template, words = Role.BOS, Role.SPECIAL, Role.TEMPLATE, Role.TEXT
    assert whole.stimuli[1].roles.tolist() == [bos, template, words, special, template, words, words, special]
    assert whole.stimuli[1].counted.tolist() == [False, True, True, False, True, True, True, False]


# -- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["float32", "float16", "bfloat16"])
def test_the_ways_to_read_a_recording_agree(model, text, tmp_path, store, monkeypatch):
    monkeypatch.setattr(stream, "SHARD_BYTES", 5000)
    recording = record_corpus(
        model, pc.Corpus(text, window=16, max_tokens=150), SITES, tmp_path / "out", batch_size=2, store=store
    )
    whole = recording.load()
    assert len(recording.bundle.pieces) > 3
    assert recording.n_stimuli == len(whole.stimuli) == 10
    assert [s.id for part in recording.shards() for s in part.stimuli] == [s.id for s in whole.stimuli]
    for i, stimulus in enumerate(whole.stimuli):
        found = recording.stimulus(i)
        for part in ("ids", "roles", "spans"):
            assert np.array_equal(getattr(found, part), getattr(stimulus, part))
        for site in SITES:
            assert np.array_equal(recording.of(site, i), whole.of(site, i))
    for site in SITES:
        by_hand = [sum(float(v) for v in column) for column in whole[site][whole.counted].T]
        np.testing.assert_allclose(recording.mean(site), np.array(by_hand) / 140, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(whole.mean(site), recording.mean(site), rtol=1e-9, atol=1e-12)
        for position in (0, 5, 6, 15):
            for avoid in ("", whole.stimuli[3].id):
                expected = [i for i, s in enumerate(whole.stimuli) if len(s) > position and s.id != avoid]
                assert recording.donors(site, position, avoid) == whole.donors(site, position, avoid) == expected
    assert recording.load([SITES[1]]).values.keys() == {SITES[1]}
    assert StoredRecording(tmp_path / "out").hash == recording.hash


@pytest.mark.parametrize(
    "ask", [lambda r: r.of("nowhere", 0), lambda r: r.load(["nowhere"]), lambda r: r.mean("nowhere")]
)
def test_an_unknown_site_is_named_beside_those_there_are(model, text, tmp_path, ask):
    recording = record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out")
    with pytest.raises(PatchclampError, match=r"a site of this recording; got 'nowhere'.*blocks\.0\.attn\.z"):
        ask(recording)
    with pytest.raises(PatchclampError, match="a stimulus from 0 to 19; got 20"):
        recording.of(SITES[0], 20)


@pytest.mark.parametrize("store", ["float32", "bfloat16"])
def test_a_recording_on_disk_is_a_source_of_patches(model, text, tmp_path, store):
    recording = record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out", store=store)
    change = pc.change("patch", SITES[1], [3, 9], at="2:5", source=pc.Source(recording, stimulus=4))
    run = model.run([recording.stimulus(0)], interventions=[change], record=SITES[1])
    after, before = run.recording.of(SITES[1], 0).numpy(), recording.of(SITES[1], 0)
    expected = before.astype(np.float32)
    expected[2:5, [3, 9]] = recording.of(SITES[1], 4)[2:5, [3, 9]].astype(np.float32)
    np.testing.assert_allclose(after, expected, atol=1e-6 if store == "float32" else 0.05, rtol=0.01)
    assert np.array_equal(after[2:5, [3, 9]], expected[2:5, [3, 9]])


def test_a_bfloat16_recording_is_read_by_a_process_that_did_not_write_it(model, text, tmp_path):
    recording = record_corpus(model, pc.Corpus(text, window=16), SITES[0], tmp_path / "out", store="bfloat16")
    reader = "import sys, patchclamp as pc; print(pc.StoredRecording(sys.argv[1]).of(sys.argv[2], 3).tolist())"
    command = [sys.executable, "-c", reader, str(tmp_path / "out"), SITES[0]]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(found) == recording.of(SITES[0], 3).tolist()


# -- resuming ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["float32", "bfloat16"])
def test_an_interrupted_run_resumes_to_the_same_bytes(model, text, tmp_path, store, monkeypatch):
    monkeypatch.setattr(stream, "SHARD_BYTES", 20_000)
    options, corpus = {"batch_size": 3, "store": store}, pc.Corpus(text, window=16)
    record_corpus(model, corpus, SITES, tmp_path / "whole", **options)
    whole = contents(tmp_path / "whole")
    assert len(whole) > 3
    for after in range(48, 321, 48):
        out = tmp_path / str(after)
        with pytest.raises(KeyboardInterrupt):
            record_corpus(model, corpus, SITES, out, progress=interrupted(after), **options)
        assert not StoredRecording(out).bundle.whole
        with pytest.raises(KeyboardInterrupt):
            record_corpus(model, corpus, SITES, out, resume=True, progress=interrupted(min(after + 96, 320)), **options)
        seen = []
        record_corpus(
            model, corpus, SITES, out, resume=True, progress=lambda *done, seen=seen: seen.append(done), **options
        )
        assert contents(out) == whole
        assert all(total == 320 for _, total in seen)
        assert len(seen) < 7, "nothing that was committed is computed again"


def test_resuming_what_never_began_begins_it(model, text, tmp_path):
    record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "whole")
    record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out", resume=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def as_corpus(given):
    """Return arguments of `record_corpus`: what says how the text is cut becomes a Corpus."""
    cut = {name: given[name] for name in ("window", "max_tokens", "bos") if name in given}
    rest = {name: value for name, value in given.items() if name not in (*cut, "text")}
    return {**rest, "corpus": pc.Corpus(given["text"], **cut)}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"window": 15}, "plan.window: 16 then, 15 now"),
        ({"batch_size": 4}, "plan.batch_size: 8 then, 4 now"),
        ({"max_tokens": 33}, "plan.max_tokens: None then, 33 now"),
        ({"bos": False}, "plan.bos: True then, False now"),
        ({"store": "float16"}, "dtype: float32 then, float16 now"),
        ({"sites": SITES[:2]}, "sites: blocks.0.attn.z, blocks.1.mlp.act, blocks.2.resid_out then"),
        ({"text": "other"}, "plan.text: "),
        ({"model": "other weights"}, "subject.hash: "),
        ({"model": "other family"}, "subject.class: LlamaForCausalLM then, GPT2LMHeadModel now"),
    ],
)
def test_a_resume_with_anything_else_is_refused_by_name(tiny_language_model, model, text, tmp_path, changed, named):
    with pytest.raises(KeyboardInterrupt):
        record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out", progress=interrupted(100))
    before = contents(tmp_path / "out")
    given = {"model": model, "text": text, "sites": SITES, "out": tmp_path / "out", "window": 16, **changed}
    if given["text"] == "other":
        given["text"] = tmp_path / "other.txt"
        given["text"].write_text(text.read_text().replace("w1 ", "w2 ", 1))
    if given["model"] == "other weights":
        given["model"] = tiny_language_model("llama")
        given["model"].module.lm_head.weight.data[0, 0] += 1e-3
    elif given["model"] == "other family":
        given["model"] = tiny_language_model("gpt2")
    with pytest.raises(PatchclampError, match="the same model, text and plan") as caught:
        record_corpus(resume=True, **as_corpus(given))
    assert named in caught.value.got
    if "sites" not in changed:
        assert "sites" not in caught.value.got
    assert contents(tmp_path / "out") == before


def test_a_run_into_a_folder_that_holds_something_is_refused(model, text, tmp_path):
    record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out")
    with pytest.raises(PatchclampError, match="a new or empty folder"):
        record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("…")
    for resume in (False, True):
        with pytest.raises(PatchclampError, match="a new or empty folder"):
            record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "mine", resume=resume)
    assert contents(tmp_path / "mine") == {"thesis.tex": "…".encode()}


def test_a_resume_touches_nobody_elses_files(model, text, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "SHARD_BYTES", 20_000)
    record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out", progress=interrupted(200))
    mine = dict.fromkeys(("thesis.part", "weights.safetensors", ".tmp", "notes.txt"), b"mine")
    for name, content in mine.items():
        (tmp_path / "out" / name).write_bytes(content)
    record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out", resume=True)
    assert contents(tmp_path / "out") == {**contents(tmp_path / "whole"), **mine}


def test_a_second_writer_is_refused_and_the_first_goes_on(model, text, tmp_path):
    refused = []

    def intrude(_done, _total):
        with pytest.raises(PatchclampError, match="a folder that nobody else writes") as caught:
            record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out", resume=True)
        refused.append(caught)

    record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out", progress=intrude)
    record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "alone")
    assert refused
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


def test_a_text_that_shrinks_after_the_plan_was_made_is_noticed(model, text, tmp_path):
    moving = tmp_path / "moving.txt"
    moving.write_text(text.read_text())
    batches = read_corpus(model, pc.Corpus(moving, window=16))
    moving.write_text(text.read_text()[:400])
    with pytest.raises(PatchclampError, match="the text changed meanwhile"):
        record_corpus(model, batches, SITES, tmp_path / "out")


# -- what is not finite, damaged or impossible ------------------------------------------------------------------------


def test_values_that_are_not_finite_are_counted_by_unit(tiny_language_model, text, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "SHARD_BYTES", 10_000)
    model = tiny_language_model("gpt2")
    bias = model.module.transformer.h[0].mlp.c_fc.bias.data
    bias[5], bias[9] = 1e6, torch.nan
    recording = record_corpus(
        model, pc.Corpus(text, window=16), "blocks.0.mlp.act", tmp_path / "out", store="float16", batch_size=4
    )
    found = [entry["nonfinite"] for entry in recording.bundle.pieces]
    assert len(found) > 2
    for counts, entry in zip(found, recording.bundle.pieces, strict=True):
        assert counts == dict.fromkeys(["blocks.0.mlp.act/neurons/5", "blocks.0.mlp.act/neurons/9"], entry["tokens"])
    kept = recording.load()["blocks.0.mlp.act"]
    assert np.isinf(kept[:, 5]).all()
    assert np.isnan(kept[:, 9]).all()
    assert np.isfinite(np.delete(kept, [5, 9], axis=1)).all()


def test_finite_values_are_reported_as_nothing(model, text, tmp_path):
    recording = record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out")
    assert all("nonfinite" not in entry for entry in recording.bundle.entries)


@pytest.mark.parametrize("harm", ["cut", "header", "gone", "garbage"])
def test_a_damaged_shard_is_named(model, text, tmp_path, monkeypatch, harm):
    monkeypatch.setattr(stream, "SHARD_BYTES", 20_000)
    recording = record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out", batch_size=2)
    file = tmp_path / "out" / "shard-00001.safetensors"
    whole = file.read_bytes()
    if harm == "gone":
        file.unlink()
    else:
        broken = {"cut": whole[:-7], "header": b"\xff" * 8 + whole[8:], "garbage": b"{not one}" * 99}
        file.write_bytes(broken[harm])
    with pytest.raises(Damaged, match="shard-00001"):
        recording.load()
    assert recording.bundle.find_damaged() == ["shard-00001"]
    assert recording.of(SITES[0], 0).shape == (16, 32), "the other shards are whole"


def test_a_flipped_bit_is_found_by_hash(model, text, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "SHARD_BYTES", 20_000)
    recording = record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out", batch_size=2)
    assert recording.bundle.find_damaged() == []
    file = tmp_path / "out" / "shard-00002.safetensors"
    flipped = bytearray(file.read_bytes())
    flipped[-5] ^= 1
    file.write_bytes(flipped)
    assert recording.bundle.find_damaged() == ["shard-00002"]


@pytest.mark.parametrize(
    ("file", "content", "error"),
    [
        ("manifest.json", "{", Damaged),
        ("manifest.json", "[]", Damaged),
        ("manifest.json", '{"format": "patchclamp", "version": 2, "kind": "recording"}', Damaged),
        ("manifest.json", '{"format": "patchclamp", "version": 1, "kind": "recording"}', PatchclampError),
        ("manifest.json", '{"format": "patchclamp", "version": 2, "kind": "survey"}', PatchclampError),
        ("journal.jsonl", "what?\n", Damaged),
        ("journal.jsonl", '{"piece": "../../etc/passwd", "sha256": "0", "stimuli": 20, "tokens": 1}\n', Damaged),
        ("journal.jsonl", '{"piece": 7, "sha256": "0", "stimuli": 20, "tokens": 1}\n', Damaged),
    ],
)
def test_a_manifest_or_journal_that_something_else_changed_is_refused(model, text, tmp_path, file, content, error):
    record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out")
    (tmp_path / "out" / file).write_text(content)
    with pytest.raises(error) as caught:
        StoredRecording(tmp_path / "out").load()
    assert type(caught.value) is error


def test_attention_patterns_are_refused_by_name_and_left_out_of_globs(model, text, tmp_path):
    for sites in ("blocks.*.attn.pattern", "blocks.0.attn.pattern", "embed,blocks.0.attn.pattern"):
        with pytest.raises(PatchclampError, match="one width per position"):
            record_corpus(model, pc.Corpus(text, window=16), sites, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    recording = record_corpus(model, pc.Corpus(text, window=16), "blocks.0.attn.*", tmp_path / "out")
    assert list(recording.sites) == [f"blocks.0.attn.{part}" for part in ("q", "k", "v", "z", "write")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 0}, "--window from 1 to"),
        ({"window": 1}, "a window of at least 2 tokens"),
        ({"window": 65}, "at most 64 tokens, the model's context"),
        ({"batch_size": 0}, "--batch-size from 1 to"),
        ({"max_tokens": 0}, "--max-tokens from 1 to"),
        ({"store": "int8"}, "a type among float32, float16, bfloat16"),
        ({"sites": "blocks.9.mlp.act"}, "a site of this subject"),
        ({"text": "nowhere.txt"}, "a text file; got nowhere.txt, which is not there"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(model, text, tmp_path, options, words):
    given = {"text": text, "sites": SITES, "window": 16, **options}
    with pytest.raises(PatchclampError, match=words):
        record_corpus(model, out=tmp_path / "out", **as_corpus(given))
    assert not (tmp_path / "out").exists()


def test_pieces_are_as_readable_as_the_manifest(model, text, tmp_path):
    record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out")
    assert len({file.stat().st_mode for file in (tmp_path / "out").iterdir()}) == 1
