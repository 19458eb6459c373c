#!/usr/bin/env python3
"""What images of a detector take, and what is left of I(q): the numbers of benches/results/scattering.md.

    detectors.py WORK PROGRAM [--images FILE.h5] [--peers bench_compressors.py]

Prints a markdown table of cases with beams aside, masks and pixels that measured nothing: ratio, and the error of I(q) over
good pixels and rings one pixel wide about the true center, in sqrt(counts of the ring), root mean square and largest; pixels
that are to be exact and are not. `pattern` is made here; with `--images` (counts (n, y, x), mask (y, x; 1: good)) also of its
first 100 images, and the ratio of all. With `--peers` the images of its `sas`: counts without loss, log10 of intensities in
decades, and I(q). Needs numpy, h5py; with `--peers` what that needs.
"""
import argparse
import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys

import h5py
import numpy as np

PIXELS = (100, 80)
MIDDLE = (50.0, 39.5)
NOTHING = 2**32 - 1


def pattern(center, n=100, seed=3):
    """Counts of isotropic patterns about (y, x), 6,000 at most, Poisson noise."""
    y, x = np.mgrid[: PIXELS[0], : PIXELS[1]]
    r = np.hypot(y - center[0], x - center[1])
    level = 5000.0 * (0.2 + np.arange(n) / n)
    shell = 20 + 5 * np.arange(n) / n
    mean = level[:, None, None] * (np.exp(-r / 8) + 0.02 * np.exp(-((r - shell[:, None, None]) ** 2) / 8)) + 0.3
    return np.random.default_rng(seed).poisson(mean).astype("u4")


