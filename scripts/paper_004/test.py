#!/usr/bin/env python3
"""The sweep and the bisection with programs that only pretend: what is run, run again, refused, found. Seconds."""

import csv
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from published import model_of

SWEEP = pathlib.Path(__file__).resolve().parent.parent / "paper-004"
BASE = """
job:
  name: base
  output: base
generate:
  name: urban-flow
data:
  variables: all
train:
  epochs: 2
  batch: 4
  learning_rate: 0.001
assimilate:
  minimizer: lbfgs
  observations:
    count: all
"""


class Sweep(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "base.yaml").write_text(BASE)
        program = self.folder / "sci-hpc"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -SE "{SWEEP.parent}/paper_004/pretend.py" "$@"\n')
        program.chmod(0o755)

    def sweep(self, *more):
        words = ["--config", "base.yaml", "--output", "out", "--modes", "4,32", "--observations", "all,0.1"]
        words += ["--models", "backbone-prelu,backbone-relu,tucodec-next-prelu", *more]
        where = {"cwd": self.folder, "env": os.environ | {"SCI_HPC": str(self.folder / "sci-hpc")}}
        return subprocess.run([sys.executable, SWEEP, *words], capture_output=True, text=True, **where)

    def calls(self):
        return (self.folder / "calls").read_text().split()

    def test_finished_configurations_are_rows_and_are_not_run_again(self):
        first = self.sweep("--at-once", "2")
        self.assertEqual(first.returncode, 0, first.stderr)
        calls = self.calls()
        self.assertEqual(len(calls), 1 + 2 * 2 + 3)
        rows = list(csv.DictReader((self.folder / "out/results.csv").read_text().splitlines()))
        self.assertEqual(len(rows), 2 * (5 + 3) + 3)
        self.assertEqual([r["status"] for r in rows if r["config"] == "backbone-relu"], ["diverged"])
        self.assertEqual(self.sweep().returncode, 0)
        self.assertEqual(self.calls(), calls)
        self.assertFalse((self.folder / "out/tsvd-all/assimilation/full.nc").exists())
        self.assertTrue((self.folder / "out/tucodec-next-prelu/assimilation/full.nc").exists())
        self.tables_have_ours_the_published_and_the_relations()

    def tables_have_ours_the_published_and_the_relations(self):
        text = (self.folder / "out/tables.md").read_text()
        self.assertIn("| tucodec-next-prelu | 0.0800 | 0.0787 |", text)
        self.assertIn("| backbone | 0.0800 | 0.2309 | diverged | 0.9857 | – | 0.2970 |", text)
        self.assertRegex(text, r"\| 1 \|.*\| holds \| 1\.0000")
        self.assertRegex(text, r"\| 4 \|.*\| holds \| time grows as M\^1\.00")
        self.assertRegex(text, r"\| 7 \|.*\| holds \| 0\.0800 against 0\.1104 \(-27\.5 %")
        self.assertRegex(text, r"\| 8 \|.*\| not run \| needs backbone-relu")
        page = (self.folder / "out/report.html").read_text()
        self.assertIn("better in 2 of 2", page)

    def test_a_signal_stops_the_sweep_and_the_same_command_goes_on(self):
        (self.folder / "stop").touch()
        self.assertEqual(self.sweep().returncode, 75)
        self.assertNotIn("tucodec-next-prelu", self.calls())
        (self.folder / "stop").unlink()
        self.assertEqual(self.sweep().returncode, 0)
        self.assertEqual(self.calls().count("tsvd-all"), 1)
        self.assertEqual(self.calls().count("backbone-prelu"), 2)

    def test_a_model_goes_on_by_the_absolute_loss_when_the_one_without_is_finished(self):
        done = self.sweep("--models", "tucodec-next-prelu-l1,tucodec-next-prelu", "--at-once", "2")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.calls()[-1], "tucodec-next-prelu-l1")
        job = (self.folder / "out/jobs/tucodec-next-prelu-l1.yaml").read_text()
        for line in ("loss: absolute", "learning_rate: 0.00025", "epochs: 1", "start: out/tucodec-next-prelu/model.h5"):
            self.assertIn(f"  {line}\n", job)
        text = (self.folder / "out/tables.md").read_text()
        self.assertRegex(text, r"\| 10 \|.*\| holds \| tucodec-next-prelu: L1 of training 3\.0 to 2\.0, DA MSE 0\.0800 to 0\.0800")
        alone = self.sweep("--models", "tucodec-next-prelu-l1")
        self.assertEqual((alone.returncode, "goes on from tucodec-next-prelu" in alone.stderr), (2, True), alone.stderr)

    def test_a_model_with_an_observation_encoder_goes_on_from_the_one_without(self):
        done = self.sweep("--models", "tucodec-next-prelu-seen0.01,tucodec-next-prelu", "--observations", "0.01", "--modes", "32")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.calls()[-1], "tucodec-next-prelu-seen0.01")
        job = (self.folder / "out/jobs/tucodec-next-prelu-seen0.01.yaml").read_text()
        for line in ("epochs: 0", "start: out/tucodec-next-prelu/model.h5", "observer: {count: 0.01, places: fixed, epochs: 1}"):
            self.assertIn(f"  {line}\n", job)
        self.assertIn("{name: bi-reduced, view: encoded, shrinkage: 0.5}", job)
        text = (self.folder / "out/tables.md").read_text()
        self.assertIn("| tucodec-next-prelu-seen0.01 | bi-reduced | 0.0800 |", text)
        self.assertIn("| tsvd-0.01-closed-form | full |", text)
        self.assertRaises(ValueError, model_of, "tucodec-next-prelu-l1-seen0.01")

    def test_principal_components_are_a_model_without_activation_or_blocks(self):
        self.assertEqual(model_of("pca-32"), ("{name: pca, latent: 32}", 0, "pca", None))
        self.assertRaises(ValueError, model_of, "pca-32-prelu")
        self.assertRaises(ValueError, model_of, "pca-32-l1")

    def test_an_unknown_model_is_refused_before_anything_starts(self):
        done = self.sweep("--models", "tucodec-prelu-next")
        self.assertEqual(done.returncode, 2)
        self.assertIn("`tucodec-prelu-next` is no model", done.stderr)
        self.assertFalse((self.folder / "calls").exists())


