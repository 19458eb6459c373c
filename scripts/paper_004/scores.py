"""What came out: one row per configuration that is finished, read from the metrics of the jobs."""

import csv
import itertools
import json
import re

from .published import FINE_TUNED, model_of

COLUMNS = ["config", "kind", "status", "method", "modes", "form", "minimizer", "observations", "latent", "params", "epochs",
           "da_mse", "ref_mse", "rmse", "chi2", "iterations", "online_s", "encode_s", "decode_s", "offline_s", "train_s",
           "loss_train", "loss_valid", "states"]  # fmt: skip


def scalar(text, key, section=""):
    """The first value of a key in a printed job file, from a section on."""
    return re.search(rf"^\s+{key}: (.*)$", text[text.index(f"{section}:\n") :] if section else text, re.M)[1]


class NotRun(Exception):
    """A relation or a figure needs a configuration that is not finished."""


class Scores:
    """Rows of everything that is finished, and the folders they are from."""

    def __init__(self, sweep):
        self.sweep, self.rows = sweep, []
        for name, kind, _, _ in sweep.plan():
            path = sweep.jobs / f"{name}.yaml"
            if kind == "flow" or not path.exists():
                continue
            text = path.read_text()
            if sweep.finished(name, text):
                self.rows += self.read(name, kind, text)
            elif sweep.diverged(name, text):
                self.rows.append(dict.fromkeys(COLUMNS) | {"config": name, "kind": kind, "status": "diverged"})
        done = [row for row in self.rows if row["status"] == "done"]
        self.models = [row for row in done if row["kind"] == "model"]
        self.beyond = [row for row in done if row["kind"] == "beyond"]
        self.classical = [row for row in done if row["kind"] == "tsvd"]

    def read(self, name, kind, text):
        """A model is one row, a TSVD job one row for each of its methods."""
        metrics = json.loads((self.sweep.output / name / "metrics.json").read_text())
        train, stage = metrics.get("train", {}), metrics["assimilate"]
        train = train.get("observer", train)
        for m in stage["methods"]:
            known = {"config": name, "kind": kind, "status": "done", "states": stage["states"], "train_s": train.get("seconds")}
            known |= {"method": m["label"], "minimizer": scalar(text, "minimizer"), "online_s": m["online_s_median"]}
            known |= {"observations": scalar(text, "count"), "encode_s": m["encode_s_median"], "decode_s": m["decode_s_median"]}
            known |= {"status": "diverged"} if m["da_mse"] is None else {}  # not a number in some test state
            yield {key: known.get(key, m.get(key, train.get(key))) for key in COLUMNS}

    def model(self, *names):
        """The first of these models that is finished."""
        for name, row in itertools.product(names, self.models):
            if row["config"] == name:
                return row
        raise NotRun(" or ".join(names))

    def plain(self):
        """Models that were trained without jitter and by squares alone."""
        return [r for r in self.models if "jitter" not in r["config"] and not r["config"].endswith(FINE_TUNED)]

    def best(self, family):
        """The best finished model of a family."""
        rows = [r for r in self.plain() if model_of(r["config"])[2] == family]
        if not rows:
            raise NotRun(f"any {family}")
        return min(rows, key=lambda r: r["da_mse"])

    def tsvd(self, modes, count, form="published", minimizer="lbfgs"):
        """TSVD with so many modes, or `full`."""
        for row in self.classical:
            same = (row["observations"], row["minimizer"]) == (count, minimizer)
            if same and (row["method"] == "full" if modes == "full" else (row["modes"], row["form"]) == (modes, form)):
                return row
        raise NotRun(f"TSVD with {modes} modes, {count} observed")

    def counts(self, modes):
        """TSVD by number of observations, ascending: [(M, row)]."""
        rows = [r for r in self.classical if r["minimizer"] == "lbfgs" and r["form"] != "fair"]
        rows = [r for r in rows if (r["method"] if modes == "full" else r["modes"]) == modes]
        return sorted(((self.observed(r["observations"]), r) for r in rows), key=lambda pair: pair[0])

    def observed(self, count):
        """How many values `count` of the job file is."""
        n = self.sweep.unknowns
        return n if count == "all" else int(count) if count.isdigit() else max(1, int(float(count) * n))

    def modes(self, count, form="published"):
        """TSVD by number of modes, ascending; no truncation counts as the number of training states."""
        rows = [r for r in self.classical if r["minimizer"] == "lbfgs" and r["observations"] == count]
        rows = [r for r in rows if r["method"] == "full" or r["form"] == form]
        return sorted(((r["modes"] or self.sweep.training, r) for r in rows), key=lambda pair: pair[0])

    def states(self, row):
        """Error of every test state: [(sample, error)]."""
        with open(self.sweep.output / row["config"] / "assimilation" / "states.csv") as file:
            return [(int(s["sample"]), float(s["da"])) for s in csv.DictReader(file) if s["method"] == row["method"]]

    def curves(self, name, loss="loss_valid"):
        """Loss per validation sample, or another, by epoch."""
        with open(self.sweep.output / name / "events.jsonl") as file:
            return [(e["epoch"], e[loss]) for e in map(json.loads, file) if e["event"] == "epoch"]
