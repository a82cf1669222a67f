"""Clamps while text is written by networks that carry a state: against whole uncached forwards with plain hooks."""

import pytest
import torch
import transformers

from every_family import CHOSEN
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import change
from patchclamp.subjects.batching import CARRIED, KNOWN, PositionTracker
from patchclamp.subjects.families.spec import enlarge, family
from patchclamp.subjects.language import LanguageModel

PROMPTS = [[3, 14, 15, 9, 26, 5], [35, 8, 9], [7, 9, 3]]
STEPS = 4
UNIT, AMOUNT = 3, 100.0
END = 60
SIZES = {"vocab_size": 61, "bos_token_id": 0, "eos_token_id": END, "pad_token_id": 59, "hidden_size": 32}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 32}
MAMBA2 = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8}
LAYERS = {"layer_types": ["linear_attention", "full_attention"], "num_hidden_layers": 2}
# Class before "ForCausalLM" and "Config", the block that is changed, and what the config says besides the sizes.
CARRYING = {
    "Mamba": ("backbone.layers.0", {"num_hidden_layers": 2, "state_size": 8}),
    "Mamba2": (
        "backbone.layers.0",
        {"num_hidden_layers": 2, "state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 8},
    ),
    "FalconMamba": ("backbone.layers.0", {"num_hidden_layers": 2, "state_size": 8}),
    "Rwkv": ("rwkv.blocks.0", {"num_hidden_layers": 2, "attention_hidden_size": 32, "context_length": 64}),
    "MiniMax": (
        "model.layers.0",
        {**HEADS, **LAYERS, "head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1, "block_size": 4},
    ),
    "RecurrentGemma": (
        "model.layers.0",
        {"num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64, "attention_window_size": 32},
    ),
    "Bamba": ("model.layers.0", {**HEADS, **MAMBA2, "num_hidden_layers": 2, "attn_layer_indices": [1]}),
}
PLACES = {"+1:": (1, None, True), "0": (0, 1, False), "-1": (-1, 0, True), "all": (0, None, False)}


@pytest.fixture(scope="module")
def carrying():
    made = {}

    def make(name):
        if name not in made:
            config = getattr(transformers, f"{name}Config")(**SIZES, **CARRYING[name][1])
            made[name] = LanguageModel(enlarge(getattr(transformers, f"{name}ForCausalLM")(config), weight=0.4))
        return made[name]

    return make


def read_whole(model, block, prompt, place):
    """Decode greedily by whole uncached forwards; a unit of a block's output is raised at a place."""
    start, stop, counted_from_end = place
    shift = len(prompt) if counted_from_end else 0
    begin, end = start + shift, None if stop is None else stop + shift

    def after(_module, _args, output):
        whole = output if isinstance(output, torch.Tensor) else output[0]
        whole[:, begin:end, UNIT] += AMOUNT

    ids = list(prompt)
    handle = model.module.get_submodule(block).register_forward_hook(after)
    try:
        with torch.no_grad():
            while len(ids) < len(prompt) + STEPS and ids[-1] != END:
                ids.append(int(model.module(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    finally:
        handle.remove()
    return [i for i in ids[len(prompt) :] if i != END]


@pytest.mark.parametrize("at", PLACES)
@pytest.mark.parametrize("name", CARRYING)
def test_places_are_those_of_a_loop_without_a_state(carrying, name, at):
    model, block = carrying(name), CARRYING[name][0]
    edits = [change("add", f"module.{block}.out", UNIT, value=AMOUNT, at=None if at == "all" else at)]
    expected = [read_whole(model, block, prompt, PLACES[at]) for prompt in PROMPTS]
    together = model.generate(PROMPTS, interventions=edits, max_new_tokens=STEPS)
    assert [made.ids.tolist() for made in together] == expected
    taken = []
    for token in model.steps(PROMPTS[0], interventions=edits, max_new_tokens=STEPS):
        taken.append(token)
        model.run([PROMPTS[1]])  # others use the model between
    assert taken == expected[0]


def test_the_places_of_a_change_make_a_difference(carrying):
    # What the test above compares is not the same everywhere.
    for name, (block, _) in CARRYING.items():
        texts = {at: [read_whole(carrying(name), block, p, place) for p in PROMPTS] for at, place in PLACES.items()}
        assert len({str(text) for text in texts.values()}) > 2, name


@pytest.mark.parametrize("name", CARRYING)
def test_a_padded_row_is_the_row_alone_or_refused(carrying, name):
    model = carrying(name)
    alone = [model.run([prompt]).logits[0] for prompt in PROMPTS]
    for padding in ("right", "left"):
        if padding == "left" and name in ("Rwkv", "RecurrentGemma"):
            with pytest.raises(PatchclampError, match="reads padding like tokens") as refused:
                model.run(PROMPTS, padding=padding)
            assert "3 to 6 tokens, padded on the left: logits move by" in refused.value.got
            model.run(PROMPTS[1:], padding=padding)  # nothing is padded
            continue
        together = model.run(PROMPTS, padding=padding).logits
        for row, expected in zip(together, alone, strict=True):
            assert (row[: len(expected)] - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_lists_per_row_stay_with_their_rows_where_each_is_run_alone(carrying):
    model, site = carrying("Rwkv"), "module.rwkv.blocks.0.out"
    lists = [[], [change("add", site, UNIT, value=AMOUNT)], [change("scale", site, value=-1.0)]]
    ticks = []
    together = model.generate(
        PROMPTS, interventions=lists, max_new_tokens=STEPS, progress=lambda *tick: ticks.append(tick)
    )
    alone = [
        model.generate([prompt], interventions=own, max_new_tokens=STEPS)[0]
        for prompt, own in zip(PROMPTS, lists, strict=True)
    ]
    assert [made.ids.tolist() for made in together] == [made.ids.tolist() for made in alone]
    assert [made.prompt.ids.tolist() for made in together] == PROMPTS
    assert ticks[-1] == (STEPS, STEPS)


def received(module):
    """Return the names and types of what a forward hook receives while a prompt is continued by three tokens."""
    calls = []

    def before(_module, args, kwargs):
        assert not args
        calls.append({name: value for name, value in kwargs.items() if value is not None})

    handle = module.register_forward_pre_hook(before, with_kwargs=True)
    try:
        module.generate(
            torch.tensor([PROMPTS[0]]), max_new_tokens=3, min_new_tokens=3, do_sample=False, pad_token_id=59
        )
    finally:
        handle.remove()
    return calls


@pytest.mark.parametrize("name", [name for name in CHOSEN if family(name).causal] + list(CARRYING))
def test_what_a_forward_receives_while_generating_is_known_by_name(carrying, name):
    model = carrying(name) if name in CARRYING else LanguageModel(family(name).tiny())
    calls = received(model.module)
    assert len(calls) == 3
    for call in calls:
        unknown = {k for k, v in call.items() if not isinstance(v, bool | int | float | str)} - KNOWN - {*CARRIED}
        assert unknown == set()
    # A step shows one token, and hands what was kept of the others over under exactly one name.
    for call in calls[1:]:
        assert call["input_ids"].shape == (1, 1)
        assert len(call.keys() & {*CARRIED}) == 1


def test_what_is_unknown_is_refused():
    model = LanguageModel(family("llama").tiny())
    ids = torch.tensor([PROMPTS[0]])
    on = [change("add", "blocks.0.resid_in", value=1.0, at=0)]
    with model.intervene(on):
        for given in ({"memory": object()}, {"mems": [torch.zeros(1)]}):
            with pytest.raises(PatchclampError, match="whose meaning for positions is known"):
                model.module(input_ids=ids, **given)
        with pytest.raises(PatchclampError, match="a cache of transformers"):
            model.module(input_ids=ids, past_key_values=object())
        with pytest.raises(PatchclampError, match=r"1 x 6; got 1 x 1 x 6 x 6"):
            model.module(input_ids=ids, attention_mask=torch.ones(1, 1, 6, 6))
        # Settings say nothing of positions, and arguments may come by their order.
        whole = model.module(ids, None, output_hidden_states=False).logits
    assert torch.equal(whole, model.run([PROMPTS[0]], interventions=on).logits)


def test_a_state_that_passed_unseen_is_refused(carrying):
    model = carrying("Rwkv")
    ids = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        state = model.module(ids, use_cache=True).state
    on = [change("add", "module.rwkv.blocks.0.out", value=1.0, at=0)]
    with model.intervene(on), pytest.raises(PatchclampError, match="a state of the call before"):
        model.module(ids[:, -1:], state=state)


def test_a_cache_filled_outside_is_a_prompt_of_its_length():
    model = LanguageModel(family("gpt2").tiny())
    ids = torch.tensor([PROMPTS[0]])
    cache = transformers.DynamicCache(config=model.module.config)
    name = next(name for name in CARRIED if name in received(model.module)[1])
    framer = PositionTracker(model.module, positions=True)
    with torch.no_grad():
        model.module(input_ids=ids[:, :4], use_cache=True, **{name: cache})
    framer.prepare((), {"input_ids": ids[:, 4:], name: cache})
    frame = framer.current()
    assert frame.logical.tolist() == [[0, 1, 2, 3, 4, 5]]
    assert frame.prompt.tolist() == [6]
    framer.prepare((), {"input_ids": torch.tensor(PROMPTS[1:2])})
    assert framer.current().prompt.tolist() == [3]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_are_refused(temperature):
    model = LanguageModel(family("gpt2").tiny())
    model.module.transformer.h[1].mlp.c_proj.weight.data[0, 0] = torch.nan
    with pytest.raises(PatchclampError, match="finite logits to choose the next token from; got NaN"):
        model.generate(PROMPTS, max_new_tokens=2, temperature=temperature)
    with pytest.raises(PatchclampError, match="finite logits"):
        next(model.steps(PROMPTS[0]))


def test_a_token_that_is_ruled_out_is_no_fault():
    model = LanguageModel(family("gpt2").tiny())
    free = model.generate([PROMPTS[0]], max_new_tokens=1)[0].ids.tolist()
    head = model.module.get_output_embeddings()
    handle = head.register_forward_hook(lambda _m, _a, out: out.index_fill(-1, torch.tensor(free), -torch.inf))
    try:
        assert model.generate([PROMPTS[0]], max_new_tokens=1)[0].ids.tolist() not in ([], free)
    finally:
        handle.remove()
