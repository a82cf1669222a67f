"""Sparse coders: what training keeps true, what the buffer promises, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import patchclamp as pc
from patchclamp import PatchclampError
from patchclamp.core.dictionary import Dictionary
from patchclamp.decompose import (
    ArraySource,
    Job,
    L1Config,
    Recipe,
    RecordingSource,
    TextSource,
    TopKConfig,
    collect_activations,
    make_coder,
    train,
    train_dictionary,
)
from patchclamp.decompose.activation_store import Position, ShuffleBuffer
from patchclamp.decompose.baselines import principal_components, random_directions
from patchclamp.decompose.recipe import memory_bytes
from patchclamp.decompose.sklearn_api import SparseAutoencoder, config_of
from patchclamp.decompose.transcoding import mlp_sites
from patchclamp.train import needs

METHODS = ("l1", "topk", "batchtopk", "jumprelu")
RECIPE = Recipe(batch_size=64, passes=2, buffer_bytes=4 * 8 * 64 * 2)

MORTAL = replace(RECIPE, dead_after=128)
"""With it some latents die, so that what revives them must be resumed too."""


@pytest.fixture(scope="module")
def activity():
    draw = np.random.default_rng(0)
    parts = (draw.random((1000, 20)) < 0.1) * draw.uniform(0.5, 1.5, (1000, 20))
    return (parts @ draw.normal(size=(20, 8)) + 2).astype(np.float32)


@pytest.fixture(scope="module")
def source(activity):
    return ArraySource({"x": activity, "y": activity[:, :5] * 3}, chunk=170)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    file = tmp_path_factory.mktemp("words") / "words.txt"
    draw = np.random.default_rng(1)
    file.write_text("\n".join(" ".join(f"w{i}" for i in draw.integers(0, 56, 20)) for _ in range(60)))
    return file


def state(trained):
    return {f"{i}/{k}": v for i, one in enumerate(trained) for k, v in one.coder.state_dict().items()}


@pytest.mark.parametrize("method", METHODS)
def test_training_lowers_the_loss_and_keeps_rows_at_length_one(source, method):
    config = config_of(method, 24, k=3)
    [one] = train(source, [Job("x", "x", config)], RECIPE)
    first, last = one.curves["loss"][0][1], one.curves["loss"][-1][1]
    assert last < first
    assert torch.allclose(one.coder.decoder.norm(dim=1), torch.ones(24), atol=1e-6)
    assert one.curves["loss"][-1][0] == 2000 // 64


def test_the_same_seed_gives_the_same_arrays_and_another_others(source):
    jobs = [Job("x", "x", TopKConfig(16, k=3)), Job("x", "y", L1Config(16, skip=True))]
    a, b = state(train(source, jobs, RECIPE)), state(train(source, jobs, RECIPE))
    assert all(torch.equal(a[k], b[k]) for k in a)
    c = state(train(source, jobs, Recipe(batch_size=64, passes=2, seed=1)))
    assert not torch.equal(a["0/decoder"], c["0/decoder"])


def test_coders_trained_together_are_those_trained_alone(source):
    jobs = [Job("x", "x", TopKConfig(16, k=3)), Job("x", "y", TopKConfig(12, k=2))]
    recipe = Recipe(batch_size=64, buffer_bytes=4 * 13 * 64 * 2)
    together = train(source, jobs, recipe)
    # The buffer holds as many rows either way, so the order is the same.
    alone = train(source, jobs[1:], recipe)
    assert torch.equal(together[1].coder.decoder, alone[0].coder.decoder)


@pytest.mark.parametrize("method", ["topk", "batchtopk"])
@pytest.mark.parametrize(("site", "latents"), [("x", 24), ("y", 200)])
def test_before_the_first_step_the_latents_explain_more_than_the_mean(activity, method, site, latents):
    """Left at length 1 they write several times too much."""
    x = torch.tensor(activity)
    y = x if site == "x" else torch.tensor(activity[:, :5] * 3)
    left = []
    for fitted in (True, False):
        coder = make_coder(config_of(method, latents, k=6), 8, None if site == "x" else 5)
        coder.begin(x, y)
        if not fitted:
            coder.encoder.data = torch.nn.functional.normalize(coder.encoder.data, dim=1)
        left.append(float(coder.losses(x, y, dead_after=10**9).unexplained))
    assert left[0] < 0.9
    assert left[1] > 1


def test_the_gradient_has_no_part_along_the_rows(activity):
    coder = make_coder(TopKConfig(24, k=3), 8)
    x = torch.tensor(activity[:100])
    coder.begin(x, x)
    coder.losses(x, x, dead_after=10**9).total.backward()
    assert torch.linalg.vecdot(coder.decoder.grad, coder.decoder).abs().max() > 1e-4
    coder.project()
    assert torch.linalg.vecdot(coder.decoder.grad, coder.decoder).abs().max() < 1e-6


@pytest.mark.parametrize("method", ["l1", "topk"])
def test_dead_latents_are_drawn_to_the_error_of_what_is_written(activity, method):
    """The residual is y − ŷ, also where x is something else; a latent that lives is left alone by it."""
    # doubles: what latents of such a size write differs in the eighth digit
    coder = make_coder(config_of(method, 24, k=3), 8, 5).double()
    x, y = torch.tensor(activity[:200]).double(), torch.tensor(activity[:200, :5]).double()
    coder.begin(x, y)
    with torch.no_grad():
        coder.encoder_bias[:4] = -1.0 if method == "l1" else 0.0
        coder.encoder[:4] *= 1e-3
    plain = coder.losses(x, y, dead_after=10**9)
    assert not plain.fired[:4].any()
    coder.quiet[:4] = 100
    aided = coder.losses(x, y, dead_after=100)
    grads = torch.autograd.grad(aided.total - plain.total, [coder.decoder, coder.encoder_bias], allow_unused=True)
    assert grads[0][:4].abs().max() > 0
    assert grads[0][4:].abs().max() < 1e-6
    assert grads[1][:4].abs().max() > 0
    # A step against the gradient makes a better guess of the error; ghosts are rescaled, so their loss would not tell.
    if method == "topk":
        with torch.no_grad():
            coder.decoder -= 0.01 * grads[0] / grads[0].norm()
        assert coder.losses(x, y, dead_after=100).total < aided.total


def test_quiet_counts_vectors_since_the_last_firing():
    coder = make_coder(TopKConfig(3, k=1), 2)
    coder.note_fired(torch.tensor([True, False, False]), 10)
    coder.note_fired(torch.tensor([False, True, False]), 5)
    assert coder.quiet.tolist() == [5, 0, 15]
    assert coder.dead(5).tolist() == [0, 2]


# -- buffer ---------------------------------------------------------------------------------------------------------


def test_every_row_comes_once_a_pass_and_mixed():
    rows = np.arange(1000, dtype=np.float32)[:, None]
    buffer = ShuffleBuffer(ArraySource({"x": rows}, chunk=37), ["x"], batch_size=10, n_batches=7, seed=3, passes=2)
    fillings = []
    for filling in buffer.fillings(Position()):
        fillings.append(np.concatenate([filling.batch(i)["x"][:, 0].numpy() for i in range(filling.n_batches)]))
    seen = np.concatenate(fillings)
    assert sorted(seen.tolist()) == sorted([*range(1000), *range(1000)])
    for number, part in enumerate(fillings):
        assert sorted(part.tolist()) == sorted((np.arange(70 * number, 70 * number + len(part)) % 1000).tolist())
        assert not (np.diff(part) == 1).all()


def test_a_filling_begins_anywhere_as_it_would_have_come():
    rows = np.arange(300, dtype=np.float32)[:, None]
    buffer = ShuffleBuffer(ArraySource({"x": rows}, chunk=41), ["x"], batch_size=10, n_batches=3, passes=3)
    whole = [(f.begins, f.batch(1)["x"].tolist()) for f in buffer.fillings(Position())]
    for begins, rows in whole:
        assert next(buffer.fillings(begins)).batch(1)["x"].tolist() == rows


def test_text_and_its_recording_give_the_same_rows(tiny_language_model, words, tmp_path):
    import patchclamp as pc

    model = tiny_language_model("gpt2")
    site = "blocks.1.mlp.act"
    text = TextSource(model, pc.Corpus(words, window=16, max_tokens=500), batch_size=4)
    stored = pc.record(model, pc.Corpus(words, window=16, max_tokens=500), site, tmp_path / "r", batch_size=4)
    on_disk, in_memory = RecordingSource(stored), RecordingSource(stored.load())
    assert text.n_rows == on_disk.n_rows == in_memory.n_rows < 500
    straight = collect_activations(text, site)
    assert np.array_equal(straight, collect_activations(on_disk, site))
    assert np.array_equal(straight, collect_activations(in_memory, site))
    assert on_disk.subject["hash"] == text.subject["hash"] == model.hash


# -- resume ---------------------------------------------------------------------------------------------------------


class Stopped(Exception):
    """Somebody pulled the plug."""


@pytest.mark.parametrize("stops", [(5,), (1, 13, 29), (31,)])
def test_a_stopped_training_resumes_to_the_same_bytes(source, tmp_path, stops):
    jobs = [Job("x", "x", config_of("batchtopk", 48, k=1)), Job("x", "y", config_of("jumprelu", 16, skip=True))]
    whole = train_dictionary(source, jobs, MORTAL, out=tmp_path / "whole", checkpoint_s=1e9)

    for stop in stops:

        def pull(done, total, stop=stop):
            if done >= stop * 64:
                raise Stopped

        with pytest.raises(Stopped):
            train_dictionary(source, jobs, MORTAL, out=tmp_path / "cut", checkpoint_s=0.0, resume=True, progress=pull)
    cut = train_dictionary(source, jobs, MORTAL, out=tmp_path / "cut", resume=True)
    assert {s: b.hash for s, b in cut.bases.items()} == {s: b.hash for s, b in whole.bases.items()}
    assert cut.curves == whole.curves
    assert max(value for _, value in whole.curves["x"]["dead"]) > 0
    names = sorted(f.name for f in (tmp_path / "whole").iterdir())
    assert names == ["basis-000.safetensors", "basis-001.safetensors", "basis.json"]
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()
    # Gone on with once more, it is what it is.
    again = train_dictionary(source, jobs, MORTAL, out=tmp_path / "cut", resume=True)
    assert again.curves == whole.curves
    assert Dictionary.load(tmp_path / "cut").about["plan"]["plan"]["recipe"]["seed"] == 0


def test_a_resume_with_other_options_is_refused(source, tmp_path):
    def pull(_done, _total):
        raise Stopped

    options = {"out": tmp_path / "d", "checkpoint_s": 0.0}
    with pytest.raises(Stopped):
        train_dictionary(source, [Job("x", "x", TopKConfig(16, k=3))], RECIPE, **options, progress=pull)
    with pytest.raises(PatchclampError, match=r"coders\.0\.k: 3 then, 4 now"):
        train_dictionary(source, [Job("x", "x", TopKConfig(16, k=4))], RECIPE, **options, resume=True)
    other = Recipe(batch_size=64, passes=2, buffer_bytes=RECIPE.buffer_bytes, seed=1)
    with pytest.raises(PatchclampError, match=r"recipe\.seed"):
        train_dictionary(source, [Job("x", "x", TopKConfig(16, k=3))], other, **options, resume=True)
    more = [Job("x", "x", TopKConfig(16, k=3)), Job("y", "y", TopKConfig(16, k=2))]
    with pytest.raises(PatchclampError, match=r"coders\.1\."):
        train_dictionary(source, more, RECIPE, **options, resume=True)
    with pytest.raises(PatchclampError, match="new or empty folder"):
        train_dictionary(source, [Job("x", "x", TopKConfig(16, k=3))], RECIPE, **options)


# -- transcoders ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_a_transcoder_reads_what_the_mlp_reads(tiny_language_model, words, family):
    """Given the very values of the site that it reads, the MLP's own modules give what it writes."""
    model = tiny_language_model(family)
    reads, writes = mlp_sites(model, 1)
    found = model.run([[1, 2, 3, 4]], record=[reads, writes, "blocks.1.mlp.pre"]).recording
    linear = model.module.get_submodule(reads.removeprefix("module.").removesuffix(".in"))
    with torch.no_grad():
        assert torch.allclose(linear(found[reads]), found["blocks.1.mlp.pre"], atol=1e-5)
    source = TextSource(model, pc.Corpus(words, window=16))
    assert (source.width(reads), source.width(writes)) == (found[reads].shape[1], found[writes].shape[1])
    job = Job(reads, writes, TopKConfig(16, k=4, skip=True))
    [one] = train(source, [job], Recipe(batch_size=128))
    basis = one.coder.to_basis("t", reads)
    assert (basis.reads, basis.skip is not None, basis.decoder.shape) == (reads, True, (16, source.width(writes)))


