"""The style sheet of the HTML report: light and dark, from phones to wide screens, and print."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --wash: #f6f7f8; --ink: #15191e; --soft: #59636e; --line: #e2e5e9; --strong: #15191e;
  --accent: #0a5fb4; --mark: #e8f1fb;
  --s0: #b9bfc7; --s1: #d9a441; --s2: #7fb2d9; --s3: #5aa489; --s4: #b88bb0; --s5: #c8785a; --s6: #8a93a0; --s7:
  #a5a35b;
  --sans: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans",
  Arial, sans-serif;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "Liberation Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --wash: #1c2026; --ink: #e8ebef; --soft: #9aa5b1; --line: #2d333b; --strong: #e8ebef;
    --accent: #6cb2f5; --mark: #1b3350;
    --s0: #626b76; --s1: #b78a34; --s2: #3f78a6; --s3: #47866f; --s4: #8f6a89; --s5: #a3613f; --s6: #7d8794;
    --s7: #86843f;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 var(--sans); }
.page { max-width: 1140px; margin: 0 auto; padding: 0 clamp(16px, 4vw, 40px) 96px; }
header { padding: clamp(40px, 8vw, 88px) 0 8px; }
.kicker { margin: 0 0 14px; color: var(--accent); font: 600 13px/1 var(--mono); letter-spacing: .02em; }
h1 {
  margin: 0; max-width: 22ch; font-size: clamp(30px, 5vw, 48px); line-height: 1.1; letter-spacing: -.025em;
  font-weight: 680; text-wrap: balance;
}
.intro { max-width: 66ch; margin: 20px 0 0; color: var(--soft); font-size: 18px; }
nav {
  display: flex; flex-wrap: wrap; gap: 4px 22px; margin-top: 28px; padding-top: 14px; border-top: 1px solid
  var(--line); font-size: 14px;
}
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
a:focus-visible, [tabindex]:focus-visible {
  outline: 2px solid var(--accent); outline-offset: 3px; border-radius: 2px;
}
section { margin-top: clamp(48px, 7vw, 80px); }
h2 { margin: 0 0 4px; font-size: 25px; letter-spacing: -.015em; line-height: 1.2; }
h3 { margin: 0; font-size: 16px; letter-spacing: -.005em; }
.note { max-width: 72ch; margin: 4px 0 0; color: var(--soft); font-size: 14.5px; }

.figures {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 28px; margin: 40px 0 0;
  padding: 0;
}
.figures div { border-top: 2px solid var(--strong); padding-top: 12px; }
.figures dt { color: var(--soft); font-size: 14px; }
.figures dd { margin: 0; }
.figures .value {
  font-size: 40px; font-weight: 650; letter-spacing: -.03em; line-height: 1.15; font-variant-numeric:
  tabular-nums;
}
.figures .small { color: var(--soft); font-size: 13.5px; }

.tables {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 40px 48px;
  margin-top: 24px;
}
.tables > .wide { grid-column: 1 / -1; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: 14.5px; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 620; padding-bottom: 10px; }
th, td { padding: 6px 8px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-weight: 500; color: var(--soft); }
thead th { border-bottom: 1.5px solid var(--strong); vertical-align: bottom; font-size: 13px; white-space: normal; }
th:first-child { position: sticky; left: 0; background: var(--paper); text-align: left; padding-left: 0; }
tbody th { color: var(--ink); white-space: nowrap; }
td.best { font-weight: 680; color: var(--accent); }
tr.sum > * { border-top: 2px solid var(--strong); border-bottom: 0; font-weight: 620; }
tr.sum + tr.sum > * { border-top: 0; }
th.sum, td.sum { background: var(--wash); }

.figure { margin: 28px 0 0; }
.figure figcaption { margin-bottom: 10px; }
.chart { display: block; width: 100%; min-width: 700px; height: auto; font-family: var(--sans); }
.slim { max-width: 860px; min-width: 420px; }
.chart text { fill: var(--soft); font-size: 12.5px; }
.chart .name { fill: var(--ink); font-size: 13px; }
.chart .grid { stroke: var(--line); }
.chart .axis { stroke: var(--strong); stroke-width: 1.2; }
.chart .whisker { stroke: var(--ink); stroke-opacity: .75; stroke-width: 1.3; }
.s0 { --c: var(--s0); } .s1 { --c: var(--s1); } .s2 { --c: var(--s2); } .s3 { --c: var(--s3); }
.s4 { --c: var(--s4); } .s5 { --c: var(--s5); } .s6 { --c: var(--s6); } .s7 { --c: var(--s7); }
.s-main { --c: var(--accent); }
.chart rect, .chart circle { fill: var(--c); }
.chart .line { fill: none; stroke: var(--c); stroke-width: 2.2; stroke-linejoin: round; }
.chart .line.s-main { stroke-width: 3.2; }
.legend {
  display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 8px 0 0; padding: 0; list-style: none; font-size:
  13.5px; color: var(--soft);
}
.swatch { display: inline-block; width: 11px; height: 11px; margin-right: 7px; border-radius: 2px; }
.swatch { background: var(--c); }

.group { margin-top: 36px; }
.case { margin-top: 14px; padding: 18px 0 22px; border-top: 1px solid var(--line); }
.case .head { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 14px; margin-bottom: 12px; }
.group > h3 { margin-bottom: 4px; font-size: 19px; }
.group > .note { margin-bottom: 10px; }
h4 { margin: 0; font-size: 16px; }
.case .head h4::first-letter { text-transform: uppercase; }
.case .head p { margin: 0; color: var(--soft); font-size: 14px; font-variant-numeric: tabular-nums; }
.panels { display: grid; grid-template-columns: repeat(var(--panels), minmax(0, 1fr)); gap: 12px; }
.panel { margin: 0; }
.panel img { display: block; width: 100%; height: auto; border-radius: 5px; background: var(--wash); }
.panel figcaption {
  display: flex; justify-content: space-between; gap: 8px; margin-top: 7px; font-size: 13px; color: var(--soft);
}
.panel b { color: var(--ink); font-weight: 620; font-variant-numeric: tabular-nums; }
@media (max-width: 720px) { .panels { grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); } }

.facts {
  display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 8px 28px; margin: 20px 0 0; font-size:
  14.5px;
}
.facts dt { color: var(--soft); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.facts .formula { font-family: var(--mono); font-size: 13px; }
@media (max-width: 560px) { .facts { grid-template-columns: 1fr; gap: 0; } .facts dd { margin-bottom: 12px; } }
@media print {
  nav { display: none; }
  .case, .figure, .tables > * { break-inside: avoid; }
  .chart { min-width: 0; }
}
""".strip()
