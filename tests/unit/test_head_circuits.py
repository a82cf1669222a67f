"""Heads by their weights alone: what singular directions reproduce, and heads that have no W_V W_O."""

import numpy as np
import pytest
import torch

import patchclamp as pc
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Stimulus
from patchclamp.describe.token_concepts import share_concept
from patchclamp.describe.transfer import compare_first_tokens
from patchclamp.organisms import language, planted
from patchclamp.subjects.engine import Restart
from patchclamp.subjects.families.spec import families
from patchclamp.subjects.language import LanguageModel


def tiny(name: str) -> LanguageModel:
    [family] = [one for one in families() if one.name == name]
    return LanguageModel(family.tiny(), None, name=name)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox", "falcon", "olmo2", "gemma2"])
def test_singular_directions_say_what_a_head_writes_of_any_vector(name: str):
    """Fused projections, shared keys and values, and norms before or after: z · W_O of one token is Σ s (x · r) w."""
    model = tiny(name)
    site = "blocks.1.attn.z"
    heads = model.head_circuits(site)
    width = model.site("blocks.1.resid_in").width
    values = torch.as_tensor(np.random.default_rng(1).standard_normal((4, width))).to(model.dtype)
    rows = torch.cat([values, torch.zeros_like(values[:1])])[:, None]
    shown = [Stimulus.of(np.zeros(1, dtype=np.int64))] * len(rows)
    z = model.run(shown, record=[site], logits=False, restart=Restart(1, rows)).recording[site]
    z = (z[:-1] - z[-1:]).unflatten(1, (len(heads), -1))
    for i, head in enumerate(heads):
        written = model.write_to_stream(
            site, torch.nn.functional.pad(z[:, i], (i * z.shape[2], (len(heads) - i - 1) * z.shape[2]))
        ).double()
        predicted = ((values.double() @ head.reads.T) * head.sizes) @ head.writes
        cosine = torch.cosine_similarity(written, predicted, dim=1)  # the norm divides by each vector's own size
        assert cosine.min() > 1 - 1e-4
        assert head.sizes.diff().max() <= 1e-9
        assert head.shares.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["gpt_oss", "deepseek_v3"])
def test_heads_with_a_sink_or_a_norm_before_their_values_are_refused(name: str):
    with pytest.raises(PatchclampError, match="linear map of the normed stream"):
        tiny(name).head_circuits("blocks.1.attn.z")


def test_a_planted_head_writes_its_answer_and_the_other_end_the_contrast():
    model, card = planted.build("backup-llama"), planted.card("backup-llama")
    task = planted.task("backup-llama")
    ends = [pc.describe(model, task, method="head_vocabulary", negative=negative) for negative in (False, True)]
    for key in ("blocks.0.attn.z/heads/0", "blocks.0.attn.z/heads/2"):
        place = ends[0].index.place(key)
        assert [one.text(place, 1) for one in ends] == [card["target"], card["contrast"]]
        assert ends[0].measures["share"][place] == pytest.approx(1.0)
    with pytest.raises(PatchclampError, match="a direction from 1 to"):
        pc.describe(model, method="head_vocabulary", direction=10_000)


def test_tokens_of_one_concept_share_a_word_or_a_direction():
    class Subject:
        def unembedding_rows(self):
            rows = torch.as_tensor(np.random.default_rng(0).standard_normal((200, 64)))
            rows[1] = rows[4] + 0.1 * rows[5]
            return rows.float() + 3.0

    words = [" run", "cat", "Running", " dogs", " kitten", *map(str, range(195))]
    kin = share_concept(Subject(), words, np.array([[0, 2, 3, 1], [1, 4, 3, -1], [3, 0, 1, 2]]))
    assert kin.tolist() == [[True, True, False, False], [True, True, False, False], [True, False, False, False]]


def test_specialised_neurons_come_first_by_a_high_peak_and_one_concept():
    words = pc.describe(language.build("language-gpt2"), tokens=5)
    assert words.provenance.extra == {"tied_embeddings": True}
    peak, whole, share = (words.measures[name] for name in ("peak", "specialised", "concept"))
    assert np.allclose(whole, peak * share)
    assert ((share >= 1 / 5) & (share <= 1)).all()
    assert whole[words.order("specialised")[0]] == whole.max()


def test_fine_tuning_keeps_most_first_tokens_and_shuffling_none():
    model = language.build("language-gpt2")
    before = pc.describe(model, tokens=1)
    ids = torch.as_tensor(model.tokenize("the king of the old city sang a song").ids[::-1].astype(np.int64).copy())[
        None
    ]
    optimiser = torch.optim.SGD(model.module.parameters(), lr=0.02)
    for _ in range(3):
        model.module(ids, labels=ids).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.forget_hash()
    kept = compare_first_tokens(before, pc.describe(model, tokens=1))
    assert 0.5 < kept.value < 1
    assert kept.null.high < 0.1
    assert kept.p == 0.001
    with pytest.raises(PatchclampError, match="other units"):
        compare_first_tokens(before, pc.describe(planted.build("cat"), tokens=1))
