"""Surveys against plain loops over the full recorded activations (tests/oracles/survey.py)."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import patchclamp as pc
from oracles import survey as oracle
from patchclamp.core.errors import PatchclampError
from patchclamp.core.survey import PROBABILITIES, StoredSurvey
from patchclamp.record import record_corpus, survey_corpus

SITES = ("blocks.0.mlp.act", "blocks.1.attn.z", "final")
# Dvoretzky–Kiefer–Wolfowitz for 1,000 tokens at 99 %, and one rank for the line between two of them.
BOUND = math.sqrt(math.log(2 / 0.01) / 2000) + 1 / 1000


@pytest.fixture(scope="module")
def relu(tiny_language_model):
    """Return a GPT-2 with ReLU, in bfloat16: most of its minima and many of its maxima are shared by many tokens."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from patchclamp.subjects.families.spec import enlarge

    config = GPT2Config(
        n_layer=2, n_embd=32, n_head=4, n_inner=24, vocab_size=61, n_positions=64, activation_function="relu",
        bos_token_id=0, eos_token_id=60,
    )  # fmt: skip
    return tiny_language_model("gpt2", enlarge(GPT2LMHeadModel(config), weight=0.3).to(torch.bfloat16))


@pytest.fixture(scope="module")
def models(models, relu):
    return {"llama": models["llama"], "relu": relu}


def words(file: Path, n: int, *, seed: int = 0, vocabulary: int = 56) -> Path:
    """Write random words, some lines repeated and a few words that no tokenizer knows among them."""
    drawn = [f"w{i}" for i in np.random.default_rng(seed).integers(vocabulary, size=n)]
    drawn[:: n // 5] = ["unheard-of"] * len(drawn[:: n // 5])
    file.write_text("\n".join(" ".join(drawn[i : i + 9]) for i in range(0, n, 9)))
    return file


def tokens(recording, site, unit):
    """Return every counted token's value of one unit, with its stimulus and position."""
    return [
        (float(recording.of(site, i)[p, unit]), i, p)
        for i, stimulus in enumerate(recording.stimuli)
        for p in np.flatnonzero(stimulus.counted)
    ]


def by_unit(recording, site):
    return [tokens(recording, site, unit) for unit in range(recording[site].shape[1])]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# -- statistics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [40, 700, 1500])
@pytest.mark.parametrize("name", ["llama", "relu"])
def test_every_statistic_of_every_unit_matches_the_oracle(models, name, n, tmp_path):
    model, text = models[name], words(tmp_path / "text.txt", n, vocabulary=8 if name == "relu" else 56)
    found = survey_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "survey", batch_size=4)
    whole = record_corpus(
        model, pc.Corpus(text, window=16), SITES, tmp_path / "whole", batch_size=4, store="float32"
    ).load()
    assert found.n_tokens == int(whole.counted.sum()) < n < len(whole.counted)
    for site in SITES:
        statistics = found.statistics(site)
        for unit, values in enumerate(by_unit(whole, site)):
            for statistic, expected in oracle.statistics(values).items():
                exact = statistic in ("minimum", "maximum")
                measured = float(statistics[statistic][unit])
                assert measured == (expected if exact else pytest.approx(expected, rel=1e-5, abs=1e-6))
            assert tuple(statistics["minimum_at"][unit]) == oracle.minimum_at(values)
            best = [(e.value, e.stimulus, e.position) for e in found.exemplars(site, unit, ["top"])]
            assert best == oracle.top(values, 16)


@pytest.mark.parametrize("name", ["llama", "relu"])
def test_quantiles_and_deciles_of_a_text_shorter_than_the_sample_are_exact(models, name, tmp_path):
    model, text = models[name], words(tmp_path / "text.txt", 900)
    found = survey_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "survey")
    whole = record_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "whole", store="float32").load()
    for site in SITES:
        for unit, values in enumerate(by_unit(whole, site)):
            expected = oracle.quantiles(values, PROBABILITIES)
            np.testing.assert_allclose(found.statistics(site)["quantiles"][unit], expected, rtol=1e-6, atol=1e-7)
            deciles = found.exemplars(site, unit, ["quantile"])
            assert [e.value for e in deciles] == oracle.decile_values(values)
            assert {(e.value, e.stimulus, e.position) for e in deciles} <= set(values)


