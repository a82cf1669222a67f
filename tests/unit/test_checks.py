"""The three refusals that recur: what each lets pass, what it refuses, and that a hash is read only where needed."""

from types import SimpleNamespace

import numpy as np
import pytest

from patchclamp.core.checks import at_least, one_of, same_subject, subject_of
from patchclamp.core.errors import PatchclampError
from patchclamp.core.provenance import Provenance

NAN, INF = float("nan"), float("inf")


def refusal(call, *args, **kwargs):
    with pytest.raises(PatchclampError) as caught:
        call(*args, **kwargs)
    return caught.value


def test_a_choice_passes_and_any_other_value_is_refused_with_the_nearest():
    assert one_of("dtype", "float32", ("float32", "float16")) == "float32"
    error = refusal(one_of, "organism", "cta", iter(["cat", "dog"]))
    assert (error.expected, error.got, error.remedy) == ("an organism among cat, dog", "'cta'", "Nearest: cat.")
    for value in (None, ["cat"], np.zeros(2), NAN, "x" * 10_000, {}):
        assert refusal(one_of, "kind", value, ["cat"]).remedy == "Choose one of these."
    assert refusal(one_of, "kind", "x", [], remedy="Name a site.").remedy == "Name a site."
    many = refusal(one_of, "kind", "x", map(str, range(1000)))
    assert "and 960 more" in many.expected
    assert len(many.expected) < 300


@pytest.mark.parametrize("value", [0, -1, 0.5, -(10**30), NAN, INF, -INF, True, None, "3", [1], np.array([1, 2])])
def test_what_is_no_finite_number_from_the_bound_is_refused(value):
    error = refusal(at_least, "k", value, 1)
    assert (error.expected, error.remedy) == ("k of at least 1", "Give 1 or more.")


def test_a_number_from_the_bound_on_passes():
    for value in (1, 10**30, np.int64(1), np.float32(1.5)):
        assert at_least("k", value, 1) is value
    assert at_least("tolerance", 0.0, 0.0) == 0.0


class Weights:
    """A subject that counts how often its hash is read."""

    name = "cat"
    read = 0

    @property
    def hash(self):
        self.read += 1
        return "12ab"


def forms(slug, digest):
    """Return every form in which an artefact names its subject."""
    subject = {"slug": slug, "hash": digest}
    return [
        subject,
        {"subject": subject},
        SimpleNamespace(subject=subject),
        SimpleNamespace(provenance=Provenance(slug, digest)),
        SimpleNamespace(provenance={"subject": subject}),
        SimpleNamespace(bundle=SimpleNamespace(manifest={"subject": subject})),
    ]


@pytest.mark.parametrize("form", range(6))
def test_an_artefact_of_other_weights_is_refused_in_whatever_form_it_names_them(form):
    how = {"what": "a survey", "remedy": "Survey this model."}
    cat = Weights()
    assert subject_of(forms("cat", "12ab")[form]) == ("cat", "12ab")
    assert same_subject(cat, forms("another name", "12ab")[form], **how)  # same weights, whatever they are called
    error = refusal(same_subject, cat, forms("cat", "34cd")[form], **how)
    assert (error.expected, error.got) == ("a survey of cat (12ab)", "one of cat (34cd)")
    cat = Weights()
    assert refusal(same_subject, cat, forms("dog", "")[form], **how).got == "one of dog, which has no hash"
    assert not same_subject(cat, forms("dog", "")[form], by_name=False, **how)
    assert not same_subject(cat, forms("cat", "")[form], **how)
    assert not same_subject(cat, forms("", "")[form], **how)
    assert refusal(same_subject, cat, forms("", "")[form], required=True, **how)
    assert cat.read == 0  # a hash over all weights is not computed for nothing


@pytest.mark.parametrize("artefact", [None, 3, SimpleNamespace(), {}, {"subject": None}])
def test_what_names_no_subject_says_nothing(artefact):
    assert subject_of(artefact) == ("", "")


def test_a_subject_may_be_the_mapping_of_an_atlas():
    how = {"what": "a graph", "remedy": "Bake an atlas of that model."}
    assert same_subject({"slug": "cat", "hash": "12ab"}, {"slug": "cat", "hash": "12ab"}, **how)
    assert refusal(same_subject, {"slug": "cat", "hash": "12ab"}, {"slug": "cat", "hash": "x"}, **how)
