"""Our reader against h5py and netCDF4 on a folder of files from everywhere, damaged ones among them.

    scripts/reference/zoo.py ZOO target/release/sci-hpc > table.md      (numpy, h5py, netCDF4)

ZOO/MANIFEST.json says of every file what the two libraries read (per variable: type, shape, SHA-256 of the values in
little-endian order), or how they fail. Here every file is compressed without loss and decompressed by one job, and what
comes back is read by the library that could read the original:

  agree     both read and every value is the same, or both refuse
  nothing   both read; there is no array of numbers in it (the error says so)
  refuse    a library reads it, we end with exit code 3 and a reason
  disagree  other values, a crash, a hang, or numbers from what neither library reads
"""

import collections
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

import h5py
import netCDF4
import numpy as np

LIMIT_S = 60


def digest(values):
    values = np.ascontiguousarray(values)
    return hashlib.sha256(values.astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest()


def is_number(entry):
    return str(entry.get("dtype", "")).lstrip("<>=|") in (
        "int8 uint8 int16 uint16 int32 uint32 int64 uint64 float32 float64 i1 u1 i2 u2 i4 u4 i8 u8 f4 f8".split()
    )


def expected(oracle):
    """What a library reads: {name: entry}, and which library."""
    if "netcdf" in oracle:
        return "netcdf", oracle["netcdf"]["vars"]
    if "hdf5" in oracle:
        return "hdf5", oracle["hdf5"]["datasets"]
    return None, {}


def differences(path, library, entries):
    """Names of variables whose values are not those of the manifest."""
    wrong = []
    with (netCDF4.Dataset(path) if library == "netcdf" else h5py.File(path)) as file:
        if library == "netcdf":
            file.set_auto_maskandscale(False)
        for name, entry in entries.items():
            if "sha256_le" in entry and is_number(entry):
                values = file[name][...]
                if digest(values) != entry["sha256_le"]:
                    wrong.append(name)
    return wrong


def run(binary, path, folder, variables):
    job = {
        "job": {"name": "zoo", "output": str(folder / "out")},
        "data": {"inputs": [str(path)], "variables": variables, "open_limit_s": 20},
        "compress": {"error_bound": {"abs": 1e-300}},
        "decompress": {},
    }
    (folder / "job.yaml").write_text(json.dumps(job))
    command = [binary, "--config", str(folder / "job.yaml"), "--threads", "1", "--fresh"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return None, f"no end after {LIMIT_S} s"
    lines = [line for line in done.stderr.splitlines() if line.startswith("sci-hpc: ") or "panicked" in line]
    return done.returncode, (lines or ["no message"])[0].removeprefix("sci-hpc: ")


def judge(binary, path, oracle, folder):
    library, entries = expected(oracle)
    code, message = run(binary, path, folder, "all")
    if code == 3 and "holds no field" in message:
        arrays = [n.lstrip("/") for n, e in entries.items() if is_number(e) and e.get("shape") and e.get("n", 0) > 0]
        if not arrays:
            return ("nothing", message) if library else ("agree", message)
        code, message = run(binary, path, folder, arrays)
    if code == 0:
        if library is None:
            return "disagree", "read, though neither library does"
        wrong = differences(folder / "out/decompressed" / path.name, library, entries)
        return ("disagree", f"other values in {', '.join(wrong)}") if wrong else ("agree", "")
    if code == 3:
        return ("refuse", message) if library else ("agree", message)
    return "disagree", f"exit code {code}: {message}"


def main(zoo, binary):
    zoo = pathlib.Path(zoo).resolve()
    manifest = json.loads((zoo / "MANIFEST.json").read_text())
    count, isolated, told = collections.Counter(), collections.Counter(), []
    for name, entry in sorted(manifest.items()):
        with tempfile.TemporaryDirectory() as folder:
            try:
                verdict, message = judge(binary, zoo / name, entry["oracle"], pathlib.Path(folder))
            except Exception as error:  # a library of the oracle cannot read what came back
                verdict, message = "disagree", f"what comes back is not readable: {error!r}"
        print(f"{verdict:<9} {name}: {message}", file=sys.stderr, flush=True)
        kind = name.split("/")[0]
        count[kind, verdict] += 1
        isolated[kind] += "opening it" in message
        if verdict in ("refuse", "disagree"):
            message = message.replace(str(zoo / name), "").lstrip(": ").split("; expected")[0]
            told.append(f"| {name} | {verdict} | {message.replace('|', '/')} |")
    verdicts = ["agree", "nothing", "refuse", "disagree"]
    print("| files | all | " + " | ".join(verdicts) + " | crash or hang, isolated |\n|---|" + "---|" * 6)
    for kind in sorted({kind for kind, _ in count}):
        numbers = [count[kind, verdict] for verdict in verdicts]
        print(f"| {kind} | {sum(numbers)} | " + " | ".join(map(str, numbers)) + f" | {isolated[kind]} |")
    print("\n| file | verdict | what is said |\n|---|---|---|\n" + "\n".join(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
