"""What the rig shows of every family beside plain transformers: states, patterns, padding, clamped generation."""

import pytest
import torch

from every_family import CHOSEN, WHOLE
from patchclamp.core.intervention import change
from patchclamp.subjects.families.spec import family

PROMPTS = [[3, 14, 15, 9, 26, 5, 8], [35, 8, 9], [7, 9, 3, 44]]
STEPS, UNIT, AMOUNT, END = 4, 3, 20.0, 60
SOME = pytest.mark.parametrize("name", CHOSEN if WHOLE else ("falcon", "llama"))
DECODERS = [name for name in (CHOSEN if WHOLE else ("falcon", "llama")) if family(name).causal]
PLACES = {"0": (0, 1, False), "-1": (-1, 0, True), "+0:": (0, None, True), "+1:+3": (1, 3, True)}
"""Where a change is made: its columns, and whether they count from the prompt's end."""


@SOME
def test_states_and_patterns_are_those_that_transformers_returns(models, name):
    model, bare = models[name], family(name).tiny()
    bare.config._attn_implementation = "eager"  # fused functions return no pattern
    with torch.no_grad():
        plain = bare(torch.tensor([PROMPTS[0]]), output_hidden_states=True, output_attentions=True, use_cache=False)
    run = model.run([PROMPTS[0]], record="*", attention="tap").recording
    inputs = [f"blocks.{i}.resid_in" for i in range(model.n_layers)]
    assert len(plain.hidden_states) == len(inputs) + 1
    for site, state in zip(inputs, plain.hidden_states, strict=False):
        torch.testing.assert_close(run[site], state[0], atol=2e-5, rtol=1e-5)
    # The last is behind the final norm, or in networks whose head has a norm of its own the last block's output.
    last = [run[site] for site in (f"blocks.{model.n_layers - 1}.resid_out", "final")]
    assert min(float((x - plain.hidden_states[-1][0]).abs().max()) for x in last) < 2e-5
    attending = [i for i in range(model.n_layers) if f"blocks.{i}.attn.pattern" in run.sites]
    patterns = [p for p in (getattr(plain, "attentions", None) or ()) if p is not None]
    assert len(patterns) == len(attending)
    for i, pattern in zip(attending, patterns, strict=True):
        torch.testing.assert_close(run[f"blocks.{i}.attn.pattern"], pattern[0].transpose(0, 1), atol=2e-6, rtol=1e-5)


@SOME
@pytest.mark.parametrize("padding", ["left", "right"])
def test_padded_rows_are_the_rows_alone(models, name, padding):
    model = models[name]
    sites = [s.path for s in model.sites() if s.width and not s.ragged]
    together = model.run(PROMPTS, record=sites, padding=padding, attention="tap")
    start = 0
    for row, prompt in enumerate(PROMPTS):
        alone = model.run([prompt], record=sites, attention="tap")
        stop = start + len(prompt)
        torch.testing.assert_close(together.logits[row, : len(prompt)], alone.logits[0], atol=5e-5, rtol=1e-4)
        for site in sites:
            torch.testing.assert_close(
                together.recording[site][start:stop], alone.recording[site], atol=5e-5, rtol=1e-4, msg=site
            )
        start = stop


def decode_whole(model, prompt, place):
    """Continue a prompt by whole uncached forwards, one unit of a block's output raised by a plain hook."""
    start, stop, from_end = PLACES[place]
    shift = len(prompt) if from_end else 0

    def after(_module, _args, output):
        whole = (output if isinstance(output, torch.Tensor) else output[0]).clone()
        whole[:, start + shift : None if stop is None else stop + shift, UNIT] += AMOUNT
        return whole if isinstance(output, torch.Tensor) else (whole, *output[1:])

    ids = list(prompt)
    handle = model.module.get_submodule(f"{model.family.blocks}.0").register_forward_hook(after)
    try:
        with torch.no_grad():
            while len(ids) < len(prompt) + STEPS and ids[-1] != END:
                ids.append(int(model.module(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    finally:
        handle.remove()
    return [token for token in ids[len(prompt) :] if token != END]


@pytest.mark.parametrize("name", DECODERS)
def test_clamps_at_places_of_a_generated_text_are_those_of_a_loop_without_cache(models, name):
    model = models[name]
    texts = {}
    for place in PLACES:
        edits = [change("add", "blocks.0.resid_out", UNIT, value=AMOUNT, at=place)]
        texts[place] = [decode_whole(model, prompt, place) for prompt in PROMPTS]
        together = model.generate(PROMPTS, interventions=edits, max_new_tokens=STEPS)
        assert [made.ids.tolist() for made in together] == texts[place], place
    assert len({str(text) for text in texts.values()}) > 1
