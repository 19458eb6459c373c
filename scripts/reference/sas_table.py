#!/usr/bin/env python3
"""Rate and distortion of sparse autoencoders on images that no model has seen, beside what else there is.

    sas_table.py IMAGES WORK PROGRAM [--epochs 12] [--only learned|peers]

IMAGES: HDF5 with counts (n, y, x), mask (y, x; 1: good), model_id (n), models, whose quality is that of ln(1 + counts); or
an IDX file, whose pixels are taken as they are. 500 of the images are held out and coded as one file. WORK keeps what is
made: the same command goes on. Needs numpy, h5py, scipy, pysz, pillow, zstandard, hdf5plugin. One markdown row per method,
and one for the quality of each of FAMILIES:

    ratio          stored bytes (of counts 4 per value) over those of streams, index and tables, the model not counted
    1e3, 1e5       the same with the model paid by so many images
    rel            root mean square error over standard deviation
    psnr, ssim     per image, mean
    max            largest error, median over the images
    I(q)           root mean square error of I(q) over rings one pixel wide, in sqrt(counts of the ring), median
    blur           energy above half the Nyquist frequency, over that of the image
    pattern        correlation of the errors of neighboring pixels: 0 where what is lost is noise
"""
import argparse
import gzip
import io
import json
import pathlib
import subprocess
import zlib

import h5py
import numpy as np
from scipy import fft, ndimage

FAMILIES = {
    "spheres": ["sphere", "core_shell_sphere", "multilayer_vesicle", "polymer_micelle", "binary_hard_sphere",
                "sphere@hardsphere", "core_shell_sphere@hardsphere", "sphere@stickyhardsphere"],
    "rods": ["cylinder", "core_shell_cylinder", "core_shell_bicelle", "core_shell_bicelle_elliptical",
             "elliptical_cylinder", "flexible_cylinder", "flexible_cylinder_elliptical"],
    "lamellae": ["lamellar", "lamellar_hg", "lamellar_stack_caille", "lamellar_stack_paracrystal"],
    "polymers": ["mono_gauss_coil", "poly_gauss_coil", "polymer_excl_volume", "star_polymer", "correlation_length",
                 "gel_fit", "gauss_lorentz_gel", "lorentz", "two_lorentzian", "teubner_strey"],
}
SPARSE = {"name": "dense", "hidden": [512], "latent": 1024}
WIDE = {"name": "dense", "hidden": [512]}
PASSES = 8
# Model, penalty, ways to code, what it sees of counts.
MODELS = {
    **{f"principal components {n}": ({"name": "pca", "latent": n}, None, [{}], "log") for n in (8, 16, 32, 64)},
    "undercomplete 8": ({**WIDE, "latent": 8}, None, [{}], "log"),
    "undercomplete 16": ({**WIDE, "latent": 16}, None, [{}], "log"),
    "undercomplete 32": ({**WIDE, "latent": 32}, None, [{}], "log"),
    "undercomplete 32, Anscombe": ({**WIDE, "latent": 32}, None, [{}], "anscombe"),
    "k-sparse": ({**SPARSE, "keep": 32}, None, [{"keep": 32}, {"keep": 16}, {"keep": 8}], "log"),
    "L1 0.02": (SPARSE, {"weight": 0.02}, [{"threshold": 0.2}], "log"),
    "L1 0.1": (SPARSE, {"weight": 0.1}, [{"threshold": 0.2}], "log"),
}
HELD_OUT = 500


