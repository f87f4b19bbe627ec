"""One page that holds everything: no script, no outside file, nothing unescaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from alframe.report.style import Picture, for_page
from alframe.report.words import TextTable

CSS = """
:root { color-scheme: light dark; --ink: #1c2128; --muted: #656d76; --line: #dfe3e8;
  --ground: #ffffff; --panel: #f6f8fa; --accent: #0072b2; --warn: #9a5b00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --muted: #9aa4af; --line: #353b43;
  --ground: #14181d; --panel: #1c2128; --accent: #58b0e8; --warn: #f0b44c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 2rem 1.25rem 4rem; color: var(--ink);
  background: var(--ground); font: 16px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; }
p { max-width: 48rem; margin: .4rem 0; }
.quiet, figcaption { color: var(--muted); font-size: .9rem; }
.notes { margin: 1.2rem 0; padding: .7rem 1rem .7rem 2rem; background: var(--panel);
  border-left: 4px solid var(--warn); border-radius: 4px; }
.scroll { overflow-x: auto; margin: .6rem 0; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { padding: .42rem .8rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
td { min-width: 4rem; max-width: 22rem; overflow-wrap: break-word; }
th { background: var(--panel); white-space: nowrap; font-weight: 600; }
tr:last-child td { border-bottom: 0; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1rem 0 1.8rem; }
figure img { display: block; width: 100%; max-width: 54rem; height: auto; }
summary { cursor: pointer; color: var(--accent); margin: .6rem 0; }
@media print { body { max-width: none; } figure { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Section:
    """A part of the page: a heading, words, figures, and a table that may start folded."""

    title: str
    text: str = ""
    pictures: Sequence[Picture] = ()
    table: TextTable | None = None
    folded: bool = False


def page(title: str, summary: Sequence[str], notes: Sequence[str], body: Sequence[Section]) -> str:
    """Returns the page.

    Args:
        title: The heading.
        summary: Plain lines below it.
        notes: What must not be overlooked, such as unfinished runs.
        body: The sections, in order.
    """
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>",
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="quiet">{escape(line)}</p>' for line in summary),
        f'<ul class="notes">{items}</ul>' if items else "",
        *(_section(section) for section in body),
        "</main>\n</body>\n</html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{escape(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{escape(section.text)}</p>")
    parts += [_figure(picture) for picture in section.pictures]
    if section.table is not None and section.folded:
        rows = len(section.table.rows)
        parts.append(
            f"<details><summary>Show {rows} rows</summary>{_table(section.table)}</details>"
        )
    elif section.table is not None:
        parts.append(_table(section.table))
    return "\n".join([*parts, "</section>"])


def _figure(picture: Picture) -> str:
    """An image of its own: its style sheet follows the colour scheme, its ids clash with none."""
    data = base64.b64encode(for_page(picture.svg).encode()).decode()
    title = escape(picture.title)
    return (
        f'<figure><img alt="{title}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{title} ({picture.name}.svg, {picture.name}.png)</figcaption></figure>"
    )


def _table(table: TextTable) -> str:
    kinds = [' class="number"' if numeric else "" for numeric in table.numeric]
    head = "".join(
        f'<th scope="col"{kind}>{escape(name)}</th>'
        for kind, name in zip(kinds, table.columns, strict=True)
    )
    rows = "\n".join(
        "<tr>"
        + "".join(f"<td{k}>{escape(cell)}</td>" for k, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in table.rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{rows}</tbody></table></div>"
    )
