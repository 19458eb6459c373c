"""Figures as SVG, numbered as in the paper. Each function: its title and caption, and the drawing."""

import html
import json
import math

from .published import COUNT_MODES, FRACTIONS, JITTERS

COLORS = ["#1f5fa8", "#d1602a", "#3a8f4d", "#8e4fa3", "#b8860b", "#17888f", "#c23b5e", "#6b6b6b", "#7a9a01", "#40407a"]


class Scale:
    """Values to pixels, with round ticks."""

    def __init__(self, values, log, low, high):
        values = [math.log10(v) if log else v for v in values if not log or v > 0]
        self.a, self.b = min(values, default=0), max(values, default=1)
        margin = 0.05 * (self.b - self.a) or 0.5
        self.a, self.b, self.log, self.low, self.high = self.a - margin, self.b + margin, log, low, high

    def __call__(self, value):
        value = math.log10(value) if self.log else value
        return self.low + (value - self.a) / (self.b - self.a) * (self.high - self.low)

    def ticks(self):
        decades = self.b - self.a
        if self.log and decades > 0.7:
            of_decade = (1,) if decades > 3 else (1, 2, 5)
            at = (k * 10.0**e for e in range(math.floor(self.a), math.ceil(self.b)) for k in of_decade)
            return [t for t in at if self.a <= math.log10(t) <= self.b]
        low, high = (10**self.a, 10**self.b) if self.log else (self.a, self.b)
        step = 10 ** math.floor(math.log10((high - low) / 2))
        step *= next(k for k in (1, 2, 5, 10) if (high - low) / (k * step) <= 7)
        return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def plot(x_label, y_label, series, x_log=False, y_log=False):
    """Curves (`line`), points (`dots`) and levels (`level`: the value of y of one point): [(name, points, style)]."""
    series = [(name, [p for p in points if p[1] is not None and math.isfinite(p[1])], style) for name, points, style in series]
    x = Scale([p[0] for _, points, style in series if style != "level" for p in points], x_log, 70, 560)
    y = Scale([p[1] for _, points, _ in series for p in points], y_log, 320, 20)
    out = ['<svg viewBox="0 0 800 370" width="800" font-family="sans-serif" font-size="12">']
    for t in x.ticks():
        out.append(f'<path d="M{x(t):.1f} 20V320" stroke="#ddd"/><text x="{x(t):.1f}" y="336" text-anchor="middle">{t:.6g}</text>')
    for t in y.ticks():
        out.append(f'<path d="M70 {y(t):.1f}H560" stroke="#ddd"/><text x="64" y="{y(t) + 4:.1f}" text-anchor="end">{t:.6g}</text>')
    out.append(f'<text x="315" y="360" text-anchor="middle">{html.escape(x_label)}</text>')
    out.append(f'<text transform="translate(16 170) rotate(-90)" text-anchor="middle">{html.escape(y_label)}</text>')
    for i, (name, points, style) in enumerate(series):
        color = COLORS[i % len(COLORS)]
        places = [(70 if style == "level" else x(p[0]), y(p[1])) for p in points]
        path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in places) + ("H560" if style == "level" else "")
        if points and style != "dots":
            dash = ' stroke-dasharray="6 4"' if style == "level" else ""
            out.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.6"{dash}/>')
        if style != "level" and (style == "dots" or len(points) < 30):
            out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.2" fill="{color}"/>' for a, b in places]
        out.append(f'<rect x="574" y="{18 + 17 * i}" width="12" height="5" fill="{color}"/>')
        out.append(f'<text x="592" y="{25 + 17 * i}">{html.escape(name)}</text>')
    return "\n".join([*out, "</svg>"])


def picture(panel):
    """A slice of a field as the job's own figure holds it: rows from the lowest y up."""
    columns, values = panel["columns"], panel["values"]
    shown = [v for v in values if v is not None]
    low, high = panel["range"] or (min(shown, default=0), max(shown, default=0))
    bound = max(abs(low), abs(high)) or 1

    def color(value):
        """White to blue; of differences, blue below zero and red above."""
        t = value / bound if panel["diverging"] else (low - value) / ((high - low) or 1)
        pale = 255 - int(215 * min(1, abs(t)))
        return f"rgb(255,{pale},{pale})" if t > 0 else f"rgb({pale},{pale},255)"

    size = 300 / columns
    rows = len(values) // columns
    out = [f'<svg viewBox="0 0 320 {rows * size + 30:.0f}" width="320" font-family="sans-serif" font-size="12">']
    out.append(f'<text x="0" y="14">{html.escape(panel["name"])}: {low:.3g} to {high:.3g} {html.escape(panel["unit"])}</text>')
    for i, value in enumerate(values):
        if value is not None:
            at = f'x="{i % columns * size:.2f}" y="{20 + (rows - 1 - i // columns) * size:.2f}"'
            out.append(f'<rect {at} width="{size + 0.1:.2f}" height="{size + 0.1:.2f}" fill="{color(value)}"/>')
    return "\n".join([*out, "</svg>"])


