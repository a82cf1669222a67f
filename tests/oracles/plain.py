"""Units of a plain module replaced by hand: one case and one set of units at a time, with hooks."""

import torch


def outputs_of(module, x, names):
    """Return what submodules give on one row, by name."""
    seen, handles = {}, []
    for name in names:
        hook = module.get_submodule(name).register_forward_hook(lambda _m, _i, y, name=name: seen.update({name: y}))
        handles.append(hook)
    with torch.no_grad():
        module(x)
    for handle in handles:
        handle.remove()
    return seen


def m_with(module, read, x, other, units):
    """Return m on ``x`` with some units as on ``other``: ``{name: (columns of the last axis, position or None)}``."""
    there, handles = outputs_of(module, other, units), []
    for name, places in units.items():

        def put(_module, _args, y, name=name, places=places):
            new = y.clone()
            for columns, position in places:
                at = (..., columns) if position is None else (0, position, columns)
                new[at] = there[name][at]
            return new

        handles.append(module.get_submodule(name).register_forward_hook(put))
    with torch.no_grad():
        m = float(read(module(x))[0])
    for handle in handles:
        handle.remove()
    return m
