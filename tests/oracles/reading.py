"""Reading a case, written out: whole texts are tokenized, and m is read where the answers first differ."""

import torch


def read(model, prompt, target, contrast):
    """Return the ids that are shown and m on them: z_target − z_contrast after what both answers begin with."""
    bare, module = model.tokenizer.bare, model.module
    one, two = (bare(prompt + answer).input_ids for answer in (target, contrast))
    k = next(i for i in range(min(len(one), len(two))) if one[i] != two[i])
    with torch.no_grad():
        z = module(torch.tensor([one[:k]])).logits[0, -1].double()
    return one[:k], float(z[one[k]] - z[two[k]])


def read_alone(model, prompt, target):
    """Return the ids that are shown and log P(target): the sum over its tokens, each after those before it."""
    bare, module = model.tokenizer.bare, model.module
    before, whole = bare(prompt).input_ids, bare(prompt + target).input_ids
    with torch.no_grad():
        z = module(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    return whole[:-1], float(sum(z[i - 1, whole[i]] for i in range(len(before), len(whole))))
