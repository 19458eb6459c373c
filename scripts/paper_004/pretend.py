"""For test.py: what sci-hpc does with `--config FILE --set KEY=VALUE ... [--print-config | --dry-run]`, as far as a sweep sees."""

import json
import pathlib
import re
import sys


def main(arguments):
    text = pathlib.Path(arguments[arguments.index("--config") + 1]).read_text()
    for key, value in (arguments[i + 1].split("=", 1) for i, word in enumerate(arguments) if word == "--set"):
        section, name = key.split(".", 1)
        nested = value.replace("{count:", "\n    count:").rstrip("}") if name == "observations" else f" {value}"
        body = re.search(rf"^{section}:\n((?:  .*\n)*)", text, re.M)
        kept = re.sub(rf"^  {re.escape(name)}:.*\n(?:    .*\n)*", "", body[1], flags=re.M)
        text = text[: body.start(1)] + f"  {name}:{nested}\n" + kept + text[body.end(1) :]
    if "--print-config" in arguments:
        return print(text, end="")
    if "--dry-run" in arguments:
        return print("  296553 parameters\nassimilate u: 1000 unknowns, 40 training states, 10 to find")
    return job(text)


def job(text):
    """Runs one: the ReLU network diverges; a file `stop` is a signal."""
    name, output = (re.search(rf"^  {key}: (.*)$", text, re.M)[1] for key in ("name", "output"))
    folder = pathlib.Path(output)
    (folder / "assimilation").mkdir(parents=True, exist_ok=True)
    (folder / "config.resolved.yaml").write_text(text)
    with open("calls", "a") as calls:
        calls.write(f"{name}\n")
    if pathlib.Path("stop").exists() and name == "backbone-prelu":
        sys.exit(75)
    if "activation: relu" in text:
        sys.exit(4)
    count = re.search(r"count: ([\w.]+)", text)
    methods = re.findall(r"{name: (tsvd|full)(?:, modes: (\d+))?(?:, form: (fair))?}", text) or [("bi-reduced", "", "")]
    scores = [score(*method, count[1] if count else "all") for method in methods]
    train = {"params": 10, "epochs": 2, "seconds": 1.0, "loss_train": 3.0, "loss_valid": 4.0} if "\ntrain:" in text else {}
    (folder / "metrics.json").write_text(json.dumps({"train": train, "assimilate": {"states": 2, "methods": scores}}))
    epochs = [{"event": "epoch", "epoch": n, "loss_valid": 4.0, "loss_train": 4.0 - n} for n in (1, 2)]
    (folder / "events.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
    states = "".join(f"{s['label']},{i},{s['da_mse']}\n" for s in scores for i in (40, 41))
    (folder / "assimilation/states.csv").write_text(f"method,sample,da\n{states}")
    (folder / "assimilation/full.nc").touch()
    (folder / "state.json").write_text('{"finished": ["generate", "train", "assimilate"]}')


def score(name, modes, form, count):
    """Error falls with modes and observations; time grows with observations."""
    observed = 1000 if count == "all" else float(count) * (1 if "." not in count else 1000)
    error = 0.08 if name == "bi-reduced" else 0.1 + 0.3 / int(modes or 40) + 1 / observed
    label = name + (f"-{modes}" if modes else "") + ("-fair" if form else "")
    return {"label": label, "modes": int(modes) if modes else None, "form": form or ("published" if modes else None),
            "da_mse": error, "ref_mse": 1.0, "online_s_median": 1e-4 * observed, "encode_s_median": 0.01,
            "decode_s_median": None, "latent": 8}  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
