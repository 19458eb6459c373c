"""results.csv, tables.md and report.html of a sweep."""

import csv
import html

from .figures import FIGURES
from .scores import COLUMNS, NotRun, Scores
from .tables import tables


def markdown(table):
    lines = [f"## {table.title}", "", *([table.note, ""] if table.note else [])]
    lines += [f"| {' | '.join(cells)} |" for cells in (table.header, ["---"] * len(table.header), *table.rows)]
    return "\n".join(lines) + "\n"


def hypertext(table):
    def cells(row, tag):
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in row) + "</tr>"

    rows = "\n".join(cells(row, "td") for row in table.rows)
    head = f"<h2>{html.escape(table.title)}</h2><p>{html.escape(table.note)}</p>"
    return f"{head}<table>{cells(table.header, 'th')}{rows}</table>"


def drawn(figure, scores):
    title, _, caption = figure.__doc__.partition(": ")
    try:
        body = figure(scores)
    except NotRun as missing:
        body = f"<p>not run: needs {html.escape(str(missing))}</p>"
    return f"<h2>{html.escape(title)}</h2><p>{html.escape(caption)}</p>{body}"


STYLE = "body{font:14px sans-serif;margin:2em;max-width:1200px}table{border-collapse:collapse}td,th{border:1px solid #ccc;" \
        "padding:2px 8px;text-align:left}th{background:#f2f2f2}svg{vertical-align:top}"  # fmt: skip


def replace(path, text):
    partial = path.with_suffix(path.suffix + ".tmp")
    partial.write_text(text)
    partial.replace(path)


def write_results(sweep):
    """Everything that follows from the configurations that are finished."""
    scores = Scores(sweep)
    with open(sweep.output / "results.csv", "w", newline="") as file:
        rows = csv.DictWriter(file, COLUMNS)
        rows.writeheader()
        rows.writerows(scores.rows)
    planned = sum(kind != "flow" for _, kind, _, _ in sweep.plan())
    done = len({row["config"] for row in scores.rows})
    head = f"{done} of {planned} configurations. {sweep.unknowns} unknowns, {sweep.training} training states, {sweep.tested} test " \
           f"states, {sweep.epochs:.0f} epochs; {sweep.inputs}."  # fmt: skip
    all_tables = tables(scores)
    replace(sweep.output / "tables.md", f"{head}\n\n" + "\n".join(map(markdown, all_tables)))
    body = "".join(map(hypertext, all_tables)) + "".join(drawn(f, scores) for f in FIGURES)
    title = "Autoencoders against truncated SVD in 3D-Var"
    page = f'<!doctype html><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style><h1>{title}</h1><p>{head}</p>'
    replace(sweep.output / "report.html", page + body)
