"""Semi-NMF is the oracle's, non-negative least squares is scipy's, and its gradient that of finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from oracles.snmf import factorise as plain_factorise
from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import Intervention
from patchclamp.decompose.snmf import BLOCK, SNMF, factorise, first_codes
from patchclamp.subjects import nnls
from patchclamp.subjects.bases import Units, decode, encode
from patchclamp.subjects.nnls import nonnegative_least_squares

RNG = np.random.default_rng(0)
X = RNG.normal(size=(BLOCK + 77, 40))
G = RNG.uniform(0.01, 1, size=(len(X), 6))


# -- the factorisation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparsity", [0.05, 0.1, 0.3, 1.0], ids="p={}".format)  # the first two multiply by gathering
def test_every_iterate_is_the_oracles(sparsity):
    F, codes, loss, losses = plain_factorise(X.T.copy(), G.copy(), sparsity, 12)
    found = factorise(torch.from_numpy(X), torch.from_numpy(G), sparsity=sparsity, max_iter=12, tol=0.0)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-10)
    np.testing.assert_allclose(found.features, F.T, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(found.codes, codes, rtol=1e-8, atol=1e-12)
    assert found.losses[found.best] == pytest.approx(loss, rel=1e-10)


def test_the_best_iterate_is_held_and_patience_ends_it():
    # Far too strict winner-take-all makes the loss rise in between.
    found = factorise(torch.from_numpy(X), torch.from_numpy(G), sparsity=0.03, max_iter=300, patience=9, tol=0.0)
    losses = np.array(found.losses)
    assert (np.diff(losses) > 0).any()
    assert found.best == losses.argmin() == len(losses) - 10
    shown = np.linalg.norm(X - found.codes.numpy() @ found.features.numpy()) ** 2
    assert shown == pytest.approx(losses.min(), rel=1e-9)


def test_single_precision_stays_single_and_close():
    wide = factorise(torch.from_numpy(X), torch.from_numpy(G), sparsity=0.1, max_iter=8, tol=0.0)
    x, codes = torch.from_numpy(X).float(), torch.from_numpy(G).float()
    found = factorise(x, codes, sparsity=0.1, max_iter=8, tol=0.0)
    assert found.features.dtype == found.codes.dtype == torch.float32
    np.testing.assert_allclose(found.losses, wide.losses, rtol=1e-5)


@given(seed=st.integers(0, 10**6), k=st.integers(1, 5), width=st.integers(2, 20))
def test_without_winner_take_all_the_loss_never_rises(seed, k, width):
    rng = np.random.default_rng(seed)
    x, codes = torch.from_numpy(rng.normal(size=(30, width))), torch.from_numpy(rng.uniform(0.1, 1, size=(30, k)))
    losses = np.array(factorise(x, codes, sparsity=1.0, max_iter=15, tol=0.0).losses)
    assert (np.diff(losses) <= 1e-4 * losses[0]).all()


@given(seed=st.integers(0, 10**6), sparsity=st.floats(0.05, 1.0), init=st.sampled_from(["random", "kmeans", "svd"]))
def test_features_are_as_sparse_as_asked_and_codes_not_negative(seed, sparsity, init):
    x = np.random.default_rng(seed).normal(size=(40, 20))
    found = SNMF(4, sparsity, init, max_iter=5, seed=seed).fit(x)
    assert ((found.components_ != 0).sum(1) <= np.ceil(sparsity * 20)).all()
    assert (found.codes_ >= 0).all()
    assert found.components_.dtype == np.float64
    error = np.linalg.norm(x - found.codes_ @ found.components_)
    assert found.reconstruction_err_ == pytest.approx(error)
    assert found.reconstruction_err_**2 == pytest.approx(found.loss_curve_[found.best_iter_], rel=1e-6)


def test_first_codes_are_what_they_are_called():
    x = torch.from_numpy(np.repeat(np.eye(3), 20, axis=0) + 0.01 * RNG.normal(size=(60, 3)))
    nearest = first_codes(x, 3, "kmeans", seed=1)
    assert sorted(nearest.unique().tolist()) == [1e-6, 1.0]
    assert all(len(set(nearest[i : i + 20].argmax(1).tolist())) == 1 for i in (0, 20, 40))
    u, s, _ = np.linalg.svd(x.numpy(), full_matrices=False)
    expected = u * np.sqrt(s)
    expected *= np.where((np.clip(expected, 0, None) ** 2).sum(0) >= (np.clip(expected, None, 0) ** 2).sum(0), 1, -1)
    np.testing.assert_allclose(first_codes(x, 3, "svd", seed=0), expected.clip(1e-6), rtol=1e-6, atol=1e-9)
    drawn = first_codes(x, 3, "random", seed=1)
    assert torch.equal(drawn, first_codes(x, 3, "random", seed=1))
    assert not torch.equal(drawn, first_codes(x, 3, "random", seed=2))


# -- the estimator ----------------------------------------------------------------------------------------------------


def test_the_estimator_is_shaped_as_scikit_learn_has_it():
    from sklearn.base import clone

    x = RNG.exponential(size=(200, 24)).astype(np.float32)
    one = SNMF(5, sparsity=0.25, max_iter=20, seed=3)
    again = clone(one).fit(x)
    assert np.array_equal(one.fit_transform(x), again.codes_)
    assert np.array_equal(one.components_, again.components_)
    assert not np.array_equal(one.components_, clone(one).set_params(seed=4).fit(x).components_)
    exact = one.transform(x)
    assert exact.dtype == np.float32
    assert np.linalg.norm(x - one.inverse_transform(exact)) <= one.reconstruction_err_ * (1 + 1e-5)
    basis = one.to_basis("groups")
    np.testing.assert_allclose(np.linalg.norm(basis.decoder, axis=1), 1, rtol=1e-6)
    f = encode(basis, torch.from_numpy(x))
    np.testing.assert_allclose(f, exact * np.linalg.norm(one.components_, axis=1), rtol=1e-4, atol=1e-5)
    assert one.curves["loss"][0] == [1, one.loss_curve_[0]]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_is_computed_in_single(kind):
    found = SNMF(2, sparsity=0.5, max_iter=3).fit(torch.rand(20, 8).to(kind))
    assert found.components_.dtype == np.float32


@pytest.mark.parametrize(
    ("x", "options", "word"),
    [
        (np.zeros((0, 4)), {}, "shape"),
        (np.ones(4), {}, "shape"),
        (["four", "words"], {}, "numbers"),
        (np.ones((9, 4)) * 1j, {}, "complex"),
        (np.full((9, 4), np.nan), {}, "NaN"),
        (np.zeros((9, 4)), {}, "zeros only"),
        (np.ones((3, 4)), {"n_features": 4}, "4 features of 3 tokens"),
        (np.ones((9, 4)), {"n_features": 5, "init": "svd"}, "svd"),
        (np.ones((9, 4)), {"n_features": 0}, "n_features = 0"),
        (np.ones((9, 4)), {"sparsity": 0.0}, "sparsity"),
        (np.ones((9, 4)), {"sparsity": 1.5}, "sparsity"),
        (np.ones((9, 4)), {"init": "nndsvd"}, "init"),
        (np.ones((9, 4), dtype=np.float32) * 1e25, {}, "loss"),
    ],
)
def test_bad_input_is_told(x, options, word):
    with pytest.raises(PatchclampError, match=word):
        SNMF(2).set_params(**options).fit(x)


def test_what_is_not_fitted_or_not_an_option_is_told():
    with pytest.raises(PatchclampError, match="fit"):
        SNMF().to_basis()
    with pytest.raises(PatchclampError, match="sparseness"):
        SNMF().set_params(sparseness=1)


# -- non-negative least squares ---------------------------------------------------------------------------------------


def directions(kind: str, k: int, width: int) -> np.ndarray:
    d = RNG.normal(size=(k, width))
    if kind == "positive":
        d = np.abs(d)
    if kind == "sparse":
        d *= RNG.random((k, width)) < 0.1
    if kind == "repeated":
        d[k // 2 :] = d[: k - k // 2]
    if kind == "with zeros":
        d[0] = 0
    return d


@pytest.mark.parametrize("guesses", [nnls.GUESSES, 0])  # without guesses pivoting finds everything by itself
@pytest.mark.parametrize("kind", ["any", "positive", "sparse", "with zeros"])
def test_codes_are_scipys(kind, guesses, monkeypatch):
    monkeypatch.setattr(nnls, "GUESSES", guesses)
    d, x = directions(kind, 20, 50), RNG.normal(size=(60, 50)) + 0.2
    f = nonnegative_least_squares(torch.from_numpy(d), torch.from_numpy(x)).numpy()
    expected = np.array([optimize.nnls(d.T, row)[0] for row in x])
    np.testing.assert_allclose(f, expected, atol=1e-8 * expected.max())
    assert (f >= 0).all()
    # It is no plain least squares, and some units of every row are off.
    assert ((f == 0).sum(1) > 0).all()
    single = nonnegative_least_squares(torch.from_numpy(d).float(), torch.from_numpy(x).float())
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, expected, atol=1e-4)


@pytest.mark.parametrize(("kind", "k"), [("repeated", 20), ("any", 30), ("positive", 30)])
@pytest.mark.parametrize("guesses", [nnls.GUESSES, 0])
def test_dependent_directions_reconstruct_as_well_as_scipy(kind, k, guesses, monkeypatch):
    monkeypatch.setattr(nnls, "GUESSES", guesses)
    d, x = directions(kind, k, 16), RNG.normal(size=(40, 16))
    f = nonnegative_least_squares(torch.from_numpy(d), torch.from_numpy(x)).numpy()
    best = np.array([optimize.nnls(d.T, row)[1] for row in x])
    np.testing.assert_allclose(np.linalg.norm(x - f @ d, axis=1), best, atol=1e-7)


def test_the_gradient_is_that_of_the_active_set():
    d = torch.from_numpy(directions("any", 4, 12))
    x = torch.from_numpy(RNG.normal(size=(5, 12))).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: nonnegative_least_squares(d, x), (x,), eps=1e-7, atol=1e-7)
    f = nonnegative_least_squares(d, x)
    mixed = (f > 0).any(1) & ~(f > 0).all(1)
    [at, *_] = torch.nonzero(mixed).flatten().tolist()  # a row of which some are active
    jacobian = torch.autograd.functional.jacobian(lambda row: nonnegative_least_squares(d, row[None])[0], x[at])
    on = f[at] > 0
    assert on.any()
    assert not on.all()
    expected = torch.zeros(4, 12, dtype=torch.float64)
    expected[on] = torch.linalg.inv(d[on] @ d[on].T) @ d[on]
    np.testing.assert_allclose(jacobian, expected, atol=1e-10)


def test_a_broken_row_gives_nan_and_spoils_no_other():
    d, x = torch.eye(3), torch.tensor([[1.0, -1, 2], [float("nan"), 0, 0], [float("inf"), 0, 0]])
    f = nonnegative_least_squares(d, x)
    assert f[0].tolist() == [1, 0, 2]
    assert f[1:].isnan().all()
    assert nonnegative_least_squares(d, torch.zeros(0, 3)).shape == (0, 3)


def test_a_basis_reads_and_a_clamp_writes_in_the_model(tiny_language_model):
    model, site = tiny_language_model("gpt2"), "blocks.0.mlp.act"
    width = model.site(site).width
    d = directions("any", 5, width)
    bias = RNG.normal(size=width)
    basis = Basis("groups", "directions", decoder=d, decoder_bias=bias, activation="nonnegative")
    model.add_basis(basis, site)
    before = model.run([[2, 3, 4]], record=site).recording[site].double()
    f = encode(basis, before)
    expected = np.array([optimize.nnls(d.T, row)[0] for row in before.numpy() - bias])
    np.testing.assert_allclose(f, expected, atol=1e-8)
    units = Units(basis, model.site(site), (3, 1))
    np.testing.assert_allclose(units.encode(before), expected[:, [3, 1]], atol=1e-8)
    changes = [Intervention(site, "set", (1,), "groups", value=2.0)]
    after = model.run([[2, 3, 4]], record=site, interventions=changes).recording[site].double()
    wanted = f.clone()
    wanted[:, 1] = 2.0
    np.testing.assert_allclose(after, before + decode(basis, wanted) - decode(basis, f), atol=1e-4)
