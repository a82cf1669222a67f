"""Token effect by hooks: one neuron at a time, one prompt at a time, set at every position to c."""

import numpy as np
import torch


def token_effect(subject, task, descriptions, options, seed=0):
    """Return the mean over the neurons of highest peak of log p(t | neuron at c) − log p(t), t its first token."""

    def log_p(module, unit, value):
        def hook(_, given):
            given[0][..., unit] = value
            return given

        handle = None if module is None else module.register_forward_pre_hook(hook)
        with torch.no_grad():
            ids = [torch.tensor(subject.tokenize(case.shown).ids[None].astype(np.int64)) for case in task.cases]
            each = torch.cat([torch.log_softmax(subject.module(x).logits[0].double(), -1) for x in ids])
        if handle is not None:
            handle.remove()
        return each.mean(0).numpy()

    peaks, before, chosen, effects = descriptions.measures["peak"], log_p(None, 0, 0.0), {}, []
    for place in sorted(range(len(peaks)), key=lambda i: -peaks[i]):
        chosen.setdefault(int(descriptions.terms[place][0]), descriptions.index.key(place))
    for t, key in [pair for pair in chosen.items() if pair[0] >= 0][: options.n_units]:
        rows = []
        for case in task.cases:
            recording = subject.run(case.shown, record=key.site, logits=False).recording
            rows.append(recording[key.site][1:].abs().double().numpy())  # without BOS
        c = options.strength * np.quantile(np.concatenate(rows), 0.99) * (-1 if options.negative else 1)
        place = subject.family.block["mlp.act"].under(f"{subject.family.blocks}.{subject.site(key.site).layer}")
        after = log_p(subject.module.get_submodule(place.module), key.index, c)
        effects.append((after[t] - before[t]) * (-1 if options.negative else 1))
    return [float(np.mean(effects))]
