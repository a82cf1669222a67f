"""First tokens with large norms are seen, can be left out, and a BOS token can stand in their place."""

import json
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import patchclamp as pc
from patchclamp.atlas.lab import Lab
from patchclamp.atlas.lab.export import as_command, as_python
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Role, Stimulus
from patchclamp.decompose import ArraySource, Job, Recipe, RecordingSource, TextSource, TopKConfig, train_dictionary
from patchclamp.decompose.first_tokens import measure_first_tokens
from patchclamp.evaluate import measure_dictionary
from patchclamp.record import record_corpus, survey_corpus
from patchclamp.report.terminal.dictionary import first_lines
from patchclamp.subjects.bases import decode, encode
from patchclamp.subjects.corpora import read_corpus
from patchclamp.subjects.site_names import unmet_conditions
from patchclamp.subjects.text import prepend_bos

SITE, WINDOW = "blocks.1.resid_out", 8


@pytest.fixture
def model(tiny_language_model):
    """A GPT-2 whose first position is a sink, with a tokenizer that puts nothing before a text."""
    made = tiny_language_model("gpt2")
    with torch.no_grad():
        made.module.transformer.wpe.weight[0] *= 400
    made.tokenizer.prefix = []
    return made


@pytest.fixture
def text(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "text.txt").write_text("\n".join(f"w{i}" for i in rng.integers(0, 56, 400)))
    return tmp_path / "text.txt"


def unexplained(x, x_hat):
    return float(((x - x_hat) ** 2).sum() / ((x - x.mean(0)) ** 2).sum())


def by_hand(model, text, basis):
    """Return x, x̂ and which rows come first, stimulus by stimulus, in float64."""
    shown = [s for batch in read_corpus(model, pc.Corpus(text, window=WINDOW)) for s in batch]
    recordings = [model.run([s], record=SITE, logits=False).recording[SITE].float() for s in shown]
    x = torch.cat(recordings)
    first = np.concatenate([np.arange(len(s)) == 0 for s in shown])
    return x.double().numpy(), decode(basis, encode(basis, x), x).double().numpy(), first


def test_what_first_tokens_hide_is_measured_where_a_dictionary_is_trained(model, text, tmp_path):
    source = TextSource(model, pc.Corpus(text, window=WINDOW))
    job, recipe = Job(SITE, SITE, TopKConfig(12, k=2)), Recipe(batch_size=64, passes=4)
    made = train_dictionary(source, [job], recipe, out=tmp_path / "made")
    found = Dictionary.load(tmp_path / "made").about["first_tokens"][SITE]
    x, x_hat, first = by_hand(model, text, made.bases[SITE])
    assert found["tokens"] == pytest.approx(first.mean(), abs=1e-6)
    assert found["norm"] == pytest.approx((x[first] ** 2).sum() / (x**2).sum(), rel=1e-4)
    assert found["unexplained"] == pytest.approx(unexplained(x, x_hat), rel=1e-3)
    assert found["without"] == pytest.approx(unexplained(x[~first], x_hat[~first]), rel=1e-3)
    assert found["norm"] > 0.5 > found["tokens"]
    assert found["without"] > 2 * found["unexplained"]
    lines = list(first_lines(SITE, found["norm"], found["tokens"], found["unexplained"], found["without"]))
    assert lines[1].startswith("warning")
    assert "--skip-first" in lines[1]
    assert len(list(first_lines(SITE, 0.1, 0.1, 0.2, 0.21))) == 1
    assert measure_first_tokens(ArraySource({"x": x}), {"x": made.bases[SITE]}) == {}


