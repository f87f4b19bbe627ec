"""How figures look, and how they become files."""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

INK, MUTED, GRID = "#1c2128", "#656d76", "#e4e7eb"
DARK = {INK: "#e6edf3", MUTED: "#9aa4af", GRID: "#353b43"}
"""What the inks become where the reader's screen is dark."""
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#3A3F45")
"""Okabe and Ito's colour-blind-safe colours, darkest first, without the yellow."""
WARN = "#B34700"
"""Of what must not be overlooked; legible on light and on dark."""
STEPS = [1, 2, 5, 10]
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)))
# the stubs of matplotlib list every key as a literal type, which differs between its versions
RC: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"], "font.size": 9.5, "text.parse_math": False,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": MUTED,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.8,
    "lines.linewidth": 1.8, "lines.markersize": 4.5, "lines.solid_capstyle": "round",
    "legend.frameon": False, "legend.handlelength": 2.4, "legend.labelspacing": 0.7,
    "svg.hashsalt": "alframe", "axes.unicode_minus": False,
}  # fmt: skip
Dash = str | tuple[float, tuple[float, ...]]


@dataclass(frozen=True)
class Picture:
    """A finished figure: the stem of its file names, what it shows, and its two forms."""

    name: str
    title: str
    png: bytes
    svg: str


@dataclass(frozen=True)
class Stroke:
    """How one group is drawn."""

    color: str
    marker: str
    dash: Dash


@contextmanager
def look() -> Iterator[None]:
    """Draws in the report's look; labels are plain text, never math (``$`` is a character)."""
    with mpl.rc_context(RC), warnings.catch_warnings():
        # names in scripts that the font lacks show as boxes here, and rightly in the tables
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def strokes(count: int) -> list[Stroke]:
    """Returns ``count`` strokes; colours repeat after seven, then with other dashes."""
    looks = zip(cycle(PALETTE), cycle(MARKERS), strict=False)
    return [
        Stroke(color, marker, DASHES[(i // len(PALETTE)) % len(DASHES)])
        for i, (color, marker) in enumerate(islice(looks, count))
    ]


def new_axes(title: str, subtitle: str, height: float = 3.7, warning: str = "") -> Axes:
    """Returns the axes of a new figure with a bold title and a quiet line below it.

    Args:
        title: What is shown.
        subtitle: How it was measured; long lines are wrapped.
        height: Of the figure, inches.
        warning: What must not be overlooked, such as too few seeds: a line of its own below.
    """
    axes = Figure(figsize=(6.6, height)).add_subplot()
    quiet = "\n".join(textwrap.fill(line, 96) for line in subtitle.splitlines())
    loud = textwrap.fill(warning, 90)
    lines = 0
    for text, color in ((loud, WARN), (quiet, MUTED)):
        if text:
            axes.annotate(
                text, (0, 1), (0, 10 + 12.5 * lines), xycoords="axes fraction",
                textcoords="offset points", color=color, fontsize=8.5, va="bottom",
                linespacing=1.35,
            )  # fmt: skip
            lines += text.count("\n") + 1
    axes.set_title(title, loc="left", fontweight="bold", fontsize=12, pad=14 + 12.5 * lines)
    return axes


def add_notes(axes: Axes, notes: Sequence[str], below: float = 42) -> None:
    """Writes what the reader must know, one line each, ``below`` points under the axes."""
    text = "\n".join(textwrap.fill(note, 76) for note in notes)
    axes.annotate(
        text, (0, 0), (0, -below), xycoords="axes fraction", textcoords="offset points",
        color=MUTED, fontsize=8.5, va="top", linespacing=1.4,
    )  # fmt: skip


def add_legend(axes: Axes) -> None:
    """Puts the legend beside the axes, where it can cover nothing, with each label once."""
    handles, labels = axes.get_legend_handles_labels()
    once = {textwrap.fill(label, 30): h for label, h in zip(labels, handles, strict=True)}
    axes.legend(
        once.values(), once.keys(), loc="upper left", bbox_to_anchor=(1.02, 1.02), borderaxespad=0
    )


def percent_axis(axes: Axes, label: str) -> None:
    """Shows the y axis in percent, with as many decimals as its ticks need."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0.0), min(high, 1.02))  # a wide interval may reach where no share can be
    digits = 0 if all(abs(100 * y - round(100 * y)) < 1e-6 for y in axes.get_yticks()) else 1
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.{digits}f} %"))
    axes.set_ylabel(label)


def seconds_axis(axes: Axes, label: str, longest: float) -> None:
    """Shows the x axis, which is in seconds, in the unit that suits the longest time."""
    unit, length = time_unit(longest)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / length:,.6g}"))
    # ticks at round numbers of the unit, not at round seconds
    ticks = mpl.ticker.MaxNLocator(7, steps=STEPS).tick_values(0, longest / length)
    axes.set_xlim(left=0)
    axes.set_xticks([tick * length for tick in ticks if tick * length <= longest])
    axes.set_xlabel(f"{label} ({unit})")


def count_axis(axes: Axes, label: str, *, log: bool = False) -> None:
    """Shows the x axis as counts of rows, by their logarithm on demand."""
    if log:
        _log_counts(axes)
        axes.set_xlabel(f"{label} (log scale)")
        return
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(7, integer=True, steps=STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.set_xlabel(label)


def _log_counts(axes: Axes) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    # within one decade 1, 2, 5 leave a tick or two: more of them there
    steps = (1, 2, 5) if high / low > 20 else (1, 1.5, 2, 3, 4, 5, 6, 8)
    axes.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=steps, numticks=20))
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.6g}"))


def time_unit(longest: float) -> tuple[str, float]:
    """Returns the name and the length in seconds of a unit for times up to ``longest``."""
    if longest < 180:
        return "seconds", 1.0
    return ("minutes", 60.0) if longest < 3 * 3600 else ("hours", 3600.0)


def render(name: str, title: str, axes: Axes) -> Picture:
    """Returns the figure of ``axes`` as PNG (200 dots per inch) and as SVG, both on their own."""
    figure = cast(Figure, axes.figure)
    png, svg = io.BytesIO(), io.StringIO()
    figure.savefig(png, format="png", dpi=200, bbox_inches="tight", pad_inches=0.15)
    plain = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(svg, format="svg", bbox_inches="tight", pad_inches=0.15, metadata=plain)
    return Picture(name, title, png.getvalue(), _only_svg(svg.getvalue()))


def for_page(svg: str) -> str:
    """Returns the SVG without a background and with inks that follow the reader's colour scheme."""
    svg = re.sub(r'(<g id="patch_[12]">\s*<path [^>]*?)fill: #ffffff', r"\1fill: none", svg)
    names = {INK: "--ink", MUTED: "--muted", GRID: "--grid"}
    for color, name in names.items():
        svg = svg.replace(color, f"var({name})")
    light = "".join(f"{name}:{color};" for color, name in names.items())
    dark = "".join(f"{name}:{DARK[color]};" for color, name in names.items())
    scheme = f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"
    return svg.replace("<defs>", f"<style>{scheme}</style><defs>", 1)


def _only_svg(text: str) -> str:
    """Drops the document type (an address) and comments (which repeat every label)."""
    return re.sub(r"<!--.*?-->\n?", "", text[text.index("<svg") :], flags=re.DOTALL)
