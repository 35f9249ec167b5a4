// The style sheet, and the frame around a body: see html_page.h. Classes of charts: svg_chart.h.
#include "audit/html_page.h"

#include <string_view>

#include <fmt/format.h>

#include "audit/svg_chart.h"

namespace jericho {
namespace {

constexpr std::string_view kStyle = R"CSS(
:root{color-scheme:light dark;--bg:#fbfaf7;--card:#fff;--ink:#1c1d20;--soft:#5d6068;--line:#dcd9d2;--accent:#8a3b12;
--c0:#1f6fb4;--c1:#c4541b;--c2:#2b8a57;--c3:#8453b5;--c4:#b8870b;--c5:#0f8a8a;--c6:#b83a68;--c7:#6b7280;--bad:#b3261e;--good:#1d7a45}
@media(prefers-color-scheme:dark){:root{--bg:#15171b;--card:#1d2026;--ink:#e8e6e1;--soft:#a3a7b0;--line:#363b45;--accent:#f0a36b;
--c0:#6bb0ee;--c1:#f08c55;--c2:#62c791;--c3:#bb93e8;--c4:#e3bd4d;--c5:#55c9c9;--c6:#ee84a9;--c7:#9aa2b1;--bad:#ff8a80;--good:#6fd79b}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 20px 56px}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:36px 0 10px}
h3{font-size:1rem;margin:18px 0 6px}
p{margin:6px 0}.soft{color:var(--soft)}
.verdict{font-size:1.1rem;border-left:4px solid var(--accent);padding:6px 12px;margin:16px 0;background:var(--card)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:16px 0;padding:0;list-style:none}
.tiles li{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:10px 12px}
.tiles b{display:block;font-size:1.15rem;font-variant-numeric:tabular-nums}
.tiles span{color:var(--soft);font-size:.85rem}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:16px}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px}
figcaption{font-weight:600;margin-bottom:6px}
svg{display:block;width:100%;height:auto}
.grid{stroke:var(--line);stroke-width:1;fill:none}
.tick,.axis{fill:var(--soft);font-size:11.5px}.axis{font-size:12.5px}
.line{fill:none;stroke-width:2.2;stroke-linejoin:round}.mark{stroke:var(--card);stroke-width:1.5}
.dashed{stroke-dasharray:6 4}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 14px;margin:8px 0 0;padding:0;font-size:.85rem;color:var(--soft)}
.swatch{display:inline-block;width:16px;height:0;border-top:3px solid;margin-right:6px;vertical-align:middle}
.swatch.dashed{border-top-style:dashed}.swatch.dot{width:10px;height:10px;border:0;border-radius:50%}
.swatch.box{width:12px;height:12px;border:0;border-radius:2px}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:8px}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{padding:6px 12px;text-align:right;border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums;white-space:nowrap}
th:first-child,td:first-child{text-align:left}th{color:var(--soft);font-weight:600}
tr:last-child td{border-bottom:0}td.text{text-align:left;white-space:normal;min-width:11em}th.text{text-align:left}
pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:10px 12px;overflow-x:auto;font-size:.88rem;margin:8px 0}
.yes{color:var(--good);font-weight:600}.no{color:var(--soft)}.bad{color:var(--bad);font-weight:600}
footer{margin-top:36px;color:var(--soft);font-size:.88rem}
@media(max-width:480px){main{padding:16px 12px 40px}h1{font-size:1.25rem}.tick{font-size:14px}.axis{font-size:15px}th,td{padding:6px 8px}}
)CSS";

std::string color_rules() {
  std::string text;
  for (int i = 0; i < 8; ++i)
    text += fmt::format(
        ".line.s{0}{{stroke:var(--c{0})}}.mark.s{0},.area.s{0}{{fill:var(--c{0})}}.swatch.s{0}{{border-color:var(--c{0}"
        ")}}.swatch.dot.s{0},.swatch.box.s{0}{{background:var(--c{0})}}\n",
        i);
  return text;
}

}  // namespace

std::string html_page(const std::string& title, const std::string& body) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\">\n"
      "<title>{}</title><style>{}{}</style></head><body><main>\n{}</main></body></html>\n",
      html_escaped(title), kStyle, color_rules(), body);
}

}  // namespace jericho
