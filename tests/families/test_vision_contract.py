"""Every family of image models keeps the ten-part contract, and the mappings that people get wrong are rejected."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import patchclamp as pc
from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.contract import results, verify
from patchclamp.subjects.contract.kinds.pictures import PARTS, tiny
from patchclamp.subjects.families import vision
from patchclamp.subjects.families.spec import family_names
from patchclamp.subjects.vision_sites import FeatureMap, vision_family, vision_family_names

NAMES = vision_family_names()


def rejected(number, wrong):
    """Return by how much a wrong mapping breaks a part; a break that is only a crash does not count."""
    found = verify.deviation(PARTS[number - 1], tiny(wrong))
    assert found < float("inf"), "the mapping must be seen to be wrong, not just to fail"
    return found


def test_the_families_are_the_files_of_their_folder_and_none_is_one_of_text():
    files = Path(vision.__path__[0]).glob("[a-z]*.py")
    assert set(NAMES) == {f.stem for f in files} >= {"vit", "dinov2", "clip_vision", "resnet", "convnext"}
    assert not set(NAMES) & set(family_names())
    assert all(len(f.read_text().splitlines()) <= 80 for f in files)


@pytest.mark.parametrize("name", NAMES)
def test_a_family_keeps_the_contract_and_a_wrong_mapping_is_accepted_nowhere(name):
    right = vision_family(name)
    found = verify.verify_family(name)
    assert all(v.passed for v in found), [v for v in found if not v.passed]
    parts = [v for v in found if v.name[0].isdigit()]
    assert [v.name for v in parts] == [f"{i}. {p.name}" for i, p in enumerate(PARTS, 1)]
    for number, (verdict, part) in enumerate(zip(parts, PARTS, strict=True), 1):
        if number in right.excluded:
            assert verdict.excluded == right.excluded[number]
        else:
            assert verdict.deviation <= part.limit < verdict.rejected
    known = results.stored_results(results.IMAGES)
    assert known["parts"] == [{"name": p.name, "limit": p.limit} for p in PARTS]
    new = results.result_row(right.classes, parts)
    assert results.changed_since(known["families"][name], new, [p.limit for p in PARTS]) == []


def test_the_stored_results_name_every_family():
    assert set(results.stored_results(results.IMAGES)["families"]) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_tiny_model_wrapped_is_covered_by_its_family(name):
    right = vision_family(name)
    model = pc.wrap(right.tiny(), torch.zeros(1, *right.tiny_shape), prepare="scale")
    assert model.family is right
    assert [v.deviation for v in pc.verify(model) if v.limit == 0.0] == [0.0] * (3 if right.attends else 2)


def test_dinov2_writes_taken_before_their_scales_break_the_residual_law():
    right = vision_family("dinov2")
    assert rejected(2, replace(right, block={**right.block, "mlp.write": FeatureMap("mlp", "out")})) > 0.1


def test_dinov2_read_by_its_class_token_alone_breaks_the_answers():
    right = vision_family("dinov2")

    def twice(model, final):
        return model.classifier(torch.cat([final[:, 0], final[:, 0]], 1))

    assert rejected(3, replace(right, answer=twice)) > 0.1


def test_a_resnet_without_the_relu_after_its_sum_or_without_its_shortcut_breaks_the_residual_law():
    right = vision_family("resnet")
    assert rejected(2, replace(right, after="")) > 0.1
    # Every block but the first of a stage has an identity there; where it has a convolution the shapes differ.
    assert verify.deviation(PARTS[1], tiny(replace(right, shortcut=""))) > 0.1


def test_a_convnext_whose_maps_are_read_with_their_channels_first_loses_what_its_neurons_write():
    right = vision_family("convnext")
    wrong = replace(
        right, block={**right.block, "mlp.act": FeatureMap("pwconv2", "in"), "mlp.pre": FeatureMap("pwconv1", "out")}
    )
    assert verify.deviation(PARTS[7], tiny(wrong)) > 0.1


def test_unknown_families_are_named_with_those_there_are():
    with pytest.raises(PatchclampError, match="clip_vision, convnext"):
        vision_family("alexnet")


def test_a_gated_dinov2_is_refused_with_its_reason():
    from transformers import Dinov2ForImageClassification

    config = vision_family("dinov2").tiny().config
    config.use_swiglu_ffn = True
    model = pc.wrap(Dinov2ForImageClassification(config), torch.zeros(1, 3, 12, 12), prepare="scale")
    assert model.family is None
    assert "its MLP is gated" in dict(model.capabilities.missing)["canonical sites"]
    assert verify.verify(model)[0].deviation == 0.0