def test_quantiles_of_a_longer_text_keep_the_stated_bound(models, tmp_path):
    model, text = models["llama"], words(tmp_path / "text.txt", 6000)
    found = survey_corpus(model, pc.Corpus(text, window=64), SITES, tmp_path / "survey")
    whole = record_corpus(model, pc.Corpus(text, window=64), SITES, tmp_path / "whole").load()
    broken = []
    for site in SITES:
        values = whole[site][whole.counted]
        for unit, column in enumerate(values.T):
            quantiles = found.statistics(site)["quantiles"][unit]
            off = [
                max(p - np.mean(column <= q), np.mean(column < q) - p)
                for p, q in zip(PROBABILITIES, quantiles, strict=True)
            ]
            broken.append(max(off) > BOUND)
    assert len(broken) == 112
    assert np.mean(broken) <= 0.01
    assert BOUND < 0.053, "what the documentation says"


def test_the_sample_is_uniform_over_the_text(models, tmp_path):
    model, text = models["llama"], words(tmp_path / "text.txt", 6000)
    counts = np.zeros(10)
    for seed in range(4):
        found = survey_corpus(
            model, pc.Corpus(text, window=64, max_tokens=6000), "embed", tmp_path / str(seed), seed=seed
        )
        at = found.bundle.read("exemplars", ["embed|random_at"])["embed|random_at"]
        assert (at == at[0]).all(), "the same tokens for all units"
        counts += np.histogram(at[0, :, 0], bins=10, range=(0, 94))[0]
    assert counts.sum() == 32
    assert counts.max() <= 9


def test_seeds_draw_other_samples_and_the_same_statistics(models, tmp_path):
    model, text = models["llama"], words(tmp_path / "text.txt", 2500)
    one, other = (survey_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / str(s), seed=s) for s in (0, 1))
    for site in SITES:
        a, b = one.statistics(site), other.statistics(site)
        assert all(np.array_equal(a[k], b[k]) for k in a if k != "quantiles")
        assert not np.array_equal(a["quantiles"], b["quantiles"])


# -- what is counted --------------------------------------------------------------------------------------------------


def test_special_tokens_change_nothing(models, tmp_path):
    model = models["llama"]
    bias = {0: 1e4, 1: -1e4, 60: 1e4}
    embedding = model.module.get_input_embeddings().weight
    before = embedding.data.clone()
    (tmp_path / "text.txt").write_text("w1 w2 w3 strange w4 w5 <eos> w6 w7")
    try:
        for id, value in bias.items():
            embedding.data[id] = value
        found = survey_corpus(model, pc.Corpus(tmp_path / "text.txt", window=8), "embed", tmp_path / "out")
    finally:
        embedding.data.copy_(before)
    assert found.n_tokens == 7
    assert found.statistics("embed")["maximum"].max() < 10
    assert found.statistics("embed")["minimum"].min() > -10
    places = {(e.stimulus, e.position) for e in found.exemplars("embed", 3)}
    assert places == {(0, 1), (0, 2), (0, 3), (0, 5), (0, 6), (1, 2), (1, 3)}
    np.testing.assert_allclose(found.mean("embed"), before[3:10].mean(0), rtol=1e-6)


def test_a_text_of_special_tokens_alone_has_no_exemplars(models, tmp_path):
    (tmp_path / "text.txt").write_text("<eos> strange <eos>")
    found = survey_corpus(models["llama"], pc.Corpus(tmp_path / "text.txt", window=8), SITES, tmp_path / "out")
    assert found.n_tokens == 0
    assert len(found.exemplars(SITES[0], 0)) == 0
    assert np.isnan(found.statistics(SITES[0])["quantiles"]).all()


