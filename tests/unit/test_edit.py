"""Edits of weights: in force for a while, undone to the bit, refused elsewhere, saved as models."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import patchclamp as pc
from patchclamp.core.basis import Basis
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.edit import Edit
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.provenance import Provenance
from patchclamp.subjects.families.spec import family
from patchclamp.subjects.hashing import module_hash
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.network import Network

NAME = "transformer.h.1.mlp.c_proj.weight"


@pytest.fixture
def model() -> LanguageModel:
    return LanguageModel(family("gpt2").tiny())


def edit_of(model, name: str = NAME, seed: int = 0) -> Edit:
    shape = tuple(model.parameters()[name].shape)
    return Edit({name: np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}, model.hash)


def test_an_edit_adds_and_is_undone_to_the_bit(model):
    edit, before, whole = edit_of(model), model.parameters()[NAME].clone(), module_hash(model.module)
    with model.edited(edit):
        assert torch.equal(model.parameters()[NAME], before + torch.as_tensor(edit.deltas[NAME]))
        assert model.hash == edit.after != edit.before
    assert (module_hash(model.module), model.hash) == (whole, edit.before)


def test_an_edit_is_undone_where_the_body_raises(model):
    whole = module_hash(model.module)
    with pytest.raises(ZeroDivisionError), model.edited(edit_of(model)):
        raise ZeroDivisionError
    assert module_hash(model.module) == whole


def test_edits_nest_where_the_inner_was_made_for_the_outer(model):
    first, whole = edit_of(model), module_hash(model.module)
    second = edit_of(model, "transformer.h.0.mlp.c_proj.weight", seed=1)
    with model.edited(first):
        with pytest.raises(PatchclampError, match="an edit of the weights"), model.edited(second):
            pass
        with model.edited(replace(second, before=first.after)):
            assert model.hash not in (first.before, first.after)
        assert model.hash == first.after
    assert module_hash(model.module) == whole


@pytest.mark.parametrize(
    ("name", "shape"), [("no.such.weight", (2, 2)), (NAME, (2, 2))], ids=["unknown name", "other shape"]
)
def test_an_edit_that_does_not_fit_changes_nothing(model, name, shape):
    whole = module_hash(model.module)
    both = edit_of(model)
    wrong = replace(both, deltas={**both.deltas, name: np.ones(shape, dtype=np.float32)})
    with pytest.raises(PatchclampError, match=name.split(".")[0]), model.edited(wrong):
        pass
    assert module_hash(model.module) == whole


def test_half_precision_is_added_in_single_and_restored(model):
    edit = edit_of(model)
    half = LanguageModel(model.module.to(torch.bfloat16))
    before = half.parameters()[NAME].clone()
    with half.edited(replace(edit, before=half.hash)):
        wanted = (before.float() + torch.as_tensor(edit.deltas[NAME])).to(torch.bfloat16)
        assert torch.equal(half.parameters()[NAME], wanted)
    assert torch.equal(half.parameters()[NAME], before)


def test_a_saved_edit_is_a_model_of_its_own(model, tmp_path):
    edit, prompt = edit_of(model), [[1, 2, 3]]
    model.save_edited(edit, tmp_path / "new")
    assert model.hash == edit.before
    saved = pc.load(str(tmp_path / "new"))
    assert saved.hash not in (edit.before, edit.after)
    with model.edited(edit):
        assert all(torch.equal(x, saved.parameters()[name]) for name, x in model.parameters().items())
        torch.testing.assert_close(saved.run(prompt).logits, model.run(prompt).logits)
    with pytest.raises(PatchclampError):
        model.save_edited(edit, tmp_path / "new")


def test_an_edit_comes_back_from_disk_as_it_was(model, tmp_path):
    edit = replace(edit_of(model), claim="Ann lives in Arbon", provenance=Provenance("toy", method="control/mine"))
    edit.save(tmp_path / "edit")
    again = Edit.load(tmp_path / "edit")
    assert again.to_json() == edit.to_json()
    assert again.deltas[NAME].tobytes() == edit.deltas[NAME].tobytes()
    journal = next(path for path in (tmp_path / "edit").rglob("*.safetensors"))
    data = bytearray(journal.read_bytes())
    data[-1] ^= 1
    journal.write_bytes(bytes(data))
    with pytest.raises(Damaged):
        Edit.load(tmp_path / "edit")


def test_a_transposed_delta_is_the_same_edit():
    delta = np.arange(6, dtype=np.float32).reshape(2, 3)
    one, other = Edit({"w": delta}, "a"), Edit({"w": np.asfortranarray(delta)}, "a")
    assert one.to_json() == other.to_json()


def test_a_random_edit_has_the_delta_s_norm_and_rank_one(model):
    edit = edit_of(model)
    random = edit.random_like(3)
    assert np.linalg.norm(random.deltas[NAME]) == pytest.approx(np.linalg.norm(edit.deltas[NAME]), rel=1e-5)
    assert np.linalg.matrix_rank(random.deltas[NAME], tol=1e-3) == 1
    assert random.before == edit.before
    assert random.after != edit.random_like(4).after


@pytest.mark.parametrize(("name", "transposed"), [("gpt2", True), ("llama", False)])
def test_the_reader_of_neurons_is_the_down_projection(name, transposed):
    model = LanguageModel(family(name).tiny())
    found = model.reader("blocks.1.mlp.act")
    assert found.transposed == transposed
    weight = model.parameters()[found.parameter]
    assert tuple(weight.T.shape if transposed else weight.shape) == (32, model.site("blocks.1.mlp.act").width)
    with pytest.raises(PatchclampError, match="one linear map reads"):
        model.reader("blocks.1.resid_out")


def test_a_plain_network_can_be_edited():
    net = Network(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), torch.zeros(1, 2))
    assert net.reader("module.1.in").parameter == "1.weight"
    x = torch.ones(1, 2)
    before = net.run(x).logits
    with net.edited(Edit({"1.weight": np.ones((1, 3), dtype=np.float32)}, net.hash)):
        assert not torch.equal(net.run(x).logits, before)
    assert torch.equal(net.run(x).logits, before)


def test_a_basis_comes_back_with_its_site_and_what_made_it(tmp_path):
    made = Provenance("toy", "abc", "control/diff_mean", options={"wanted": "x"}, extra={"distance": 2.0})
    basis = Basis(
        "up", "directions", decoder=np.eye(4, dtype=np.float32)[:1], site="blocks.0.resid_out", provenance=made
    )
    Dictionary.of(basis).save(tmp_path / "up")
    again = Dictionary.load(tmp_path / "up").single()
    assert (again.hash, again.to_json()) == (basis.hash, basis.to_json())
    with pytest.raises(PatchclampError, match="made for a site"):
        Dictionary.of(replace(basis, site=None))


def test_a_basis_with_a_site_is_known_there_alone(model):
    model.add_basis(Basis("up", "directions", decoder=np.eye(32)[:1], site="blocks.0.resid_out"))
    assert model.basis_at("blocks.0.resid_out", "up").n_units == 1
    with pytest.raises(PatchclampError):
        model.basis_at("blocks.1.resid_out", "up")
