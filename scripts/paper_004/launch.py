"""How the scripts find and start the program."""

import os
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def build():
    """Builds the program as scripts/run does."""
    subprocess.run(["bash", "-c", ". scripts/setup && cargo build --release"], cwd=ROOT, check=True)
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "sci-hpc"


def launcher(ranks):
    """How ranks are started here: inside of an allocation by srun, else by mpirun."""
    if "SLURM_JOB_ID" in os.environ and shutil.which("srun"):
        return ["srun", "-n", str(ranks)]
    if ranks == 1:
        return []
    version = subprocess.run(["mpirun", "--version"], capture_output=True, text=True).stdout
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return ["mpirun", *(["--oversubscribe", "--bind-to", "none", *root] if "Open MPI" in version else []), "-n", str(ranks)]