# A metric that falls with the square root of the key; refuses a key of 7.
FALLS = """
import json, pathlib, sys
sets = dict(word.split("=", 1) for word in sys.argv if "=" in word)
if sets["train.weight"] == "7":
    sys.exit("sci-hpc: train.weight: not 7")
output = pathlib.Path(sets["job.output"])
output.mkdir(parents=True, exist_ok=True)
text = json.dumps({"compress": {"bits": 1 / float(sets["train.weight"]) ** 0.5, "mode": "abs"}})
(output / "metrics.json").write_text(text)
"""


class Bisection(unittest.TestCase):
    def bisect(self, between, target, *more):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "falls.py").write_text(FALLS)
            program = folder / "sci-hpc"
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -SE "{folder}/falls.py" "$@"\n')
            program.chmod(0o755)
            words = [SWEEP.parent / "bisect", "job.yaml", "--key", "train.weight", "--between", between, "--target", target]
            where = {"cwd": folder, "env": os.environ | {"SCI_HPC": str(program)}}
            return subprocess.run([sys.executable, *words, *more], capture_output=True, text=True, **where)

    def test_the_key_is_found_at_which_the_metric_is_met(self):
        found = self.bisect("0.001,100", "compress.bits=2.0", "--within", "0.02")
        self.assertEqual(found.returncode, 0, found.stderr)
        key = float(found.stdout.splitlines()[-1].split()[2].rstrip(":"))
        self.assertLess(abs(key - 0.25) / 0.25, 0.05)

    def test_what_cannot_be_found_is_said(self):
        for between, target, code, said in [
            ("1,100", "compress.bits=2.0", 4, "not between 1 and 0.1"),
            ("0.001,100", "compress.bytes=2.0", 2, "no `bytes` there; it has bits, mode"),
            ("0.001,100", "compress.mode=2.0", 2, "is no number"),
            ("1,7", "compress.bits=0.7", 1, "train.weight: not 7"),
            ("0,1", "compress.bits=2.0", 2, "two numbers above 0"),
        ]:
            found = self.bisect(between, target)
            self.assertEqual((found.returncode, said in found.stderr), (code, True), found.stderr)
        few = self.bisect("0.001,100", "compress.bits=2.0", "--tries", "2")
        self.assertEqual((few.returncode, "after 2 tries" in few.stderr), (4, True), few.stderr)


if __name__ == "__main__":
    unittest.main()
