#!/usr/bin/env python3
"""Numbers that tests/models compares with: autoencoders in PyTorch, double precision.

    pip install torch numpy h5py
    python3 scripts/reference/autoencoders.py tests/data/autoencoders.h5

Weights and samples follow formulas, so that only results are stored. For value i of the flat buffer of all parameters,
in the order and layout of the program (weights (kd, kh, kw, c_in, c_out) and (in, out); for each half: layer by layer
weight, bias, slopes):
    weight, bias   sin(0.37 i + 1) / sqrt(fan_in)          slope   0.25 + 0.05 sin(0.37 i + 1)
and for value i of the batch (n, d, h, w, c):   sin(0.11 i) + 0.3 cos(0.017 i)
Per case: latent, loss (sum of squares), ten losses of Adam at 2e-4, and the gradient: all of it, or for large models
per parameter tensor its norm and its dot product with sin(0.73 j + 0.2), j counted in that tensor.
"""
import sys

import h5py
import numpy as np
import torch
from torch import nn

torch.set_default_dtype(torch.float64)


def axis_steps(extent, layers):
    """The ConvScheduler with strides 1, 1, 2, 2, ...: (kernel, stride, padding) per layer."""
    steps = []
    for layer in range(layers):
        stride = 1 if layer < 2 or extent <= 3 else 2
        if extent <= 3:
            kernel, padding = min(extent, 2), 0
        else:
            kernel, padding = (3 if extent % 2 else 2), 0
            if ((extent - kernel) // stride + 1) % 2 == 0:
                padding = 1
        steps.append((kernel, stride, padding))
        extent = (extent + 2 * padding - kernel) // stride + 1
    return steps


class Prelu(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        return nn.functional.prelu(x, self.slope)


def activation(kind, channels):
    return {"prelu": lambda: Prelu(channels), "relu": nn.ReLU, "lrelu": lambda: nn.LeakyReLU(0.05)}[kind]()


def backbone(grid, c_in, channels, kind):
    axes = [axis_steps(extent, len(channels)) for extent in grid]
    widths, encoder, decoder = [c_in, *channels], [], []
    for layer in range(len(channels)):
        k, s, p = zip(*(axis[layer] for axis in axes))
        encoder.append(nn.Conv3d(widths[layer], widths[layer + 1], k, s, p))
        if layer + 1 < len(channels):
            encoder.append(activation(kind, widths[layer + 1]))
    for layer in reversed(range(len(channels))):
        k, s, p = zip(*(axis[layer] for axis in axes))
        decoder.append(nn.ConvTranspose3d(widths[layer + 1], widths[layer], k, s, p))
        if layer > 0:
            decoder.append(activation(kind, widths[layer]))
    return nn.Sequential(*encoder), nn.Sequential(*decoder)


def dense(features, hidden, latent, kind):
    def half(widths):
        layers = []
        for i, (a, b) in enumerate(zip(widths, widths[1:])):
            layers += [nn.Linear(a, b)] + ([activation(kind, b)] if i + 2 < len(widths) else [])
        return nn.Sequential(*layers)

    widths = [features, *hidden, latent]
    return half(widths), half(widths[::-1])


def to_ours(module, tensor):
    """A parameter or gradient in the program's layout."""
    if tensor.dim() == 5:
        return tensor.permute(2, 3, 4, 1, 0)
    return tensor.t() if isinstance(module, nn.Linear) and tensor.dim() == 2 else tensor


def from_ours(module, flat, shape):
    if len(shape) == 5:
        out, inner, *kernel = shape
        return flat.reshape(*kernel, inner, out).permute(4, 3, 0, 1, 2)
    return flat.reshape(shape[::-1]).t() if isinstance(module, nn.Linear) and len(shape) == 2 else flat


def parameters(halves):
    for half in halves:
        for module in half:
            for name, parameter in module.named_parameters():
                yield module, name, parameter


def fill(halves):
    offset = 0
    for module, name, parameter in parameters(halves):
        wave = torch.sin(0.37 * torch.arange(offset, offset + parameter.numel(), dtype=torch.float64) + 1.0)
        if name == "slope":
            values = 0.25 + 0.05 * wave
        else:
            weight = module.weight  # dimension 1 is what PyTorch takes for the fan-in, also when transposed
            values = wave / (weight[0].numel() ** 0.5)
        with torch.no_grad():
            parameter.copy_(from_ours(module, values, tuple(parameter.shape)))
        offset += parameter.numel()
    return offset


def run(out, name, halves, sample, n, loss_kind="squared", whole_gradient=True):
    encoder, decoder = halves
    count = fill(halves)
    *grid, channels = sample
    i = torch.arange(n * int(np.prod(sample)), dtype=torch.float64)
    x = (torch.sin(0.11 * i) + 0.3 * torch.cos(0.017 * i)).reshape(n, *sample)
    conv = isinstance(encoder[0], nn.Conv3d)
    x = x.permute(0, 4, 1, 2, 3).contiguous() if conv else x.reshape(n, -1)

    def loss_of():
        difference = decoder(encoder(x)) - x
        return (difference**2).sum() if loss_kind == "squared" else difference.abs().sum()

    latent = encoder(x)
    loss = loss_of()
    loss.backward()
    group = out.create_group(name)
    group["params"] = np.array([count], dtype=np.int64)
    group["latent"] = (latent.permute(0, 2, 3, 4, 1) if conv else latent).detach().reshape(-1).numpy()
    group["loss"] = np.array([loss.item()])
    gradients = [to_ours(module, p.grad).reshape(-1) for module, _, p in parameters(halves)]
    if whole_gradient:
        group["gradient"] = torch.cat(gradients).numpy()
    else:
        probe = lambda g: torch.sin(0.73 * torch.arange(g.numel(), dtype=torch.float64) + 0.2)
        group["gradient_norms"] = np.array([g.norm().item() for g in gradients])
        group["gradient_dots"] = np.array([(g @ probe(g)).item() for g in gradients])
    optimizer = torch.optim.Adam([p for _, _, p in parameters(halves)], lr=2e-4)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    group["losses"] = np.array(losses)


def main():
    with h5py.File(sys.argv[1], "w") as out:
        run(out, "dense", dense(2 * 3 * 4, [7, 5], 3, "lrelu"), (2, 3, 4, 1), 3)
        run(out, "dense-absolute", dense(2 * 3 * 4, [7, 5], 3, "lrelu"), (2, 3, 4, 1), 3, loss_kind="absolute")
        small = [2, 3, 4, 3, 2, 3, 2]
        run(out, "backbone-small", backbone([17, 12, 9], 2, small, "prelu"), (17, 12, 9, 2), 2)
        published = [1, 16, 64, 32, 32, 32, 32]
        shape = (23, 14, 11, 1)
        run(out, "backbone", backbone(shape[:3], 1, published, "prelu"), shape, 2, whole_gradient=False)
        run(out, "backbone-relu", backbone(shape[:3], 1, published, "relu"), shape, 2, whole_gradient=False)


if __name__ == "__main__":
    main()