def test_chat_counts_words_and_template(models, tmp_path):
    (tmp_path / "chat.txt").write_text("w1 w2\nw3\n")
    found = survey_corpus(
        models["llama"], pc.Corpus(tmp_path / "chat.txt", kind="chat", window=16), "embed", tmp_path / "out"
    )
    assert found.n_tokens == 5


def test_values_that_are_not_finite_are_counted_by_unit_and_leave_the_others_alone(tiny_language_model, tmp_path):
    text = words(tmp_path / "text.txt", 200)
    model = tiny_language_model("gpt2")
    clean = survey_corpus(model, pc.Corpus(text, window=16), "blocks.0.mlp.act", tmp_path / "clean")
    model = tiny_language_model("gpt2")
    model.module.transformer.h[0].mlp.c_fc.bias.data[9] = torch.nan
    found = survey_corpus(model, pc.Corpus(text, window=16), "blocks.0.mlp.act", tmp_path / "out")
    entry = next(e for e in found.bundle.pieces if e["piece"] == "statistics")
    assert entry["nonfinite"] == {"blocks.0.mlp.act/neurons/9": found.n_tokens}
    for name, values in found.statistics("blocks.0.mlp.act").items():
        expected = np.delete(clean.statistics("blocks.0.mlp.act")[name], 9, axis=0)
        assert np.array_equal(np.delete(values, 9, axis=0), expected), name
    assert np.isnan(found.mean("blocks.0.mlp.act")[9])
    assert len(found.exemplars("blocks.0.mlp.act", 9, ["top"])) == 0