def test_the_skip_begins_at_zero():
    coder = make_coder(TopKConfig(8, k=2, skip=True), 4, 3)
    assert coder.skip.abs().max() == 0


# -- estimator and baselines ----------------------------------------------------------------------------------------


def test_estimator_has_scikit_learns_shape(activity):
    made = SparseAutoencoder(24, k=3, passes=4, batch_size=100)
    assert made.get_params()["k"] == 3
    f = made.fit_transform(activity)
    assert f.shape == (1000, 24)
    assert made.components_.shape == (24, 8)
    assert ((f > 0).sum(1) <= 3).all()
    error = ((made.predict(activity) - activity) ** 2).sum() / ((activity - activity.mean(0)) ** 2).sum()
    assert error < 0.5
    again = SparseAutoencoder(**made.get_params()).fit(activity)
    assert np.array_equal(made.components_, again.components_)
    assert made.set_params(k=2).k == 2
    other = SparseAutoencoder(24, k=3, passes=4, batch_size=100).fit(activity, activity[:, :5])
    assert other.predict(activity).shape == (1000, 5)
    assert other.to_basis().reads == "x"


def test_principal_components_are_scikit_learns(activity):
    decomposition = pytest.importorskip("sklearn.decomposition", reason="scikit-learn is the other side")
    theirs = decomposition.PCA(3).fit(activity).components_
    ours = principal_components(activity, 3).decoder
    assert np.allclose(np.abs((ours * theirs).sum(1)), 1, atol=1e-5)


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda s: TopKConfig(8, k=9), "k from 1 to 8"),
        (lambda s: TopKConfig(0), "number of latents of at least 1"),
        (lambda s: L1Config(8, sparsity=-1.0), "positive sparsity"),
        (lambda s: config_of("magic", 8), "a method of the room decompose"),
        (lambda s: config_of("pca", 8), "a method among the sparse coders"),
        (lambda s: make_coder(TopKConfig(8, k=2, skip=True), 4), "a transcoder"),
        (lambda s: Recipe(batch_size=0), "positive batch size"),
        (lambda s: Recipe(learning_rate=float("nan")), "positive learning rate"),
        (lambda s: train(s, []), "at least one coder"),
        (lambda s: train(s, [Job("x", "x", TopKConfig(8, k=2))], Recipe(batch_size=5000)), "one batch of 5,000"),
        (lambda s: SparseAutoencoder(8, k=2).fit(np.zeros((0, 4))), "real numbers"),
        (lambda s: SparseAutoencoder(8, k=2).fit(np.zeros((9, 4))), "activations"),
        (lambda s: SparseAutoencoder(8, k=2).transform(np.ones((9, 4))), "a fitted coder"),
        (lambda s: SparseAutoencoder(8).set_params(q=1), "an option among"),
        (lambda s: principal_components(np.ones((9, 4)), 5), "1 to 4 principal components"),
        (lambda s: random_directions(np.ones((9, 4)), 5, 6), "k from 1 to 5"),
        (lambda s: RecordingSource(_recording()).width("nowhere"), "a site of the recording"),
    ],
)
def test_bad_input_has_three_parts(source, make, words):
    with pytest.raises(PatchclampError, match=words):
        make(source)


def _recording():
    from patchclamp.core.recording import Recording
    from patchclamp.core.site import Site
    from patchclamp.core.stimulus import Stimulus

    return Recording((Stimulus.of(np.array([4, 5])),), {"a": np.ones((2, 2))}, {"a": Site("a", "a", 2)})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_refused_with_its_unit(activity, bad):
    broken = activity.copy()
    broken[700, 5] = bad
    with pytest.raises(PatchclampError, match="at x, units 5"):
        train(ArraySource({"x": broken}), [Job("x", "x", TopKConfig(8, k=2))], Recipe(batch_size=64))


def test_memory_is_stated_and_refused(source, monkeypatch):
    job = [Job("x", "x", TopKConfig(16, k=2))]
    little, much = (memory_bytes(source, job, Recipe(batch_size=b)) for b in (64, 512))
    assert 16 * 16 * 2 * 8 < little < much
    monkeypatch.setattr(needs, "free_memory", lambda device: little - 1)
    with pytest.raises(PatchclampError, match="of memory"):
        train(source, job, Recipe(batch_size=64))
