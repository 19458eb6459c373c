#!/usr/bin/env python3
"""Numbers that tests/models compares with: autoencoders in PyTorch, double precision.

    pip install torch numpy h5py
    python3 scripts/reference/autoencoders.py tests/data/autoencoders.h5

Weights and samples follow formulas, so that only results are stored. For value i of the flat buffer of all parameters,
in the order and layout of the program (weights (kd, kh, kw, c_in, c_out) and (in, out); for each half: layer by layer
weight, bias, slopes):
    weight, bias   sin(0.37 i + 1) / sqrt(fan_in)          slope   0.25 + 0.05 sin(0.37 i + 1)
    batch norm: scale  1 + 0.2 sin, shift  0.1 sin         factor  0.5 + 0.1 sin
    GDN: beta  1 + 0.1 sin, gamma  0.1 + 0.12 sin, some below its bound
    running mean  0.1 sin, variance  1 + 0.2 sin, per norm (2, c), behind the parameters of both halves
and for value i of the batch (n, d, h, w, c):   sin(0.11 i) + 0.3 cos(0.017 i)
Per case: latent, loss (sum of squares), ten losses of Adam at 2e-4, and the gradient: all of it, or for large models
per parameter tensor its norm and its dot product with sin(0.73 j + 0.2), j counted in that tensor. Of the zoo latent,
gradient and, after three steps, running statistics are told by norms and dot products of a few equal pieces, and the loss
with running statistics before and after the steps (`evaluated`).
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


PEDESTAL = 2.0**-36


class LowerBound(torch.autograd.Function):
    """max(x, bound); the gradient passes where x >= bound or it is negative."""

    @staticmethod
    def forward(ctx, x, bound):
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * ((x >= ctx.bound) | (gradient < 0)), None


class Gdn(nn.Module):
    def __init__(self, channels, inverse):
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter(torch.zeros(channels))
        self.gamma = nn.Parameter(torch.zeros(channels, channels))

    def forward(self, x):
        beta = LowerBound.apply(self.beta, (1e-6 + PEDESTAL) ** 0.5) ** 2 - PEDESTAL
        gamma = LowerBound.apply(self.gamma, PEDESTAL**0.5) ** 2 - PEDESTAL
        norm = torch.sqrt(nn.functional.conv3d(x**2, gamma[:, :, None, None, None], beta))
        return x * norm if self.inverse else x / norm


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.factor * x


def activation(kind, channels, inverse=False):
    makers = {"prelu": lambda: Prelu(channels), "relu": nn.ReLU, "lrelu": lambda: nn.LeakyReLU(0.05)}
    return Gdn(channels, inverse) if kind == "gdn" else makers[kind]()


class Model:
    """The numbers of a model, and whether its decoder is being made."""

    def __init__(self, kind, block="vanilla", cbam=False, clean=False):
        self.kind, self.block, self.cbam, self.clean, self.decodes = kind, block, cbam, clean, False

    def act(self, channels, inverse=None):
        return activation(self.kind, channels, self.decodes if inverse is None else inverse)


def same(c_in, c_out, kernel):
    return nn.Conv3d(c_in, c_out, kernel, padding=kernel // 2)


class Cbam(nn.Module):
    def __init__(self, model, channels, reduction, kernel):
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.narrow = nn.Linear(channels, hidden)
        self.act = activation("prelu" if model.kind == "gdn" else model.kind, hidden)
        self.wide = nn.Linear(hidden, channels)
        self.conv = nn.Conv3d(2, 1, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm3d(1, momentum=0.01)

    def forward(self, x):
        flat = x.flatten(2)
        pooled = [flat.mean(2), flat.max(2).values]
        gate = sum(self.wide(self.act(self.narrow(p))) for p in pooled)
        x = x * torch.sigmoid(gate)[:, :, None, None, None]
        pooled = torch.cat([x.max(1, keepdim=True).values, x.mean(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.norm(self.conv(pooled)))


class Block(nn.Module):
    def __init__(self, model, c_in, inner=None, c_out=None, residual=True):
        super().__init__()
        self.residual, self.clean = residual, model.clean
        c_out = c_out or c_in
        if model.block == "vanilla":
            s = inner or c_in
            layers = [same(c_in, s, 3), model.act(s), nn.BatchNorm3d(s), same(s, c_out, 3), model.act(c_out)]
        else:
            s = inner or c_in // 4 or 4
            layers = [same(c_in, s, 1), model.act(s), nn.BatchNorm3d(s), same(s, s, 3), model.act(s)]
            layers += [nn.BatchNorm3d(s), same(s, c_out, 1), model.act(c_out)]
        self.body = nn.Sequential(*layers)
        self.gate = Cbam(model, c_out, 4, 7) if model.cbam else None

    def forward(self, x):
        h = self.body(x)
        if self.gate is None:
            return x + h if self.residual else h
        if self.clean:
            return x + self.gate(h) if self.residual else self.gate(h)
        return h + self.gate(h)


class ResnextLayer(nn.Module):
    def __init__(self, model, channels, cardinality):
        super().__init__()
        inner = 4 if model.block == "next" and not model.cbam else None
        self.branches = nn.ModuleList([Block(model, channels, inner) for _ in range(cardinality)])
        self.norm = nn.BatchNorm3d(channels)

    def forward(self, x):
        return x + self.norm(sum(branch(x) for branch in self.branches))


class DenseBlock(nn.Module):
    def __init__(self, model, channels, layers, growth, inner):
        super().__init__()
        blocks = [Block(model, channels + i * growth, inner, growth, residual=False) for i in range(layers)]
        self.blocks = nn.ModuleList(blocks)
        self.join = same(channels + layers * growth, channels, 1)

    def forward(self, x):
        values = [x]
        for block in self.blocks:
            values.append(block(torch.cat(values, 1)))
        return self.join(torch.cat(values, 1))


class GroupedDenseBlock(nn.Module):
    def __init__(self, model, channels):
        super().__init__()
        self.blocks = nn.ModuleList([DenseBlock(model, channels, 8, 6, 32) for _ in range(4)])
        self.join = same(4 * channels, channels, 1)

    def forward(self, x):
        h, results = x, []
        for block in self.blocks:
            h = h + block(h)
            results.append(h)
        return x + self.join(torch.cat(results, 1))


def ladder(model, steps, widths, up, inverse):
    """Convolutions with activations between, (kernel, stride, padding) per layer; their transposes if up."""
    layers = []
    for i, (window, c_in, c_out) in enumerate(zip(steps, widths, widths[1:])):
        layers.append((nn.ConvTranspose3d if up else nn.Conv3d)(c_in, c_out, *window))
        if i + 1 < len(steps):
            layers.append(model.act(c_out, inverse))
    return nn.Sequential(*layers)


class AttentionBlock(nn.Module):
    def __init__(self, model, channels, steps, sigmoid, invert_up):
        super().__init__()
        blocks = lambda n: nn.Sequential(*[Block(model, channels) for _ in range(n)])
        widths = [channels] * 4
        self.sigmoid = sigmoid
        self.trunk = blocks(3)
        self.mask = nn.Sequential(
            blocks(2), ladder(model, steps, widths, False, False),
            blocks(2), ladder(model, steps[::-1], widths, True, invert_up),
            blocks(2), same(channels, channels, 1),
        )

    def forward(self, x):
        mask = self.mask(x)
        return self.trunk(x) * (torch.sigmoid(mask) if self.sigmoid else mask) + x


class Modules(nn.Module):
    """The layers of resnext, rdb and rab, and what is around them."""

    def __init__(self, model, channels, modules):
        super().__init__()
        self.inside = nn.ModuleList(modules)
        self.after = nn.Sequential(model.act(channels), nn.BatchNorm3d(channels), Scale())

    def forward(self, x):
        h = x
        for module in self.inside:
            h = module(h)
        return x + self.after(h)


class Skip(nn.Module):
    """x + inside(x), or inside(x)."""

    def __init__(self, inside, skip=True):
        super().__init__()
        self.inside, self.skip = inside, skip

    def forward(self, x):
        return x + self.inside(x) if self.skip else self.inside(x)


class RdbModule(nn.Module):
    def __init__(self, model, channels, cardinality):
        super().__init__()
        self.branches = nn.ModuleList([DenseBlock(model, channels, 3, 16, 64) for _ in range(cardinality)])
        self.norm = nn.BatchNorm3d(channels)
        self.times = 1 if model.clean else 2

    def forward(self, x):
        return self.times * x + self.norm(sum(branch(x) for branch in self.branches))


class Grdn(nn.Module):
    def __init__(self, model, grid):
        super().__init__()
        widths, steps = [2, 2, 4, 32, 32, 16], windows(grid, 5)
        self.first = same(1, 2, 1)
        self.down = ladder(model, steps, widths, False, False)
        self.wide = same(16, 32, 3)
        self.blocks = nn.ModuleList([GroupedDenseBlock(model, 32) for _ in range(4)])
        self.used = 4 if model.clean else 3
        self.narrow = same(32, 16, 3)
        self.up = ladder(model, steps[::-1], widths[::-1], True, True)
        self.spread = same(2, 8, 3)
        self.gate = Cbam(model, 8, 16, 3)
        self.last = same(8, 1, 1)

    def forward(self, x):
        h = self.wide(self.down(self.first(x)))
        for block in self.blocks[: self.used]:
            h = block(h)
        return x + self.last(self.gate(self.spread(self.up(self.narrow(h)))))


def windows(grid, layers):
    axes = [axis_steps(extent, layers) for extent in grid]
    return [tuple(zip(*(axis[layer] for axis in axes))) for layer in range(layers)]


def with_modules(model, grid, name, layers=3, cardinality=1, mask=None, sigmoid=True):
    """The backbone with the layers of a family after its fifth convolution, or behind a GRDN."""
    widths, steps = [1, 1, 16, 64, 32, 32, 32, 32], windows(grid, 7)

    def inside():
        if name == "resnext":
            layer = lambda: nn.Sequential(*[ResnextLayer(model, 32, cardinality) for _ in range(3)])
            return [Modules(model, 32, [Skip(layer()) for _ in range(layers // 3)])]
        if name == "rdb":
            return [Modules(model, 32, [RdbModule(model, 32, cardinality) for _ in range(layers // 3)])]
        if name == "rab":
            blocks = [AttentionBlock(model, 32, mask, sigmoid, True) for _ in range(layers)]
            return [Modules(model, 32, [Skip(block, not model.clean) for block in blocks])]
        return []

    encoder = [Grdn(model, grid)] if name == "grdn" else []
    for layer in range(7):
        encoder.append(nn.Conv3d(widths[layer], widths[layer + 1], *steps[layer]))
        encoder += [model.act(widths[layer + 1])] if layer < 6 else []
        encoder += inside() if layer == 4 else []
    model.decodes = True
    decoder = []
    for layer in reversed(range(7)):
        decoder += inside() if layer == 4 else []
        decoder.append(nn.ConvTranspose3d(widths[layer + 1], widths[layer], *steps[layer]))
        decoder += [model.act(widths[layer])] if layer > 0 or name == "grdn" and not model.clean else []
    decoder += [Grdn(model, grid)] if name == "grdn" and model.clean else []
    return nn.Sequential(*encoder), nn.Sequential(*decoder)


class TucodecEncoder(nn.Module):
    def __init__(self, model, c, c_in, down, side, wide, narrow):
        super().__init__()
        self.conv1, self.gdn1 = nn.Conv3d(c_in, c, *down[0]), Gdn(c, False)
        self.conv3, self.gdn2 = nn.Conv3d(c, c, *down[1]), Gdn(c, False)
        self.rab5 = wide()
        self.conv6, self.gdn3 = nn.Conv3d(c, c, *down[2]), Gdn(c, False)
        self.conv8 = nn.Conv3d(c, c, *down[3])
        self.rab9 = narrow()
        self.sides = nn.ModuleList([nn.Conv3d(c, c, *window) for window in side])
        self.conv10 = nn.Conv3d(4 * c, c, *down[4])

    def forward(self, x):
        a = self.gdn1(self.conv1(x))
        b = self.gdn2(self.conv3(a))
        c = self.gdn3(self.conv6(self.rab5(b)))
        h = self.rab9(self.conv8(c))
        return self.conv10(torch.cat([h] + [conv(x) for conv, x in zip(self.sides, (a, b, c))], 1))


def tucodec(model, c, c_in, steps, sigmoid=False, attention=True):
    """`steps`: windows of the halvings, the side paths and the masks on this grid."""
    down, side, wide, narrow = steps
    block = lambda mask: AttentionBlock(model, c, mask, sigmoid, False) if attention else nn.Identity()
    encoder = TucodecEncoder(model, c, c_in, down, side, lambda: block(wide), lambda: block(narrow))
    model.decodes = True
    up = lambda i, c_out: nn.ConvTranspose3d(c, c_out, *down[i])
    gdn = lambda: Gdn(c, model.clean)
    decoder = [up(4, c), Block(model, c), Block(model, c), block(narrow), up(3, c), gdn()]
    decoder += [up(2, c), block(wide), gdn(), up(1, c), gdn(), up(0, c_in)]
    return nn.Sequential(encoder), nn.Sequential(*decoder)


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
        for module in half.modules():
            for name, parameter in module.named_parameters(recurse=False):
                yield module, name, parameter


def norms(halves):
    """The batch norms that a forward pass reaches (after one)."""
    modules = [module for half in halves for module in half.modules()]
    return [m for m in modules if isinstance(m, nn.BatchNorm3d) and m.num_batches_tracked > 0]


def fill(halves):
    """Parameters by the formulas; returns their number and the first index of the statistics."""
    offset = 0
    rules = {"slope": (0.25, 0.05), "factor": (0.5, 0.1), "beta": (1.0, 0.1), "gamma": (0.1, 0.12)}
    for module, name, parameter in parameters(halves):
        wave = torch.sin(0.37 * torch.arange(offset, offset + parameter.numel(), dtype=torch.float64) + 1.0)
        if isinstance(module, nn.BatchNorm3d):
            values = 1.0 + 0.2 * wave if name == "weight" else 0.1 * wave
        elif name in rules:
            values = (rules[name][0] + rules[name][1] * wave).reshape(parameter.shape)
        else:
            weight = module.weight  # dimension 1 is what PyTorch takes for the fan-in, also when transposed
            values = from_ours(module, wave / (weight[0].numel() ** 0.5), tuple(parameter.shape))
        with torch.no_grad():
            parameter.copy_(values)
        offset += parameter.numel()
    return offset


def fill_statistics(halves, offset):
    for norm in norms(halves):
        c = norm.num_features
        wave = torch.sin(0.37 * torch.arange(offset, offset + 2 * c, dtype=torch.float64) + 1.0)
        norm.running_mean.copy_(0.1 * wave[:c])
        norm.running_var.copy_(1.0 + 0.2 * wave[c:])
        offset += 2 * c


def digest(group, name, tensors):
    """Norms and dot products of flat tensors."""
    probe = lambda g: torch.sin(0.73 * torch.arange(g.numel(), dtype=torch.float64) + 0.2)
    group[f"{name}_norms"] = np.array([g.norm().item() for g in tensors])
    group[f"{name}_dots"] = np.array([(g @ probe(g)).item() for g in tensors])


def start(halves, sample, n):
    """Fills the model; the number of its parameters, and the batch as PyTorch takes it."""
    count = fill(halves)
    i = torch.arange(n * int(np.prod(sample)), dtype=torch.float64)
    x = (torch.sin(0.11 * i) + 0.3 * torch.cos(0.017 * i)).reshape(n, *sample)
    flat = isinstance(halves[0][0], nn.Linear)
    return count, x.reshape(n, -1) if flat else x.permute(0, 4, 1, 2, 3).contiguous()


def flat_of(values):
    """(n, c, d, h, w) or (n, k) in the order of the program."""
    return (values.permute(0, 2, 3, 4, 1) if values.dim() == 5 else values).detach().reshape(-1)


def gradients_of(halves):
    of = lambda p: torch.zeros_like(p) if p.grad is None else p.grad
    return [to_ours(module, of(p)).reshape(-1) for module, _, p in parameters(halves)]


def train(halves, loss_of, steps):
    optimizer = torch.optim.Adam([p for _, _, p in parameters(halves)], lr=2e-4)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


def run(out, name, halves, sample, n, loss_kind="squared", whole_gradient=True):
    encoder, decoder = halves
    count, x = start(halves, sample, n)

    def loss_of():
        difference = decoder(encoder(x)) - x
        return (difference**2).sum() if loss_kind == "squared" else difference.abs().sum()

    latent = encoder(x)
    loss = loss_of()
    loss.backward()
    group = out.create_group(name)
    group["params"] = np.array([count], dtype=np.int64)
    group["latent"] = flat_of(latent).numpy()
    group["loss"] = np.array([loss.item()])
    if whole_gradient:
        group["gradient"] = torch.cat(gradients_of(halves)).numpy()
    else:
        digest(group, "gradient", gradients_of(halves))
    group["losses"] = train(halves, loss_of, 10)


def run_zoo(out, name, halves, sample, n=3):
    encoder, decoder = halves
    count, x = start(halves, sample, n)
    loss_of = lambda: ((decoder(encoder(x)) - x) ** 2).sum()

    def evaluated():
        [half.eval() for half in halves]
        with torch.no_grad():
            value = loss_of().item()
        [half.train() for half in halves]
        return value

    group = out.create_group(name)
    loss_of()  # so that norms know whether they are reached
    fill_statistics(halves, count)
    before = evaluated()
    latent = encoder(x)
    loss = ((decoder(latent) - x) ** 2).sum()
    loss.backward()
    group["params"] = np.array([count], dtype=np.int64)
    group["loss"] = np.array([loss.item()])
    digest(group, "latent", torch.tensor_split(flat_of(latent), 8))
    digest(group, "gradient", torch.tensor_split(torch.cat(gradients_of(halves)), 100))
    fill_statistics(halves, count)
    group["losses"] = train(halves, loss_of, 3)
    group["evaluated"] = np.array([before, evaluated()])
    running = [torch.cat([norm.running_mean, norm.running_var]) for norm in norms(halves)]
    if running:
        digest(group, "running", torch.tensor_split(torch.cat(running), 20))


def zipped(*axes):
    """Windows (kernel, stride, padding) per axis and layer, as PyTorch takes them: per layer and axis."""
    return [tuple(zip(*layer)) for layer in zip(*axes)]


def zoo(out):
    """Every block and model; windows of masks and halvings are written out for these grids."""
    case = lambda name, halves, sample: run_zoo(out, name, halves, sample)
    shape, long = (23, 14, 11, 1), (45, 14, 11, 1)  # blocks stand at 3 x 2 x 1 and at 5 x 2 x 1 points
    family = lambda model, *rest, **more: with_modules(model, shape[:3], *rest, **more)
    case("backbone-gdn", family(Model("gdn"), "backbone"), shape)
    case("resnext", family(Model("gdn", cbam=True), "resnext", cardinality=2), shape)
    case("resnext-next", family(Model("prelu", "next"), "resnext", layers=6), shape)
    case("rdb", family(Model("prelu", "next", True), "rdb", cardinality=2), shape)
    case("rdb-clean", family(Model("lrelu", cbam=True, clean=True), "rdb"), shape)
    one, two = (1, 1, 0), (2, 1, 0)
    mask = zipped([(3, 2, 0), two, one], [two, one, one], [one] * 3)
    rab = lambda model, **more: with_modules(model, long[:3], "rab", mask=mask, **more)
    case("rab", rab(Model("gdn", "next", True), layers=1), long)
    case("rab-clean", rab(Model("prelu", clean=True), layers=2, sigmoid=False), long)
    case("grdn", family(Model("gdn", "next", True), "grdn"), shape)
    case("grdn-clean", family(Model("gdn", "next", True, clean=True), "grdn"), shape)

    down = zipped(  # 23 -> 12 -> 6 -> 2 -> 2 -> 1, 20 -> 10 -> 5 -> 2 -> 2 -> 1, 9 -> 5 -> 3 -> 1 -> 1 -> 1
        [(3, 2, 1), (2, 2, 0), (4, 2, 0), (2, 2, 1), (2, 2, 0)],
        [(2, 2, 0), (2, 2, 0), (3, 2, 0), (2, 2, 1), (2, 2, 0)],
        [(3, 2, 1), (3, 2, 1), (3, 2, 0), one, one],
    )
    side = zipped(
        [(3, 8, 0), (3, 4, 1), (2, 2, 1)], [(3, 8, 1), (3, 4, 1), (2, 2, 1)], [(3, 8, 0), (3, 4, 0), one]
    )
    wide = zipped([(2, 2, 0), two, two], [(3, 2, 0), two, one], [two, two, one])
    narrow = zipped([two, one, one], [two, one, one], [one] * 3)
    steps, shape = (down, side, wide, narrow), (23, 20, 9, 1)
    case("tucodec", tucodec(Model("prelu", "next"), 4, 1, steps), shape)
    case("tucodec-clean", tucodec(Model("gdn", cbam=True, clean=True), 4, 1, steps, sigmoid=True), shape)
    case("tucodec-plain", tucodec(Model("prelu"), 3, 2, steps, attention=False), (*shape[:3], 2))


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
        zoo(out)


if __name__ == "__main__":
    main()