def test_skipped_tokens_are_in_no_training_and_no_statistic(model, text, tmp_path):
    whole, short = (TextSource(model, pc.Corpus(text, window=WINDOW, skip_first=n)) for n in (0, 1))
    rows = [torch.cat([chunk[SITE] for chunk in source.chunks([SITE], 0)]) for source in (whole, short)]
    x, _, first = by_hand(model, text, _basis(model))
    np.testing.assert_allclose(rows[1], x[~first], atol=1e-4)
    assert (whole.n_rows, short.n_rows) == (len(x), int((~first).sum()))
    assert "skip_first" not in whole.about
    assert short.about["skip_first"] == 1
    survey = survey_corpus(model, pc.Corpus(text, window=WINDOW, skip_first=1), SITE, tmp_path / "survey")
    np.testing.assert_allclose(survey.mean(SITE), x[~first].mean(0), atol=1e-4)
    stored = record_corpus(model, pc.Corpus(text, window=WINDOW, skip_first=1), SITE, tmp_path / "recording")
    assert stored.bundle.entries[-1]["tokens"] == len(x)
    assert RecordingSource(stored).n_rows == short.n_rows
    assert stored.bundle.manifest["plan"]["skip_first"] == 1
    for wrong in (-1, WINDOW):
        with pytest.raises(PatchclampError, match="--skip-first"):
            read_corpus(model, pc.Corpus(text, window=WINDOW, skip_first=wrong))
        with pytest.raises(PatchclampError, match="--skip-first"):
            TextSource(model, pc.Corpus(text, window=WINDOW, skip_first=wrong))


def _basis(model):
    rng = np.random.default_rng(3)
    arrays = rng.normal(size=(2, 20, model.site(SITE).width)).astype(np.float32)
    return pc.Basis("lab", "directions", *arrays, activation="topk", k=3)


def test_a_dictionary_is_judged_with_and_without_first_tokens(model, text):
    shown = [s for batch in read_corpus(model, pc.Corpus(text, window=WINDOW)) for s in batch]
    # It gets the large first tokens right and nothing else.
    x, _, first = by_hand(model, text, _basis(model))
    top = x[first].mean(0) / np.linalg.norm(x[first].mean(0))
    basis = pc.Basis("lab", "directions", top[None].astype(np.float32), top[None].astype(np.float32))
    found = Dictionary({SITE: basis}, {"slug": model.name, "hash": model.hash}, "by hand")
    report = measure_dictionary(model, found, shown)
    [own] = [row for row in report.rows if row.name == "lab"]
    judged = np.isin(np.repeat(np.arange(len(shown)), [len(s) for s in shown]), np.arange(len(shown))[1::2])
    x_hat = x @ top[:, None] * top[None]
    assert own.unexplained.value == pytest.approx(unexplained(x[judged], x_hat[judged]), rel=1e-3)
    rest = judged & ~first
    assert own.unexplained_later.value == pytest.approx(unexplained(x[rest], x_hat[rest]), rel=1e-3)
    assert own.unexplained_later.value > 5 * own.unexplained.value
    norm, tokens = report.first[SITE]
    assert norm == pytest.approx((x[judged & first] ** 2).sum() / (x[judged] ** 2).sum(), rel=1e-4)
    assert tokens == pytest.approx((judged & first).sum() / judged.sum())
    skipped = measure_dictionary(model, found, [s.skipping(slice(1, None)) for s in shown])
    [own] = [row for row in skipped.rows if row.name == "lab"]
    assert own.unexplained.value == pytest.approx(unexplained(x[rest], x_hat[rest]), rel=1e-3)


def test_a_bos_token_is_put_first_once_and_is_no_part_of_the_text(model, tiny_language_model):
    bare, before = model.tokenize("w1 w2"), model.tokenizer_hash
    prepend_bos(model)
    begun = model.tokenize("w1 w2")
    assert begun.ids.tolist() == [model.tokenizer.bare.bos_token_id, *bare.ids.tolist()]
    assert begun.roles.tolist() == [Role.BOS, Role.TEXT, Role.TEXT]
    # A run that goes on must not mix both.
    assert model.tokenizer_hash != before
    by_itself = tiny_language_model("gpt2")
    before = by_itself.tokenizer_hash
    prepend_bos(by_itself)
    assert by_itself.tokenize("w1 w2").ids.tolist() == begun.ids.tolist()
    assert by_itself.tokenizer_hash == before
    by_itself.tokenizer.prefix, by_itself.tokenizer.bare.bos_token = [], None
    with pytest.raises(PatchclampError, match="BOS"):
        prepend_bos(by_itself)
    with pytest.raises(PatchclampError, match="images"):
        pc.load("organism:digits-cnn", prepend_bos=True)


