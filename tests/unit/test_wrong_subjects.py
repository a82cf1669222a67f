"""What is no subject is refused by every verb, in three parts."""

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.core.basis import Basis
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.task import Task
from patchclamp.subjects.language import LanguageModel

PAIR = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
EYE = np.eye(2, dtype=np.float32)
BASES = Dictionary({"s": Basis("b", "directions", EYE, EYE)}, {}, "by hand")
VERBS = {
    "find_circuit": lambda subject: pc.find_circuit(subject, PAIR),
    "patch": lambda subject: pc.patch(subject, PAIR, "neuron"),
    "generate": lambda subject: pc.generate(subject, "the old cat"),
    "evaluate": lambda subject: pc.evaluate(BASES, subject, "text.txt"),
}


@pytest.mark.parametrize("subject", [None, 3, "x", LanguageModel, "recording"])
@pytest.mark.parametrize("verb", VERBS)
def test_what_is_no_subject_is_refused(cat, verb, subject):
    given = cat.run("the old cat", record=["blocks.0.mlp.act"]).recording if subject == "recording" else subject
    with pytest.raises(pc.PatchclampError, match=r"expected a subject .* load\(NAME\)"):
        VERBS[verb](given)


def test_no_prompt_is_refused(cat):
    with pytest.raises(pc.PatchclampError, match="expected a prompt; got None"):
        pc.explain(cat, None, " sat")
