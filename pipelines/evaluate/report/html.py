"""A report as one HTML file that needs nothing else: no request, no script; all that comes from outside is escaped."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

STYLE = """
:root{color-scheme:light}
body{font:16px/1.55 Charter,Georgia,'Times New Roman',serif;max-width:66rem;margin:2.5rem auto 5rem;padding:0 1.25rem;
color:#1d2327;background:#fff}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .3rem;font-weight:600}
h2{font-size:1.25rem;margin:2.6rem 0 .6rem;font-weight:600;border-bottom:1px solid #e3e6e8;padding-bottom:.25rem}
h3{font-size:1rem;margin:1.4rem 0 .4rem;font-weight:600}
p,li{max-width:46rem}
table,nav,.verdict,code,pre,small,.tag,figcaption{font-family:system-ui,-apple-system,'Segoe UI',sans-serif}
table{border-collapse:collapse;margin:.6rem 0 1.2rem;font-size:.875rem}
th,td{padding:.35rem .8rem .35rem 0;border-bottom:1px solid #e9ecee;text-align:left;vertical-align:top}
th{font-weight:600;color:#5c666d;white-space:nowrap}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
tr.best{background:#fbeff1;font-weight:600}tr.bad td{background:#fdf1ee}
.wide{overflow-x:auto}
img{max-width:100%;height:auto}figure{margin:0 0 1rem}figcaption,small{color:#5c666d;font-size:.82rem}
.verdict{font-size:1.1rem;padding:.8rem 1.1rem;margin:1rem 0;border-left:5px solid #117733;background:#eff6f1;
border-radius:0 4px 4px 0}
.verdict.fail{border-color:#c4421a;background:#fdf1ee}
.verdict.open{border-color:#5c666d;background:#f3f5f6}
.warn{background:#fdf6e7;border-left:5px solid #c98a00;padding:.5rem 1rem;border-radius:0 4px 4px 0}
.tag{display:inline-block;min-width:3.4em;text-align:center;font-size:.75rem;font-weight:700;border-radius:3px;
padding:.05rem .45rem;color:#fff;background:#8a949b}.tag.pass{background:#117733}.tag.fail{background:#c4421a}
nav{font-size:.85rem;margin:.6rem 0 0}nav a{color:#33597a;margin-right:1.1rem;text-decoration:none;display:inline-block}
pre,code{font:.82rem/1.5 ui-monospace,'SFMono-Regular',Menlo,Consolas,monospace}
pre{background:#f5f7f8;padding:.8rem 1rem;border-radius:4px;overflow-x:auto}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(19rem,1fr));gap:1.5rem}
.shots{display:flex;gap:4px;align-items:center;flex-wrap:wrap;margin:.15rem 0}
.shots img{width:52px;height:52px;object-fit:contain;border:2px solid #ccc;border-radius:3px;image-rendering:pixelated}
.shots img.yes{border-color:#009e73}.shots img.no{border:2px dashed #d55e00}.shots .gap{width:14px}
.shots b{font:600 .8rem system-ui,sans-serif;width:6.5rem;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
@media print{body{margin:0;max-width:none}h2{break-after:avoid}}
"""


def html(title: str, parts: Iterable[str]) -> str:
    """The page; `parts` are HTML already."""
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
    view = '<meta name="viewport" content="width=device-width,initial-scale=1">'
    return f"{head}{view}<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</html>\n"


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numeric: Sequence[int] = (),
    marked: Mapping[int, str] | None = None,
    markup: Sequence[int] = (),
) -> str:
    """A table of text.

    Args:
        header: all empty: the table has no line of titles.
        numeric: columns that line up on the right.
        marked: row -> class of its line, e.g. `best`.
        markup: columns whose cells are HTML already; all others are escaped.
    """

    def line(cells: Sequence[str], tag: str, row: str = "") -> str:
        made = []
        for i, cell in enumerate(cells):
            text = cell if tag == "td" and i in markup else escape(cell)
            made.append(f"<{tag}{' class=n' if i in numeric else ''}>{text}</{tag}>")
        return f"<tr{row}>{''.join(made)}</tr>"

    marks = {index: f' class="{escape(name)}"' for index, name in (marked or {}).items()}
    body = (line(cells, "td", marks.get(index, "")) for index, cells in enumerate(rows))
    head = line(header, "th") if any(header) else ""
    return f'<div class="wide"><table>{head}{"".join(body)}</table></div>'


def paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{escape(kind)}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def image(png: bytes, alt: str, kind: str = "") -> str:
    data = base64.b64encode(png).decode()
    mark = f' class="{escape(kind)}"' if kind else ""
    return f'<img{mark} alt="{escape(alt)}" title="{escape(alt)}" src="data:image/png;base64,{data}">'
