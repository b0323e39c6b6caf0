"""The report's style sheet, for light and dark screens."""

__all__ = ["STYLE"]

STYLE = """
:root { color-scheme: light dark; --paper: #fcfcfb; --card: #ffffff; --ink: #1c1c1a;
  --muted: #6b6a64; --line: #e3e2dc; --s1: #2a6fc9; --s2: #d9661f; --s3: #9b9a93;
  --good: #16794a; --bad: #c0322b; }
@media (prefers-color-scheme: dark) { :root { --paper: #161614; --card: #1f1f1c; --ink: #ecebe4;
  --muted: #a3a29a; --line: #383832; --s1: #6ea8ee; --s2: #ef9457; --s3: #7f7e77;
  --good: #56c08a; --bad: #f07f77; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 800px; margin: 0 auto; padding: 28px 16px 60px; }
h1 { font-size: 26px; margin: 0 0 6px; } h2 { font-size: 18px; margin: 0 0 10px; }
h3 { font-size: 15px; margin: 14px 0 4px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 16px 18px; margin: 14px 0; }
.muted, .tick { color: var(--muted); fill: var(--muted); } .muted { font-size: 13px; }
.verdict { font-weight: 600; margin: 4px 0; } .good { color: var(--good); }
.bad { color: var(--bad); } ul:empty { display: none; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 14px; }
.tile b { display: block; font-size: 24px; font-variant-numeric: tabular-nums; }
.tile span { color: var(--muted); font-size: 13px; }
svg { width: 100%; height: auto; display: block; }
.grid { stroke: var(--line); } .axis { stroke: var(--muted); }
.rule { stroke: var(--muted); stroke-dasharray: 4 4; }
.tick { font-size: 11px; } .end { text-anchor: end; } .middle { text-anchor: middle; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.line.s1 { stroke: var(--s1); } .line.s2 { stroke: var(--s2); } .line.s3 { stroke: var(--s3); }
.bar.s1 { fill: var(--s1); } .buy { fill: var(--good); } .sell { fill: var(--bad); }
.legend { display: flex; gap: 18px; font-size: 13px; color: var(--muted); margin: 4px 0 0; }
.key { display: inline-block; width: 12px; height: 3px; margin-right: 6px;
  vertical-align: middle; }
.key.s1 { background: var(--s1); } .key.s2 { background: var(--s2); }
.key.s3 { background: var(--s3); } .buy-key { color: var(--good); } .sell-key {
  color: var(--bad); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; color: var(--muted); font-size: 13px; }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.share { background: var(--line); border-radius: 3px; min-width: 120px; }
.share i { display: block; height: 9px; border-radius: 3px; background: var(--s1); }
pre { overflow-x: auto; font-size: 12px; }
"""
