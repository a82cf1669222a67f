"""Sets replaced one at a time by plain hooks: one forward pass per case and set, written out unit by unit."""

import torch


def with_units(module, inputs, place, units, other, read):
    """Return what ``read`` makes of the output with some units replaced by the values of another run.

    place: site → (module path, side, ``layout``), which shows the tensor as ``(position, width)``, a view of it.
    units: ``(site, columns, position)``, position None for everywhere.
    other: site → ``(position, width)`` values that are put in.
    """
    handles = []
    for site, (path, side, layout) in place.items():
        own = [(columns, position) for name, columns, position in units if name == site]
        if not own:
            continue

        def see(tensor, own=own, layout=layout, site=site):
            changed = tensor.clone(memory_format=torch.contiguous_format)
            rows = layout(changed)
            for columns, position in own:
                for row in range(len(rows)) if position is None else [position]:
                    for column in columns:
                        rows[row, column] = other[site][row, column]
            return changed

        part = module.get_submodule(path)
        if side == "out":

            def after(_module, _args, output, see=see):
                new = see(output[0] if isinstance(output, tuple) else output)
                return (new, *output[1:]) if isinstance(output, tuple) else new

            handles.append(part.register_forward_hook(after))
        else:

            def before(_module, args, see=see):
                return (see(args[0]), *args[1:])

            handles.append(part.register_forward_pre_hook(before))
    try:
        with torch.no_grad():
            return float(read(module(*inputs)))
    finally:
        for handle in handles:
            handle.remove()


def with_regions(module, pixels, size, removed, value, read):
    """Return what ``read`` makes of the output with some squares of a grid filled, pixel by pixel.

    pixels: ``(channel, y, x)`` fractions; value: one number per channel.
    """
    image = pixels.copy()
    columns = -(-image.shape[2] // size)
    for channel in range(image.shape[0]):
        for y in range(image.shape[1]):
            for x in range(image.shape[2]):
                if (y // size) * columns + x // size in removed:
                    image[channel, y, x] = value[channel]
    with torch.no_grad():
        return float(read(module(image)))