def test_what_the_lab_shows_loads_the_model_as_it_was_loaded(model):
    lab = SimpleNamespace(name="tiny", model=model)
    assert (Lab.loading.fget(lab), Lab.loading_words.fget(lab)) == ("'tiny'", ("tiny",))
    prepend_bos(model)
    command = as_command(Lab.loading_words.fget(lab), "w1", (), 3).split()
    assert command[2:5] == ["tiny", "w1", "--bos"]
    asked = {"read_at": 0, "top": 1, "new_tokens": 0, "target": 0, "controls": 0, "seed": 0}
    assert "pc.load('tiny', prepend_bos=True)" in as_python(Lab.loading.fget(lab), "w1", (), (), **asked)


def test_a_dictionary_says_what_the_texts_are_not(model):
    found = Dictionary({SITE: _basis(model)}, {"slug": "", "hash": ""}, "topk", {"conditions": {"prepend_bos": True}})
    assert "--bos" in "\n".join(unmet_conditions(model, found))
    prepend_bos(model)
    assert unmet_conditions(model, found) == []
    other = Dictionary(found.bases, found.subject, "topk", {"conditions": {"prepend_bos": False}, "assumed": ["x"]})
    assert len(unmet_conditions(model, other)) == 2


def test_positions_and_tokens_that_are_left_out():
    stimulus = Stimulus.of(np.array([7, 8, 9, 8, 7]))
    assert stimulus.skipping(slice(1, -1), ids=[9]).counted.tolist() == [False, True, False, True, False]
    assert stimulus.skipping(slice(1, -1), ids=[9]).id == stimulus.id
    assert stimulus.skipping() is stimulus
    bos = Stimulus(stimulus.ids, np.r_[Role.BOS, [Role.TEXT] * 4], stimulus.spans)
    assert bos.skipping(slice(2, None)).roles.tolist() == [Role.BOS, Role.SKIPPED, *[Role.TEXT] * 3]


def test_a_centred_coder_is_refused_where_nothing_is_centred(tiny_language_model, tmp_path):
    llama, gpt2 = tiny_language_model("llama"), tiny_language_model("gpt2")
    shapes = {"W_enc": (32, 4), "W_dec": (4, 32), "b_enc": 4, "b_dec": 32}
    rng = np.random.default_rng(1)
    cfg = {"hook_name": "blocks.1.hook_resid_post", "model_from_pretrained_kwargs": {"center_writing_weights": True}}
    (tmp_path / "cfg.json").write_text(json.dumps(cfg))
    save_file(
        {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}, tmp_path / "sae_weights.safetensors"
    )
    with pytest.raises(PatchclampError, match="--no-center"):
        llama.add_dictionary(pc.load_basis(tmp_path))
    llama.add_dictionary(pc.load_basis(tmp_path, center=False))
    gpt2.add_dictionary(pc.load_basis(tmp_path))
    heads = {**cfg, "hook_name": "blocks.1.attn.hook_z"}
    (tmp_path / "cfg.json").write_text(json.dumps(heads))
    llama.add_dictionary(pc.load_basis(tmp_path, name="parts"))
    (tmp_path / "cfg.json").write_text(json.dumps(cfg))
    [basis] = islice(pc.load_basis(tmp_path).bases.values(), 1)
    assert np.abs(basis.encoder.mean(axis=1)).max() < 1e-6
