"""A whole page, and tables."""

from collections.abc import Iterable, Sequence
from html import escape

from pipeline.pages.style import STYLE

__all__ = ["page", "table", "tiles"]


def page(title: str, head: str, sections: Iterable[tuple[str, str]], more_style: str = "") -> str:
    """Return a whole HTML page.

    Args:
        title: Its title.
        head: HTML that stands below the title.
        sections: (heading, HTML) of each section; without a heading where that is empty.
        more_style: Style sheet beside the common one.
    """
    body = "".join(
        f"<section>{f'<h2>{escape(name)}</h2>' if name else ''}{content}</section>"
        for name, content in sections
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{more_style}</style></head><body><main>"
        f"<h1>{escape(title)}</h1>{head}{body}</main></body></html>\n"
    )


def tiles(figures: Iterable[tuple[str, str]]) -> str:
    """Return (name, value) pairs as tiles."""
    cells = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in figures
    )
    return f'<div class="tiles">{cells}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], raw: int | None = None) -> str:
    """Return a table; column `raw` is HTML already."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join(
        "<tr>"
        + "".join(
            f"<td>{cell if index == raw else escape(cell)}</td>" for index, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{cells}</tr>{lines}</table></div>'
