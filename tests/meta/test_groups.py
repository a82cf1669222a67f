"""Tests that share what takes long to make run in one process, and leave a shared model as it was."""

from pathlib import Path

import pytest
import torch

import groups
import shared_models

NAMES = frozenset({"gpt2", "cat"})


@pytest.mark.parametrize(
    ("given", "scopes", "group"),
    [
        ({}, {"session", "function"}, "unit/test_x.py"),
        ({"n": 3, "text": "a cat"}, set(), "unit/test_x.py"),
        ({"n": 3, "name": "cat"}, {"session"}, "unit cat"),
        ({"name": "cat"}, {"module"}, "unit/test_x.py"),
        ({"name": "cat"}, {"module", "package"}, "unit"),
    ],
)
def test_a_group_is_the_widest_of_what_a_test_shares(given, scopes, group):
    assert groups.group_of("unit/test_x.py", given, scopes, NAMES) == group


def test_the_longest_folders_come_first_and_none_is_forgotten():
    folders = {file.parent.name for file in Path(groups.__file__).parent.glob("*/test_*.py")}
    assert folders - set(groups.ORDER) == set()
    assert groups.order_of("new/test_x.py") < groups.order_of("browser/test_x.py") < groups.order_of("src/a/b.py")


def test_families_and_organisms_are_subjects():
    assert groups.subjects() >= {"gpt2", "vit", "cat", "mover-gpt2", "language-llama", "digits-cnn"}


def test_every_value_of_every_parameter_is_left():
    product = [{"name": name, "n": n, "how": how} for name in ("gpt2", "cat") for n in (1, 2) for how in ("a", "b")]
    kept = [product[number] for number in groups.thin(product, NAMES)]
    assert len(kept) == 3
    assert {case["n"] for case in kept} == {1, 2}
    assert {case["how"] for case in kept} == {"a", "b"}
    assert groups.thin([{}, {}], NAMES) == [0]
    assert groups.thin([{"text": "a cat"}, {"text": "a dog"}], NAMES) == [0, 1]


@pytest.mark.parametrize("alone", ["unit/test_x.py::test_y", "unit/test_x.py::test_y[blocks.0@3]"])
def test_versions_that_pass_over_the_groups_are_refused(alone):
    grouped = ["unit/test_x.py::test_y@unit/test_x.py", "unit/test_x.py::test_y[blocks.0@3]@unit cat"]
    groups.check_ids(grouped)
    with pytest.raises(pytest.UsageError, match="constraints"):
        groups.check_ids([*grouped, alone])


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.module.transformer.wpe.weight.data.mul_(2),
        lambda model: model.module.register_forward_hook(lambda *_: None),
        lambda model: model.bases.update({("embed", "own"): None}),
        lambda model: model.tokenizer.prefix.append(3),
        lambda model: setattr(model, "run", None),
    ],
)
def test_a_shared_model_that_is_changed_is_seen_and_made_anew(tiny_language_model, monkeypatch, change):
    monkeypatch.setattr(shared_models, "_MADE", {})
    model = shared_models.share(lambda: tiny_language_model("gpt2"), "family", "x")
    assert shared_models.share(pytest.fail, "family", "x") is model
    model.run([[1, 2]], record="*")
    assert shared_models.drop_changed() == []
    with torch.no_grad():
        change(model)
    assert shared_models.drop_changed() == [("family", "x")]
    assert shared_models.share(lambda: tiny_language_model("gpt2"), "family", "x") is not model
