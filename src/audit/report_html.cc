// The page, section by section: see report_html.h.
#include "audit/report_html.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "audit/html_page.h"
#include "audit/report_text.h"
#include "audit/svg_chart.h"

namespace jericho {
namespace {

std::string e(const std::string& text) { return html_escaped(text); }

std::string rate(double per_second) { return fmt::format("{:.{}f} tok/s", per_second, per_second < 100 ? 1 : 0); }

std::string tile(const std::string& value, const std::string& label) {
  return fmt::format("<li><b>{}</b><span>{}</span></li>", e(value), e(label));
}

using Row = std::vector<std::string>;

// Cells are text, but for those that begin with '<', which are elements made here.
std::string table(const std::string& caption, const Row& head, const std::vector<Row>& rows,
                  const std::vector<bool>& text = {}) {
  const auto is_text = [&](std::size_t i) { return i < text.size() && text[i]; };
  std::string html = fmt::format(
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table><thead><tr>", e(caption));
  for (std::size_t i = 0; i < head.size(); ++i)
    html += fmt::format("<th scope=\"col\"{}>{}</th>", is_text(i) ? " class=\"text\"" : "", e(head[i]));
  html += "</tr></thead><tbody>\n";
  for (const Row& row : rows) {
    html += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i)
      html += fmt::format("<td{}>{}</td>", is_text(i) ? " class=\"text\"" : "",
                          row[i].starts_with("<span") ? row[i] : e(row[i]));
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string roofline(const Audit& a) {
  if (!a.speed || a.speed->ridge <= 0) return {};
  const Device& d = a.speed->device;
  const double peak = d.peak(main_unit(a.decode)), ridge = a.speed->ridge;
  SvgChart chart("Roofline", "What the device can do at most at an intensity, and where the parts of this model lie",
                 {.label = "operations per byte of memory", .log = true},
                 {.label = "operations per second", .log = true});
  double low = 0.3, high = std::max(10 * ridge, 1000.0);
  const auto marks = [&](const std::vector<Op>& ops, const std::string& name, int color) {
    Series series{.name = name, .line = false, .color = color};
    for (const Op& op : ops) {
      if (op.memory_bytes() <= 0) continue;
      const double intensity = op.total_operations() / op.memory_bytes();
      low = std::min(low, intensity / 2);
      high = std::max(high, intensity * 2);
      series.points.emplace_back(intensity, std::min(peak, intensity * d.bytes_per_second));
    }
    return series;
  };
  Series decode = marks(a.decode, fmt::format("a step of {}", a.request.batch), 1);
  Series prefill = marks(a.prefill, fmt::format("a prompt of {}", a.request.prompt), 2);
  chart.add({.name = fmt::format("{}: {:.4g} GB/s, ridge at {:.3g}", d.label, d.bytes_per_second / 1e9, ridge),
             .points = {{low, low * d.bytes_per_second}, {ridge, peak}, {high, peak}}});
  chart.add(std::move(decode));
  chart.add(std::move(prefill));
  return chart.html();
}

std::string kv_growth(const Audit& a, const ModelView& model) {
  SvgChart chart("Keys and values over context",
                 "Bytes that one sequence holds, by type, beside the weights and the budget",
                 {.label = "tokens of context", .log = true}, {.label = "bytes", .log = true, .bytes = true});
  const auto most = static_cast<double>(std::max<Index>(2, a.model_context));
  int color = 0;
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kQ8, KvType::kQ4}) {
    Series series{.name = fmt::format("{} keys and values", name(type)), .color = color++};
    const double first = std::max(1.0, most / 4096);
    for (int i = 0; i <= 48; ++i) {
      const double tokens = first * std::pow(most / first, i / 48.0);
      const double bytes = kv_need(model.config, type, tokens) +
                           static_cast<double>(a.state.count) * static_cast<double>(a.request.batch > 0);
      if (bytes > 0) series.points.emplace_back(tokens, bytes);
    }
    chart.add(std::move(series));
  }
  const double first = std::max(1.0, most / 4096);
  const auto level = [&](double bytes, const std::string& what, int c) {
    chart.add({.name = what, .points = {{first, bytes}, {most, bytes}}, .dashed = true, .color = c});
  };
  level(static_cast<double>(a.weights.count), fmt::format("weights, {}", format_bytes(a.weights)), 6);
  level(static_cast<double>(a.plan.budget.count), fmt::format("budget, {}", format_bytes(a.plan.budget)), 7);
  return chart.html();
}

std::string speed_over_budget(const Audit& a) {
  Series series{.name = fmt::format("decoding, {} sequence{}", a.request.batch, a.request.batch == 1 ? "" : "s"),
                .color = 0};
  double before = 0;
  for (const BudgetPoint& point : a.budgets) {
    const auto budget = static_cast<double>(point.budget.count);
    if (before == 0 && point.tokens_per_second > 0) series.points.emplace_back(budget, 0);
    series.points.emplace_back(budget, point.tokens_per_second);
    before = point.tokens_per_second;
  }
  SvgChart chart("Tokens per second over budget, at most",
                 "Nothing below the smallest budget that works; from where everything is in memory, more does not help",
                 {.label = "budget", .bytes = true}, {.label = "tokens per second"});
  chart.add(std::move(series));
  return chart.html();
}

struct Segment {
  std::string what;
  Bytes bytes;
};

// One bar per tier, and what is in it.
std::string memory_map(const std::string& tier, Bytes capacity, const std::vector<Segment>& segments) {
  Bytes sum{};
  for (const Segment& s : segments) sum += s.bytes;
  const auto whole = static_cast<double>(std::max({capacity, sum, 1_B}).count);
  constexpr double kWide = 1000;
  std::string svg = fmt::format(
      "<figure><figcaption>{}: {} of {}</figcaption><svg viewBox=\"0 0 1000 64\" preserveAspectRatio=\"none\" "
      "style=\"height:56px\" role=\"img\"><title>{} by purpose</title>"
      "<rect x=\"0\" y=\"6\" width=\"1000\" height=\"52\" style=\"fill:var(--line)\"/>\n",
      e(tier), format_bytes(sum), format_bytes(capacity), e(tier));
  double x = 0;
  std::string legend = "<ul class=\"legend\">";
  int color = 0;
  for (const Segment& s : segments) {
    const double width = kWide * static_cast<double>(s.bytes.count) / whole;
    svg += fmt::format(
        "<rect class=\"area s{}\" x=\"{:.2f}\" y=\"6\" width=\"{:.2f}\" height=\"52\"><title>{}: {}</title></rect>\n",
        color % 8, x, width, e(s.what), format_bytes(s.bytes));
    legend += fmt::format("<li><span class=\"swatch box s{}\"></span>{} {}</li>", color % 8, e(s.what),
                          format_bytes(s.bytes));
    x += width;
    ++color;
  }
  if (capacity < sum) {
    const double at = kWide * static_cast<double>(capacity.count) / whole;
    svg += fmt::format(
        "<path d=\"M{:.1f} 0V64\" style=\"stroke:var(--bad);stroke-width:3\"><title>the budget</title></path>\n", at);
    legend += "<li class=\"bad\">the line is the budget</li>";
  } else {
    legend += fmt::format("<li><span class=\"swatch box\" style=\"background:var(--line)\"></span>free {}</li>",
                          format_bytes(capacity - sum));
  }
  return svg + "</svg>" + legend + "</ul></figure>\n";
}

std::string memory_section(const Audit& a) {
  const Plan& plan = a.plan.shown();
  std::vector<Segment> segments;
  for (const auto* rows : {&plan.always, &plan.run}) {
    for (const PlanRow& row : *rows) {
      if (row.bytes > Bytes{}) segments.push_back({std::string(name(row.purpose)), row.bytes});
    }
  }
  std::stable_sort(segments.begin(), segments.end(),
                   [](const Segment& x, const Segment& y) { return x.bytes > y.bytes; });
  std::string html = "<h2>Memory</h2>\n";
  html += a.plan.plan ? fmt::format("<p>{} sequence{} of {} tokens: <span class=\"yes\">fits</span>.", a.request.batch,
                                    a.request.batch == 1 ? "" : "s", a.request.context)
                      : fmt::format(
                            "<p>{} sequence{} of {} tokens: <span class=\"bad\">does not fit</span>; shown is the "
                            "least that it takes.",
                            a.request.batch, a.request.batch == 1 ? "" : "s", a.request.context);
  html += fmt::format(" The smallest budget that works is <code>--memory {}</code>.</p>\n",
                      budget_argument(a.plan.smallest.smallest_budget));
  html += memory_map("Memory while running", a.plan.budget, segments);
  if (a.plan.disk_bytes_per_step > 0) {
    std::vector<Segment> disk;
    if (a.weights > a.plan.resident_weights)
      disk.push_back({"weights that stream", a.weights - a.plan.resident_weights});
    if (const Bytes scratch = plan.cold.scratch.total(); scratch > Bytes{})
      disk.push_back({"scratch file of keys and values", scratch});
    html += memory_map("Disk", a.weights + plan.cold.scratch.total(), disk);
    html += fmt::format("<p>A step reads {} from disk.</p>\n",
                        format_bytes({static_cast<std::int64_t>(a.plan.disk_bytes_per_step)}));
  }
  return html;
}

std::string work_section(const Audit& a) {
  std::vector<Row> rows;
  const auto bytes = [](double n) { return format_bytes({static_cast<std::int64_t>(n)}); };
  for (const Op& op : a.decode) {
    Row row = {std::string(name(op.part)), bytes(op.memory_bytes()), fmt::format("{:.3g}", op.intensity()), "", ""};
    for (const Op& other : a.prefill) {
      if (other.part == op.part)
        row[3] = bytes(other.memory_bytes()), row[4] = fmt::format("{:.3g}", other.intensity());
    }
    rows.push_back(std::move(row));
  }
  return "<h2>Work</h2>\n" + table("work by part",
                                   {"part", fmt::format("step of {}", a.request.batch), "op/byte",
                                    fmt::format("prompt of {}", a.request.prompt), "op/byte"},
                                   rows);
}

std::string training_section(const Audit& a) {
  std::vector<Row> rows;
  for (const TrainingState& t : a.training) {
    rows.push_back({std::string(name(t.method)), format_bytes(t.weights), format_bytes(t.gradients),
                    format_bytes(t.master), format_bytes(t.optimizer), format_bytes(t.total())});
  }
  return fmt::format(
      "<h2>Training</h2>\n{}<p class=\"soft\">Low-rank methods at rank {}. Activations of {} tokens: {}, or {} with "
      "layers computed again; logits and their gradient {}.</p>\n",
      table("training state by method", {"method", "weights", "gradients", "master", "optimizer", "all"}, rows),
      a.request.rank, a.request.training_tokens, format_bytes(a.saved_activations),
      format_bytes(a.recomputed_activations), format_bytes(a.training_logits));
}

std::string advice_section(const std::vector<Advice>& list) {
  std::string html;
  for (const Advice& advice : list) {
    std::vector<Row> rows;
    for (const Rule& rule : advice.rules) {
      rows.push_back({rule.applies ? "<span class=\"yes\">yes</span>" : "<span class=\"no\">no</span>", rule.what,
                      rule.why, rule.gain, rule.price});
    }
    html += fmt::format("<h2>Scenario: {}</h2>\n<ul>", name(advice.scenario));
    for (const Fact& fact : advice.facts) html += fmt::format("<li>{}</li>", e(fact.text));
    html += "</ul>\n" +
            table("advice", {"applies", "what", "because", "gain", "price"}, rows, {false, true, true, true, true});
    if (!advice.command.empty()) html += fmt::format("<pre><code>{}</code></pre>\n", e(advice.command));
  }
  return html;
}

std::string comparison_section(const AuditReport& r) {
  if (r.comparison.empty()) return {};
  std::vector<Row> rows;
  const auto or_dash = [](const std::optional<double>& value, const char* format) {
    return value ? fmt::format(fmt::runtime(format), *value) : std::string("-");
  };
  for (const ComparedDevice& c : r.comparison) {
    if (c.cards == 0) {
      rows.push_back({c.one.label, "none holds it", "", "", "", "", "", ""});
      continue;
    }
    rows.push_back({c.one.label, fmt::format("{}", c.cards), fmt::format("{:.1f}", c.single.tokens_per_second()),
                    fmt::format("{:.0f}", c.prefill.tokens_per_second()), fmt::format("{}", c.sequences),
                    fmt::format("{:.1f}", c.full.tokens_per_second()), or_dash(c.usd_per_million, "{:.3g}"),
                    or_dash(c.joules_per_million, "{:.3g}")});
  }
  return "<h2>Devices</h2>\n" +
         table("devices",
               {"device", "of them", "tok/s, one", "prefill tok/s", "sequences", "tok/s, all", "$ per 1M", "J per 1M"},
               rows) +
         fmt::format(
             "<p class=\"soft\">At most, at {} tokens of context, split without loss. Dollars: rent, or the price over "
             "{:.0f} years and electricity at {} $ per kWh.</p>\n",
             r.audit.request.context, kYearsOfUse, kUsdPerKilowattHour);
}

std::string roadmap_section(const std::vector<WorkloadFate>& fates) {
  if (fates.empty()) return {};
  SvgChart chart("What workloads need of what there is", "Above 1 a workload starves", {.label = "year"},
                 {.label = "need / have", .log = true});
  std::vector<Row> rows;
  int color = 0;
  for (const WorkloadFate& fate : fates) {
    Series series{.name = fate.workload, .color = color++ % 7};
    for (const RoadmapPoint& point : fate.years) {
      if (!point.device.empty()) series.points.emplace_back(point.month / 12.0, point.shortage.worst());
    }
    chart.add(std::move(series));
    rows.push_back(fate.starves ? Row{fate.workload, month_text(fate.starves->month),
                                      std::string(name(fate.starves->shortage.resource())),
                                      fate.starves->device + (fate.starves->extrapolated ? ", grown" : "")}
                                : Row{fate.workload, "not within the roadmap", "", ""});
  }
  return "<h2>Roadmap</h2>\n" + table("roadmap", {"workload", "starves from", "of", "on"}, rows) +
         "<div class=\"charts\">" + chart.html() + "</div>\n";
}

std::string verification_section(const std::optional<Verification>& v) {
  if (!v) return {};
  std::vector<Row> rows;
  for (const Checked& c : v->figures) {
    rows.push_back({c.what, fmt::format("{:.4g} {}", c.predicted, c.unit), fmt::format("{:.4g} {}", c.measured, c.unit),
                    fmt::format("<span class=\"{}\">{:+.1f} %</span>", c.holds() ? "yes" : "bad", 100 * c.error())});
  }
  return "<h2>Predicted and measured</h2>\n" +
         table("verification", {"figure", "predicted", "measured", "off by"}, rows) +
         fmt::format("<p class=\"soft\">{}; {:.0f} % are allowed.</p>\n", e(v->how), 100 * kTolerance);
}

}  // namespace

std::string report_html(const AuditReport& r, const ModelView& model) {
  const Audit& a = r.audit;
  const std::string verdict = verdict_line(r);
  std::string html;
  html += fmt::format("<h1>{}</h1><p class=\"soft\">{}, {}</p>\n<p class=\"verdict\">{}</p>\n<ul class=\"tiles\">",
                      e(a.request.model), e(a.architecture), e(a.request.source), e(verdict));
  html += tile(count_text(static_cast<double>(a.parameters.total)), "parameters");
  html += tile(format_bytes(a.weights), fmt::format("weights, {:.3g} bits each", a.bits_per_weight));
  for (const auto& [type, bytes] : a.kv_per_token) {
    if (type == a.request.kv_type && bytes > Bytes{})
      html += tile(format_bytes(bytes), fmt::format("{} keys and values a token", name(type)));
  }
  if (a.state > Bytes{}) html += tile(format_bytes(a.state), "state of a sequence");
  if (a.speed) {
    html += tile(rate(a.speed->decode_tokens_per_second()),
                 fmt::format("decoding at most, {} at {} tokens", a.request.batch, a.request.context));
    html += tile(rate(a.speed->prefill.tokens_per_second()), fmt::format("a prompt of {} at most", a.request.prompt));
    html += tile(std::string(name(a.speed->starvation.first)), "gives out first");
  }
  html += "</ul>\n" + memory_section(a) + "<h2>Bounds</h2>\n<div class=\"charts\">" + roofline(a) +
          kv_growth(a, model) + speed_over_budget(a) + "</div>\n";
  html += verification_section(r.verification) + advice_section(r.advice) + comparison_section(r) +
          roadmap_section(r.fates) + work_section(a) + training_section(a);
  html += "<footer>";
  if (a.speed) html += fmt::format("<p>{}: {}.</p>", e(a.speed->device.label), e(a.speed->device.source));
  for (const std::string& note : a.request.notes) html += fmt::format("<p>{}</p>", e(note));
  html += "<p>Speeds are bounds: nothing is faster. Plans are those that would run.</p></footer>\n";
  return html_page("Audit of " + a.request.model, html);
}

}  // namespace jericho
