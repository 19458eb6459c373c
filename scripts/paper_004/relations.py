"""The eleven relations that hold in the paper whatever the flow. Each function: its claim, and (holds, numbers)."""

import itertools
import math
import statistics

from .published import FINE_TUNED, JITTERS
from .scores import NotRun


def relation_1(s):
    """The background's error is about 1."""
    ref = next((r["ref_mse"] for r in s.rows if r["ref_mse"]), None)
    if ref is None:
        raise NotRun("any configuration")
    return abs(ref - 1) < 0.1, f"{ref:.4f}; 1 where the fields have no mean (published 1.0001)"


def relation_2(s):
    """TSVD: the error falls with the modes and stops falling before all of them."""
    found = [(m, r["da_mse"]) for m, r in s.modes("all")]
    full = s.tsvd("full", "all")["da_mse"]
    enough = next(m for m, da in found if da <= 1.01 * full)
    falls = all(b <= 1.01 * a for (_, a), (_, b) in itertools.pairwise(found))
    return falls and enough < s.sweep.training, \
        f"{found[0][1]:.4f} at {found[0][0]}, {full:.4f} at all {s.sweep.training}; within 1 % from {enough} on"  # fmt: skip


def relation_3(s):
    """TSVD: the error falls with the observations and stops falling by a tenth of the grid."""
    found = [(m, r["da_mse"]) for m, r in s.counts(32)]
    tenth, everything = s.tsvd(32, "0.1")["da_mse"], s.tsvd(32, "all")["da_mse"]
    falls = all(b <= 1.02 * a for (_, a), (_, b) in itertools.pairwise(found))
    return falls and tenth <= 1.02 * everything, \
        f"32 modes: {found[0][1]:.4f} with {found[0][0]}, {tenth:.4f} with 0.1 n, {everything:.4f} with all"  # fmt: skip


def relation_4(s):
    """TSVD's online time is linear in the observations from 0.02 n on; that of an autoencoder does not depend on them."""
    found = [(m, r["online_s"]) for m, r in s.counts(32) if m >= 0.02 * s.sweep.unknowns]
    if len(found) < 2:
        raise NotRun("32 modes with two counts above 0.02 n")
    slope = statistics.linear_regression([math.log(m) for m, _ in found], [math.log(t) for _, t in found]).slope
    learned = s.model("tucodec-next-prelu")["online_s"]
    slower = next((m for m, r in s.counts(32) if r["online_s"] > learned), None)
    crossing = f"slower than tucodec-next ({learned:.4f} s) from {slower}" if slower else f"never slower than {learned:.4f} s"
    return 0.75 <= slope <= 1.25, f"time grows as M^{slope:.2f}; {crossing} of {s.sweep.unknowns} (published from 0.015 n)"


def relation_5(s):
    """Tucodec < GRDN < ResNeXt, RDB, RAB < Backbone."""
    ends = [s.best(family)["da_mse"] for family in ("tucodec", "grdn", "backbone")]
    between = {}
    for family in ("resnext3", "rdb3", "rab"):
        try:
            between[family] = s.best(family)["da_mse"]
        except NotRun:
            pass
    if not between:
        raise NotRun("any of resnext3, rdb3, rab")
    numbers = ", ".join(f"{family} {da:.4f}" for family, da in between.items())
    holds = ends[0] < ends[1] < min(between.values()) and max(between.values()) < ends[2]
    return holds, f"tucodec {ends[0]:.4f}, grdn {ends[1]:.4f}, {numbers}, backbone {ends[2]:.4f}"


def relation_6(s):
    """Tucodec-NeXt is as good as Tucodec-vanilla (5 %) and twice as fast online."""
    following, vanilla = s.model("tucodec-next-prelu"), s.model("tucodec-vanilla-relu", "tucodec-vanilla-prelu")
    error, speed = following["da_mse"] / vanilla["da_mse"], vanilla["online_s"] / following["online_s"]
    return abs(error - 1) <= 0.05 and speed >= 2, \
        f"error {error:.3f} times that of {vanilla['config']}, {speed:.2f} times as fast (published 0.97, 2.41)"  # fmt: skip


def relation_7(s):
    """Tucodec-NeXt beats TSVD with 32 modes clearly (by 37 % in the paper), and no truncation."""
    learned = s.model("tucodec-next-prelu")["da_mse"]
    fair, full = s.tsvd(32, "all", "fair", "closed-form")["da_mse"], s.tsvd("full", "all")["da_mse"]
    return learned < 0.9 * fair and learned < full, \
        f"{learned:.4f} against {fair:.4f} ({100 * (learned / fair - 1):+.1f} %, published -38.0) " \
        f"and {full:.4f} ({100 * (learned / full - 1):+.1f} %, published -13.8)"  # fmt: skip


def relation_8(s):
    """The backbone fails with ReLU (within 10 % of the background) and works with PReLU."""
    relu, prelu = s.model("backbone-relu"), s.model("backbone-prelu")
    shares = [row["da_mse"] / row["ref_mse"] for row in (relu, prelu)]
    return shares[0] > 0.9 > shares[1], f"{shares[0]:.3f} of the background's error with ReLU, {shares[1]:.3f} with PReLU"


def relation_9(s):
    """GDN can give an infinite state."""
    rows = [r for r in s.rows if r["config"].endswith("-gdn")]
    if not rows:
        raise NotRun("any model with GDN")
    diverged = [r["config"] for r in rows if r["status"] == "diverged"]
    return bool(diverged), f"{len(diverged)} of {len(rows)} diverged{': ' if diverged else ''}{', '.join(diverged)}"


def relation_10(s):
    """Fine-tuning with L1 lowers the error of training, not of the test (1 %)."""
    tuned = next((r for r in s.models if r["config"].endswith(FINE_TUNED)), None)
    if tuned is None:
        raise NotRun(f"a model NAME{FINE_TUNED}")
    before, losses = s.model(tuned["config"].removesuffix(FINE_TUNED)), s.curves(tuned["config"], "loss_train")
    first, last = losses[0][1], losses[-1][1]
    return last < first and tuned["da_mse"] >= 0.99 * before["da_mse"], \
        f"{before['config']}: L1 of training {first:.1f} to {last:.1f}, DA MSE {before['da_mse']:.4f} to {tuned['da_mse']:.4f}"


def relation_11(s):
    """Field jitter is neutral (5 %)."""
    errors = [s.model(name)["da_mse"] for name in JITTERS]
    return max(errors) <= 1.05 * min(errors), "strengths 0 to 3: " + ", ".join(f"{e:.4f}" for e in errors)


RELATIONS = [relation_1, relation_2, relation_3, relation_4, relation_5, relation_6, relation_7, relation_8, relation_9,
             relation_10, relation_11]  # fmt: skip


def relations(scores):
    """Rows of a table: number, claim, `holds`, `does not hold` or `not run`, numbers."""
    def row(relation):
        try:
            holds, numbers = relation(scores)
            return ["holds" if holds else "does not hold", numbers]
        except NotRun as missing:
            return ["not run", f"needs {missing}"]

    return [[str(i), r.__doc__, *row(r)] for i, r in enumerate(RELATIONS, 1)]
