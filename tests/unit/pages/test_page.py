"""Whole pages and tables."""

from pipeline.pages.page import page, table, tiles


def test_what_is_said_is_no_html() -> None:
    """Titles, headings, cells and figures are escaped; only one column may be HTML."""
    text = page("<t>", "<p>head</p>", [("<h>", table(("<a>", "b"), [("<c>", "<i></i>")], raw=1))])
    text += tiles([("<name>", "<value>")])
    for part in (
        "&lt;t&gt;",
        "&lt;h&gt;",
        "&lt;a&gt;",
        "&lt;c&gt;",
        "&lt;name&gt;",
        "&lt;value&gt;",
    ):
        assert part in text
    assert "<td><i></i></td>" in text


def test_a_section_without_a_heading_has_none() -> None:
    """Figures on top need no word."""
    assert "<h2>" not in page("t", "", [("", "figures")])