def curves(s, names):
    return plot("epoch", "loss per validation sample", [(name, s.curves(name), "line") for name in names], y_log=True)


def figure_5(s):
    """Figure 5, without L1 fine-tuning: loss per validation sample, a normalized field, while training."""
    names = [r["config"] for r in s.plain()]
    return curves(s, names) if names else ""


def against(s, modes):
    learned, classical = s.model("tucodec-next-prelu"), s.tsvd(modes, "all")
    a, b = s.states(learned), s.states(classical)
    name = "no truncation" if modes == "full" else f"TSVD, {modes} modes"
    both = plot("test state", "DA MSE", [("tucodec-next-prelu", a, "line"), (name, b, "line")])
    gains = [(sample, there - here) for (sample, here), (_, there) in zip(a, b)]
    wins = sum(gain > 0 for _, gain in gains)
    zero = ("0", [(0, 0)], "level")
    return both + plot("test state", f"gain over {name}", [(f"better in {wins} of {len(gains)}", gains, "line"), zero])


def figure_6(s):
    """Figure 6: error by test state, Tucodec-NeXt against TSVD with 32 modes and everything observed; below, the difference."""
    return against(s, 32)


def figure_7(s):
    """Figure 7: number of modes against error and online time; Tucodec-NeXt is the level."""
    out = ""
    for key, label in (("da_mse", "DA MSE"), ("online_s", "online s")):
        forms = [(f"{c} observed, {form}", c, form) for c in FRACTIONS[:3] for form in ("published", "fair")]
        forms = forms if key == "online_s" else [f for f in forms if f[2] == "published"]
        series = [(name, [(m, r[key]) for m, r in s.modes(c, form)], "line") for name, c, form in forms]
        series.append(("tucodec-next-prelu", [(1, s.model("tucodec-next-prelu")[key])], "level"))
        out += plot("modes", label, [c for c in series if c[1]], x_log=True, y_log=key == "online_s")
    return out


def figure_8(s):
    """Figure 8: number of observations against error and online time, S-dimensional form; Tucodec-NeXt is the level."""
    out = ""
    for key, label in (("da_mse", "DA MSE"), ("online_s", "online s")):
        series = [(f"{m} modes" if m != "full" else "no truncation", [(n, r[key]) for n, r in s.counts(m)], "line")
                  for m in (*COUNT_MODES, "full")]  # fmt: skip
        series.append(("tucodec-next-prelu", [(1, s.model("tucodec-next-prelu")[key])], "level"))
        out += plot("observations", label, [c for c in series if c[1]], x_log=True, y_log=key == "online_s")
    return out


def figure_9(s):
    """Figure 9: error against online time (without the encoder) of everything that was run."""

    def points(rows):
        return [(r["online_s"], r["da_mse"]) for r in rows]

    published = [r for r in s.classical if r["form"] != "fair" and r["minimizer"] == "lbfgs"]
    fair = [r for r in s.classical if r["form"] == "fair" and r["minimizer"] == "closed-form"]
    series = [("TSVD, S-dimensional", points(published), "dots"), ("TSVD, fair, closed form", points(fair), "dots")]
    series += [(r["config"], points([r]), "dots") for r in s.models]
    series = [one for one in series if one[1]]
    return plot("online s", "DA MSE", series, x_log=True, y_log=True) if series else ""


def figure_17(s):
    """Figure 17: as figure 5, Tucodec-NeXt with field jitter of strength 0 to 3."""
    return curves(s, [s.model(name)["config"] for name in JITTERS])


def figure_18(s):
    """Figure 18, of the first test state: middle plane of the analysis and its error, TSVD with 32 modes, then Tucodec-NeXt."""
    out = ""
    for row in (s.tsvd(32, "all"), s.model("tucodec-next-prelu")):
        for path in sorted((s.sweep.output / row["config"] / "figures").glob("*-fields.json")):
            panels = json.loads(path.read_text())["slices"]["panels"]
            at = next(i for i, panel in enumerate(panels) if panel["name"] == f"{row['method']}, analysis")
            out += "".join(map(picture, panels[at : at + 2]))  # the analysis, and it minus the truth
    return out


def figure_19(s):
    """Figure 19: as figure 6, without truncation."""
    return against(s, "full")


FIGURES = [figure_5, figure_6, figure_7, figure_8, figure_9, figure_17, figure_18, figure_19]