# -- batches, resuming, use -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 100])
def test_the_batch_size_changes_rounding_only(models, tmp_path, size):
    model, text = models["llama"], words(tmp_path / "text.txt", 2500)
    one = survey_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "one", batch_size=8)
    other = survey_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "other", batch_size=size)
    a, b = (s.bundle.read("exemplars") for s in (one, other))
    for site in SITES:
        assert np.array_equal(a[f"{site}|random_at"], b[f"{site}|random_at"])
        np.testing.assert_allclose(a[f"{site}|random_value"], b[f"{site}|random_value"], atol=1e-5)
        for name, values in one.statistics(site).items():
            if name == "active":
                np.testing.assert_allclose(values, other.statistics(site)[name], atol=2 / one.n_tokens)
            elif name != "minimum_at":
                np.testing.assert_allclose(values, other.statistics(site)[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("checkpoint_s", [0.0, 60.0])
def test_an_interrupted_survey_resumes_to_the_same_bytes(models, tmp_path, checkpoint_s):
    model, text = models["llama"], words(tmp_path / "text.txt", 1500)
    options, corpus = {"batch_size": 16, "checkpoint_s": checkpoint_s}, pc.Corpus(text, window=16)
    survey_corpus(model, corpus, SITES, tmp_path / "whole", **options)
    whole = contents(tmp_path / "whole")
    assert sorted(whole) == [
        "contexts.safetensors", "exemplars.safetensors", "journal.jsonl", "manifest.json", "statistics.safetensors",
    ]  # fmt: skip
    for after in (1, 600, 1600):
        out, seen = tmp_path / str(after), []

        def press(done, total, after=after):
            if done >= after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            survey_corpus(model, corpus, SITES, out, progress=press, **options)
        with pytest.raises(PatchclampError, match="a finished survey"):
            StoredSurvey(out)
        survey_corpus(model, corpus, SITES, out, resume=True, progress=lambda *d, seen=seen: seen.append(d), **options)
        assert contents(out) == whole
        if checkpoint_s == 0:
            assert not seen or seen[0][0] > after, "nothing is computed again"


def test_a_resume_with_another_window_is_refused_by_name(models, tmp_path):
    model, text = models["llama"], words(tmp_path / "text.txt", 300)
    survey_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out")
    with pytest.raises(PatchclampError, match=r"plan\.window: 16 then, 32 now"):
        survey_corpus(model, pc.Corpus(text, window=32), SITES, tmp_path / "out", resume=True)
    with pytest.raises(PatchclampError, match=r"plan\.seed: 0 then, 3 now"):
        survey_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out", resume=True, seed=3)


@pytest.mark.parametrize("name", ["llama", "relu"])
def test_an_exemplar_shows_its_activation_again_in_a_fresh_forward(models, name, tmp_path):
    model, text = models[name], words(tmp_path / "text.txt", 2500)
    found = survey_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out")
    for site, unit in ((SITES[0], 3), (SITES[1], 31), (SITES[2], 0)):
        exemplars = found.exemplars(site, unit)
        assert [e.kind for e in exemplars] == ["top"] * 16 + ["quantile"] * 10 + ["random"] * 8
        for e in exemplars:
            again = model.run([list(e.ids)], record=site, logits=False).recording
            assert float(again.of(site, 0)[e.position, unit]) == pytest.approx(e.value, rel=0.02, abs=1e-5)
        tops = [e.value for e in exemplars[:16]]
        assert tops == sorted(tops, reverse=True)
        assert len({e.stimulus for e in exemplars[:16]}) == 16


def test_the_mean_is_a_source_for_ablation(models, tmp_path):
    model, text = models["llama"], words(tmp_path / "text.txt", 900)
    found = survey_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "out")
    change = pc.change("ablate", SITES[0], [1, 5], mode="mean", source=found)
    run = model.run("w1 w2 w3", interventions=[change], record=SITES[0])
    expected = torch.from_numpy(found.mean(SITES[0])[[1, 5]]).float().expand(4, 2)
    assert torch.equal(run.recording[SITES[0]][:, [1, 5]], expected)
    assert change.to_json()["source"]["values"] == found.hash
    resample = pc.change("ablate", SITES[0], 1, mode="resample", source=found)
    with pytest.raises(PatchclampError, match="another stimulus"):
        model.run("w1 w2 w3", interventions=[resample])
    patch = pc.change("patch", SITES[0], 1, source=found)
    with pytest.raises(PatchclampError, match="a survey, which holds no activations"):
        model.run("w1 w2 w3", interventions=[patch])


def test_an_unknown_site_is_named(models, tmp_path):
    found = survey_corpus(
        models["llama"], pc.Corpus(words(tmp_path / "text.txt", 90), window=16), SITES, tmp_path / "out"
    )
    for ask in (found.mean, found.statistics, lambda site: found.exemplars(site, 0)):
        with pytest.raises(PatchclampError, match=r"a site of this survey.*nowhere"):
            ask("nowhere")


def test_a_survey_of_a_real_model_matches_the_oracle(stories, shared, tmp_path):
    model = pc.load(str(stories))
    text = shared / "data" / "text" / "wikitext-2" / "valid.txt"
    corpus = pc.Corpus(text, window=128, max_tokens=6000)
    found = survey_corpus(model, corpus, "blocks.*.mlp.act", tmp_path / "survey")
    whole = record_corpus(model, corpus, "blocks.*.mlp.act", tmp_path / "whole").load()
    outside = []
    for i in range(5):
        site = f"blocks.{i}.mlp.act"
        values, statistics = whole[site][whole.counted].astype(np.float64), found.statistics(site)
        np.testing.assert_allclose(statistics["mean"], values.mean(0), atol=1e-6)
        np.testing.assert_allclose(statistics["variance"], values.var(0), rtol=1e-5)
        for p, quantiles in zip(PROBABILITIES, statistics["quantiles"].T, strict=True):
            outside.append(np.abs((values <= quantiles).mean(0) - p) > BOUND)
        for unit in (0, 57, 171):
            best = [(e.value, e.stimulus, e.position) for e in found.exemplars(site, unit, ["top"])]
            assert best == oracle.top(tokens(whole, site, unit), 16)
    assert np.mean(np.array(outside).reshape(5, 9, 172).any(1)) <= 0.01
