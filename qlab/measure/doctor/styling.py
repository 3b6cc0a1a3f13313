"""How the HTML report looks: light and dark on a screen, black on white in print."""

STYLE = """
:root { color-scheme: light dark; --ink: #1d2126; --soft: #5a626c; --paper: #fff; --panel: #f5f6f8; --line: #d9dde2;
  --good: #1e7a45; --bad: #a50f2b; --mark: #f0f2f4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #a3abb5; --paper: #16191d; --panel: #1f2329;
  --line: #363c45; --good: #4fc183; --bad: #f0768c; --mark: #262b32; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 3rem; max-width: 54rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0 0 .5rem; }
p, ul, pre { margin: .6rem 0; }
.banner { border-left: .35rem solid var(--bad); background: var(--panel); padding: .6rem 1.1rem;
  border-radius: 0 .4rem .4rem 0; }
.banner.healthy { border-color: var(--good); }
.banner p { margin: .35rem 0; }
.verdict { font-size: 1.1rem; font-weight: 600; }
dl { margin: .4rem 0; display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; }
dt { color: var(--soft); grid-column: 1; }
dd { margin: 0; grid-column: 2; }
article { border: 1px solid var(--line); border-radius: .4rem; padding: .8rem 1.1rem; margin: .8rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--line); }
.text { text-align: left; }
.number { text-align: right; white-space: nowrap; }
.marked td { background: var(--mark); font-weight: 600; }
.note, figcaption, footer { color: var(--soft); font-size: .87rem; }
pre { background: var(--panel); padding: .8rem 1rem; border-radius: .4rem; overflow-x: auto; overflow-wrap: normal;
  font: .87rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
figure { margin: 1.2rem 0; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; background: #fff;
  border: 1px solid var(--line); border-radius: .4rem; padding: .5rem; }
figcaption { margin-top: .3rem; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); }
@page { margin: 16mm 14mm; }
@media print {
  :root { color-scheme: light; --ink: #000; --soft: #444; --paper: #fff; --panel: #fff; --line: #bbb; --good: #1e7a45;
    --bad: #a50f2b; --mark: #fff; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .banner, pre { border: 1px solid var(--line); border-left-width: .35rem; }
  pre { border-left-width: 1px; white-space: pre-wrap; }
  h2, h3 { break-after: avoid; }
  .note, figcaption { break-before: avoid; }
  article, figure, tr, pre, .banner { break-inside: avoid; }
  figure { margin: .6rem 0; }
  img { max-height: 10cm; width: auto; max-width: 100%; margin: 0 auto; border: 0; padding: 0; }
}
"""