def run(program, job, folder):
    """Runs a job in its folder unless it is done; its metrics."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.yaml").write_text(json.dumps(job))
    done = subprocess.run([program, "--config", str(folder / "job.yaml"), "--threads", "1"], text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{folder}: {done.stderr[-2000:]}")
    return json.loads((pathlib.Path(job["job"]["output"]) / "metrics.json").read_text())


class Seen:
    """Counts by their logarithm, or pixels as they are: what quality is measured of."""

    def __init__(self, counted):
        self.counted = counted
        self.of, self.back = (np.log1p, np.expm1) if counted else (np.asarray, np.asarray)
        # Bytes of a stored value, and what bounds of the peers are multiples of.
        self.bytes, self.unit = (4, 1.0) if counted else (1, 25.5)


def read(images):
    """Images, mask, family of each, names of the families."""
    if h5py.is_hdf5(images):
        with h5py.File(images) as f:
            names = [n.decode() if isinstance(n, bytes) else n for n in f["models"][:]]
            return f["counts"][:], f["mask"][:], f["model_id"][:], names
    data = (gzip.open if images.suffix == ".gz" else open)(images, "rb").read()
    n, h, w = np.frombuffer(data, ">u4", 3, offset=4)
    pixels = np.frombuffer(data, np.uint8, offset=16).reshape(n, h, w)
    return pixels, np.ones((h, w), np.uint8), np.zeros(n, int), []


def split(images, work):
    """Training images and held-out ones as files; these as arrays, which of them are of each family, how they are seen."""
    counts, mask, ids, names = read(images)
    order = np.random.default_rng(0).permutation(len(counts))
    held, rest = np.sort(order[:HELD_OUT]), np.sort(order[HELD_OUT:])
    work.mkdir(parents=True, exist_ok=True)
    for name, chosen in {"train": rest, "test": held}.items():
        if not (work / f"{name}.h5").exists():
            with h5py.File(work / f"{name}.h5", "w") as f:
                f["counts"], f["mask"] = counts[chosen], mask
    known = {family: [names.index(m) for m in members if m in names] for family, members in FAMILIES.items()}
    families = {"all": np.ones(len(held), bool), **{f: np.isin(ids[held], members) for f, members in known.items()}}
    families = {f: chosen for f, chosen in families.items() if chosen.any()}
    return counts[rest], (counts[held], mask, families, Seen(bool(names)))


def ssim(a, b, span):
    """Structural similarity of two images, Gaussian window of 1.5 pixels (Wang et al. 2004)."""
    g = lambda v: ndimage.gaussian_filter(v, 1.5, truncate=3.5)
    ma, mb = g(a), g(b)
    va, vb, c = g(a * a) - ma * ma, g(b * b) - mb * mb, g(a * b) - ma * mb
    k1, k2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    return float(np.mean((2 * ma * mb + k1) * (2 * c + k2) / ((ma**2 + mb**2 + k1) * (va + vb + k2))))


def quality(counts, back, mask, seen):
    """The columns of quality: `back` as they are seen."""
    x, y = seen.of(counts.astype(float)), np.asarray(back, float)
    good = mask.astype(bool)
    # What a pixel holds that is none is nobody's business.
    x[:, ~good], y[:, ~good] = 0.0, 0.0
    e = y - x
    rel = np.sqrt(np.mean(e[:, good] ** 2) / np.var(x[:, good]))
    span = [float(i[good].max() - i[good].min()) or 1.0 for i in x]
    rmse = np.sqrt(np.mean(e[:, good] ** 2, axis=1))
    psnr = np.mean(-20 * np.log10(np.maximum(rmse / span, 1e-12)))
    similar = np.mean([ssim(a, b, s) for a, b, s in zip(x, y, span)])
    h, w = x.shape[1:]
    ring = np.hypot(*np.meshgrid(np.arange(h) - (h - 1) / 2, np.arange(w) - (w - 1) / 2, indexing="ij")).astype(int)
    label = np.where(good, ring, -1)
    rings = np.unique(label[good])
    of = lambda image: ndimage.sum(image, label, rings)
    sigma = [np.sqrt(np.mean((of(seen.back(b)) - of(c)) ** 2 / np.maximum(of(c), 1))) for c, b in zip(counts.astype(float), y)]
    freq = np.hypot(*np.meshgrid(np.fft.fftfreq(h), np.fft.fftfreq(w), indexing="ij")) > 0.25
    high = lambda v: np.sum(np.abs(np.fft.fft2(v))[:, freq] ** 2)
    return {"rel": rel, "psnr": psnr, "ssim": similar, "max": np.median(np.abs(e[:, good]).max(axis=1)),
            "iq": float(np.median(sigma)), "blur": high(y) / high(x), "pattern": pattern(e, good)}


def pattern(errors, good):
    """Correlation of the errors of neighbors along y and x, both of them good."""
    product = square = 0.0
    for a, b in ((np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:])):
        both = good[a] & good[b]
        p, q = errors[(slice(None), *a)][:, both], errors[(slice(None), *b)][:, both]
        product, square = product + np.sum(p * q), square + np.sum(p * p + q * q) / 2
    return product / square if square > 0 else 0.0


def rows(name, data, back, bytes_each, model_bytes=0.0):
    """The rows of a method: `back` as they are seen."""
    counts, mask, families, seen = data
    raw = float(seen.bytes * counts[0].size)
    ratio = lambda images: f"{raw / (bytes_each + model_bytes / images):.0f}"
    for family, chosen in families.items():
        q = quality(counts[chosen], back[chosen], mask, seen)
        sizes = [f"{raw / bytes_each:.0f}", ratio(1e3), ratio(1e5)] if family == "all" else [""] * 3
        cells = [name if family == "all" else "", family, *sizes, f"{q['rel']:.4f}", f"{q['psnr']:.1f}",
                 f"{q['ssim']:.3f}", f"{q['max']:.2f}", f"{q['iq']:.2f}" if seen.counted else "", f"{q['blur']:.2f}", f"{q['pattern']:.2f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


def learned(arguments, data):
    work, program = arguments.work, arguments.program
    counted = data[3].counted
    for name, (model, penalty, ways, scale) in MODELS.items():
        if scale == "anscombe" and not counted:
            continue
        scale = scale if counted else "none"
        inputs = {"variables": "images", "scale": scale, "normalize": "global", "split": {"train": 0.97, "order": "random"}}
        folder = work / name.replace(" ", "-").replace(",", "")
        epochs = PASSES if model["name"] == "pca" else arguments.epochs
        train = {"model": model, "epochs": epochs, "batch": 32, "shards": 2, "learning_rate": 1e-3,
                 "checkpoint_every": 4, **({} if model["name"] == "pca" else {"schedule": "cosine"})}
        if penalty:
            train["sparsity"] = {**penalty, "warmup": 0.3}
        run(program, {"job": {"name": "train", "output": str(folder / "train"), "seed": 1},
                      "data": {**inputs, "inputs": [str(work / "train.h5")]}, "train": train}, folder)
        for way in ways:
            for bits in ([4, 8, 16] if name == "k-sparse" and way == ways[0] else [8]):
                compress = {"model": str(folder / "train/model.h5"), "error_bound": {}, "weight_bits": bits,
                            "latent": {**way, "step": 0.125}}
                shown = name + "".join(f", {k} {x}" for k, x in way.items())
                coded(arguments, data, shown + (f", {bits}-bit weights" if bits != 8 else ""), compress)


def coded(arguments, data, name, compress):
    """The held-out images through a job."""
    out = arguments.work / "coded" / name.replace(" ", "-").replace(",", "")
    job = {"job": {"name": "code", "output": str(out)},
           "data": {"inputs": [str(arguments.work / "test.h5")], "variables": "images"},
           "compress": {**compress, "tile": {"steps": 100}}, "decompress": {}}
    v = run(arguments.program, job, arguments.work / "jobs" / out.name)["compress"]["variables"]["counts"]
    with h5py.File(out / "decompressed/test.h5") as f:
        back = data[3].of(np.maximum(f["counts"][:], 0).astype(float))
    decoder = v["original_bytes"] / v["ratio_with_model"] - v["compressed_bytes"]
    rows(name, data, back, v["compressed_bytes"] / len(back), decoder)


def classical(arguments, data):
    counted = data[3].counted
    for bound in [{"iq_sigma": 0.5}, {"iq_sigma": 1.0}, {"abs": 0.4}] if counted else [{"abs": 0.4}, {"abs": 8}, {"abs": 32}]:
        coded(arguments, data, "sci-hpc, no model, " + " ".join(f"{k} {v}" for k, v in bound.items()), {"error_bound": bound})


def peers(arguments, data, train):
    counts, seen = data[0], data[3]
    n, (h, w) = len(counts), counts.shape[1:]
    x = seen.of(counts.astype(float))
    train = seen.of(train.astype(float)).reshape(len(train), -1)
    mean, flat = train.mean(axis=0), x.reshape(n, -1)
    _, s, vt = np.linalg.svd(train - mean, full_matrices=False)
    sigma = s / np.sqrt(len(train))
    for r in (8, 16, 32, 64):
        # Steps of an eighth of the root mean square, as of the latents; bits of a Gaussian of the training's width.
        step = np.sqrt(np.mean(sigma[:r] ** 2)) / 8
        q = np.rint((flat - mean) @ vt[:r].T / step)
        bits = np.sum(np.maximum(np.log2(np.sqrt(2 * np.pi * np.e) * sigma[:r] / step), 0.1))
        rows(f"PCA by NumPy, {r}", data, (q * step @ vt[:r] + mean).reshape(x.shape), bits / 8, r * h * w * 1.0)
    for keep in (16, 32, 64, 128):
        c = fft.dctn(x, axes=(1, 2), norm="ortho").reshape(n, -1)
        kept = np.abs(c) >= -np.sort(-np.abs(c), axis=1)[:, keep - 1 : keep]
        step = np.sqrt(np.mean(c[kept] ** 2)) / 32
        q = np.where(kept, np.rint(c / step), 0)
        gaps = np.concatenate([np.diff(np.nonzero(i)[0], prepend=-1) for i in q])
        size = sum(len(zlib.compress(part.astype("<i2").tobytes(), 9)) for part in (gaps, q[q != 0]))
        rows(f"DCT, {keep} largest", data, fft.idctn((q * step).reshape(x.shape), axes=(1, 2), norm="ortho"), size / n)
    sz3(data, x)
    jpeg2000(data, x)
    filters(data, x)
    import zstandard

    size = len(zstandard.ZstdCompressor(level=19).compress(counts.astype(f"<u{seen.bytes}").tobytes()))
    rows("zstd -19, lossless", data, x, size / n)


def sz3(data, x):
    import pysz

    for bound in (data[3].unit * b for b in (0.1, 0.3, 0.6, 1.0, 2.0)):
        config = pysz.szConfig()
        config.errorBoundMode, config.absErrorBound = pysz.szErrorBoundMode.ABS, bound
        packed, _ = pysz.sz.compress(np.ascontiguousarray(x, np.float32), config)
        back, _ = pysz.sz.decompress(packed, np.float32, x.shape)
        rows(f"SZ3, abs {bound:.4g}", data, np.asarray(back), len(np.asarray(packed).tobytes()) / len(x))


def mosaic(x):
    """All images side by side: a header for each would outweigh it; and how to cut it again."""
    n, h, w = x.shape
    side = int(np.ceil(np.sqrt(n)))
    tiles = np.concatenate([x, np.zeros((side * side - n, h, w))])
    whole = tiles.reshape(side, side, h, w).transpose(0, 2, 1, 3).reshape(side * h, side * w)
    return whole, lambda back: back.reshape(side, h, side, w).transpose(0, 2, 1, 3).reshape(-1, h, w)[:n]


def jpeg2000(data, x):
    from PIL import Image

    whole, cut = mosaic(x)
    scale = 65535 / x.max()
    for ratio in (12, 25, 50, 100, 200):  # of 16 bits
        stream = io.BytesIO()
        Image.fromarray(np.rint(whole * scale).astype(np.uint16)).save(
            stream, "JPEG2000", quality_mode="rates", quality_layers=[ratio], irreversible=True, no_jp2=True)
        back = np.asarray(Image.open(io.BytesIO(stream.getvalue())), float) / scale
        rows(f"JPEG 2000, rate {ratio}", data, cut(back), len(stream.getvalue()) / len(x))


def filters(data, x):
    """Other coders of floats, as filters of HDF5."""
    import hdf5plugin

    whole, cut = mosaic(x)
    ways = {"ZFP": lambda bound: hdf5plugin.Zfp(accuracy=bound), "SPERR": lambda bound: hdf5plugin.Sperr(absolute=bound)}
    for name, way in ways.items():
        for bound in (data[3].unit * b for b in (0.1, 0.3, 1.0, 2.0)):
            with h5py.File("memory", "w", driver="core", backing_store=False, rdcc_nbytes=0) as f:
                coded = f.create_dataset("x", data=whole.astype(np.float32), chunks=whole.shape, **way(bound))
                rows(f"{name}, abs {bound:.4g}", data, cut(coded[:].astype(float)), coded.id.get_storage_size() / len(x))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("program")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--only", choices=["learned", "peers"])
    arguments = parser.parse_args()
    arguments.work = arguments.work.absolute()
    train, data = split(arguments.images, arguments.work)
    print("| method | images | ratio | 1e3 | 1e5 | rel | psnr, dB | ssim | max | I(q), sigma | blur | pattern |")
    print("|" + "---|" * 12)
    if arguments.only != "peers":
        classical(arguments, data)
        learned(arguments, data)
    if arguments.only != "learned":
        peers(arguments, data, train)


if __name__ == "__main__":
    main()