def code(args, name, counts, mask=None, bound="{iq_sigma: 0.5}"):
    """Codes images and gives them back: metrics, images."""
    path, out = args.work / f"{name}.h5", args.work / name
    shutil.rmtree(out, ignore_errors=True)
    with h5py.File(path, "w") as file:
        file["counts"] = counts
        if mask is not None:
            file["mask"] = mask
            file["mask"].attrs["meaning"] = "1 good, 0 not"
    job = {
        "job": {"name": name, "output": str(out)},
        "data": {"inputs": [str(path)], "variables": "images"},
        "compress": {"error_bound": "BOUND", "tile": {"steps": 100}},
        "decompress": {},
    }
    config = args.work / f"{name}.yaml"
    config.write_text(json.dumps(job).replace('"BOUND"', bound))
    done = subprocess.run([args.program, "--config", config, "--threads", "1"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    metrics = json.loads((out / "metrics.json").read_text())["compress"]["variables"]["counts"]
    with h5py.File(out / "decompressed" / path.name) as file:
        return metrics, file["counts"][:]


def error_of_rings(counts, back, good, center):
    """Root mean square and largest error of the sums of rings, in their noise."""
    y, x = np.mgrid[: counts.shape[1], : counts.shape[2]]
    ring = np.hypot(y - center[0], x - center[1]).astype(int)[good]
    errors = []
    for before, after in zip(counts.astype(float), back.astype(float)):
        total = np.bincount(ring, before[good])
        difference = np.bincount(ring, after[good] - before[good])
        errors.append((difference / np.sqrt(np.maximum(total, 1)))[np.bincount(ring) > 0])
    errors = np.abs(np.concatenate(errors))
    return np.sqrt((errors**2).mean()), errors.max()


def cases(args):
    """Name, counts, mask, good pixels, center."""
    clean = pattern(MIDDLE)
    every = np.ones(PIXELS, bool)
    yield "pattern, beam in the middle", clean, None, every, MIDDLE
    for center in [(50.0, 30.0), (20.0, 60.0), (10.0, 39.5)]:
        yield f"pattern, beam at y {center[0]:g}, x {center[1]:g}", pattern(center), None, every, center

    def with_bad(places, value, kind="u4"):
        good = every.copy()
        good[places] = False
        bad = clean.astype(kind)
        bad[:, ~good] = value
        return bad, None, good, MIDDLE

    clusters = (np.array([20, 20, 21, 21, 70, 71]), np.array([20, 21, 20, 21, 60, 60]))
    yield "pattern, hot clusters of 2 x 2 and 2 x 1", *with_bad(clusters, 60_000)
    yield "pattern, three rows of -1", *with_bad(np.s_[40:43, :], -1, "i4")
    yield "pattern, three rows of 2^32 - 1", *with_bad(np.s_[40:43, :], NOTHING)
    yield "pattern, a dead column aside (zeros)", *with_bad(np.s_[:, 30], 0)
    yield "pattern, a dead column through the beam", *with_bad(np.s_[:, 39], 0)
    bad, _, good, center = with_bad(np.s_[:, 39], 0)
    yield "the same with a mask", bad, good.astype("u1"), good, center
    yield "pattern, beam 10 pixels outside", pattern((-10.0, 40.0)), None, every, (-10.0, 40.0)
    if args.images is None:
        return
    with h5py.File(args.images) as file:
        counts, mask = file["counts"][:100].astype("i8"), file["mask"][:]
    good, center = mask != 0, tuple((np.array(mask.shape) - 1) / 2)
    yield "images, as they are", counts.astype("u4"), mask, good, center
    hot = counts.copy()
    hot[:, *np.argwhere(~good)[5]] = 1_000_000
    yield "images, one hot pixel behind the mask", hot.astype("u4"), mask, good, center
    noisy = counts.copy()
    noisy[:, ~good] = np.random.default_rng(6).poisson(100_000, (100, int((~good).sum())))
    yield "images, 100,000 counts that change behind the mask", noisy.astype("u4"), mask, good, center


def targets(args):
    """Images by formulas, and all of `--images`: rows of bound and ratio."""
    if args.peers is not None:
        spec = importlib.util.spec_from_file_location("peers", args.peers)
        peers = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(peers)
        clean, counts = (made[1000:] for made in peers.sas_images(1200))
        for bound, images in [("{abs: 0.4}", counts), ("{iq_sigma: 0.5}", counts), ("{abs: 0.03}", clean), ("{abs: 0.1}", clean)]:
            yield "formulas", bound, *code(args, "formulas", images, bound=bound), images
    if args.images is not None:
        with h5py.File(args.images) as file:
            counts, mask = file["counts"][:], file["mask"][:]
        for bound in ["{abs: 0.4}", "{iq_sigma: 0.5}"]:
            yield "images, all", bound, *code(args, "all", counts, mask, bound), counts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("program", type=lambda name: pathlib.Path(name).resolve())
    parser.add_argument("--images", type=pathlib.Path)
    parser.add_argument("--peers", type=pathlib.Path)
    args = parser.parse_args()
    args.work = args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    print("| images | ratio | I(q), sigma | largest | not exact |\n|---|---|---|---|---|", flush=True)
    for name, counts, mask, good, center in cases(args):
        try:
            metrics, back = code(args, "case", counts, mask)
        except RuntimeError as error:
            print(f"{name}: {error}", file=sys.stderr)
            print(f"| {name} | refused | | | |", flush=True)
            continue
        rms, largest = error_of_rings(counts, back, good, center)
        changed = int((back != counts)[:, ~good].sum())
        print(f"| {name} | {metrics['ratio']:.1f} | {rms:.2f} | {largest:.2f} | {changed} |", flush=True)
    print("\n| images | bound | ratio | I(q), sigma | largest error | violations |\n|---|---|---|---|---|---|", flush=True)
    for name, bound, metrics, back, images in targets(args):
        sigma = metrics["iq_error_sigma"]
        largest = np.abs(back.astype(float) - images.astype(float)).max()
        rings = "" if sigma is None else f"{sigma:.2f}, at most {metrics['iq_error_sigma_max']:.2f}"
        print(f"| {name} | `{bound}` | {metrics['ratio']:.1f} | {rings} | {largest:.6g} | {metrics['bound_violations']} |", flush=True)


if __name__ == "__main__":
    main()
