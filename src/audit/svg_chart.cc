// Scales, ticks, paths: see svg_chart.h.
#include "audit/svg_chart.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace jericho {
namespace {

constexpr double kLabelHalf = 28;  // width of a tick's text, about, that must stay inside
constexpr double kWidth = 480, kHeight = 300, kLeft = 82, kRight = 14, kTop = 12, kBottom = 46;

std::string si_text(double value) {
  constexpr std::pair<double, const char*> kUnits[] = {{1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
  for (const auto& [unit, letter] : kUnits) {
    if (value >= unit) return fmt::format("{:.4g}{}", value / unit, letter);
  }
  return fmt::format("{:.3g}", value);
}

std::string bytes_text(double value) {
  constexpr std::pair<double, const char*> kUnits[] = {
      {0x1p50, "PiB"}, {0x1p40, "TiB"}, {0x1p30, "GiB"}, {0x1p20, "MiB"}, {0x1p10, "KiB"}};
  for (const auto& [unit, letters] : kUnits) {
    if (value >= unit) return fmt::format("{:.3g} {}", value / unit, letters);
  }
  return fmt::format("{:.3g} B", value);
}

}  // namespace

std::string html_escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? ' ' : c;
    }
  }
  return out;
}

SvgChart::Range SvgChart::range(const Axis& axis, bool of_x) const {
  Range r{std::numeric_limits<double>::max(), 0};
  for (const Series& series : series_) {
    for (const auto& [x, y] : series.points) {
      const double value = of_x ? x : y;
      if (!std::isfinite(value) || (axis.log && value <= 0)) continue;
      r.low = std::min(r.low, value);
      r.high = std::max(r.high, value);
    }
  }
  if (r.low > r.high) return {axis.log ? 1.0 : 0.0, 1};
  if (axis.log) {
    const double base = axis.bytes ? 2 : 10;
    const double step = std::log(r.high / r.low) < std::log(base) ? 0.3 : 0;
    return {r.low * std::pow(base, -step), r.high * std::pow(base, step + 0.1)};
  }
  if (!of_x) r.low = 0;
  if (r.high == r.low) r.high = r.low + 1;
  return {r.low, r.high + (of_x ? 0 : 0.06 * (r.high - r.low))};
}

double SvgChart::place(const Axis& axis, Range range, double value) {
  if (axis.log) return std::log(std::max(value, range.low * 1e-3) / range.low) / std::log(range.high / range.low);
  return (value - range.low) / (range.high - range.low);
}

std::vector<double> SvgChart::ticks(const Axis& axis, Range range) {
  std::vector<double> list;
  if (axis.log) {
    const double base = axis.bytes ? 2 : 10;
    const double first = std::ceil(std::log(range.low) / std::log(base) - 1e-9);
    const double last = std::floor(std::log(range.high) / std::log(base) + 1e-9);
    const double step = std::max(1.0, std::ceil((last - first) / 6));
    for (double e = first; e <= last; e += step) list.push_back(std::pow(base, e));
    return list;
  }
  const double unit = axis.bytes ? std::pow(2.0, std::floor(std::log2((range.high - range.low) / 4)))
                                 : std::pow(10.0, std::floor(std::log10((range.high - range.low) / 3)));
  double step = unit;
  while ((range.high - range.low) / step > 6) step *= axis.bytes || step == unit * 2 ? 2 : (step == unit ? 2 : 2.5);
  for (double v = std::ceil(range.low / step) * step; v <= range.high; v += step) list.push_back(v);
  return list;
}

std::string SvgChart::tick_text(const Axis& axis, double value) {
  return axis.bytes ? bytes_text(value) : si_text(value);
}

std::string SvgChart::html() const {
  const bool any = std::any_of(series_.begin(), series_.end(), [](const Series& s) { return !s.points.empty(); });
  if (!any) return {};
  const Range xs = range(x_, true), ys = range(y_, false);
  const auto at_x = [&](double x) {
    return kLeft + (kWidth - kLeft - kRight) * std::clamp(place(x_, xs, x), 0.0, 1.0);
  };
  const auto at_y = [&](double y) {
    return kHeight - kBottom - (kHeight - kTop - kBottom) * std::clamp(place(y_, ys, y), 0.0, 1.0);
  };
  std::string svg = fmt::format(
      "<figure class=\"chart\"><figcaption>{}</figcaption>\n<svg viewBox=\"0 0 {} {}\" "
      "role=\"img\"><title>{}</title><desc>{}</desc>\n",
      html_escaped(title_), kWidth, kHeight, html_escaped(title_), html_escaped(description_));
  for (const double tick : ticks(x_, xs)) {
    svg += fmt::format(
        "<path class=\"grid\" d=\"M{:.1f} {}V{}\"/><text class=\"tick\" x=\"{:.1f}\" y=\"{}\" "
        "text-anchor=\"{}\">{}</text>\n",
        at_x(tick), kTop, kHeight - kBottom, at_x(tick), kHeight - kBottom + 16,
        at_x(tick) > kWidth - kLabelHalf ? "end" : "middle", tick_text(x_, tick));
  }
  for (const double tick : ticks(y_, ys)) {
    svg += fmt::format(
        "<path class=\"grid\" d=\"M{} {:.1f}H{}\"/><text class=\"tick\" x=\"{}\" y=\"{:.1f}\" "
        "text-anchor=\"end\">{}</text>\n",
        kLeft, at_y(tick), kWidth - kRight, kLeft - 6, at_y(tick) + 4, tick_text(y_, tick));
  }
  svg += fmt::format("<text class=\"axis\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
                     (kLeft + kWidth - kRight) / 2, kHeight - 8, html_escaped(x_.label));
  svg +=
      fmt::format("<text class=\"axis\" transform=\"translate(13 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
                  (kTop + kHeight - kBottom) / 2, html_escaped(y_.label));
  std::string legend = "<ul class=\"legend\">";
  for (const Series& series : series_) {
    if (series.points.empty()) continue;
    std::string path;
    for (const auto& [x, y] : series.points) {
      if (series.line) {
        path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", at_x(x), at_y(y));
      } else {
        svg += fmt::format(
            "<circle class=\"mark s{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\"><title>{}: {}, {}</title></circle>\n",
            series.color, at_x(x), at_y(y), html_escaped(series.name), tick_text(x_, x), tick_text(y_, y));
      }
    }
    if (series.line)
      svg += fmt::format("<path class=\"line s{}{}\" d=\"{}\"/>\n", series.color, series.dashed ? " dashed" : "", path);
    legend += fmt::format("<li><span class=\"swatch s{}{}{}\"></span>{}</li>", series.color, series.line ? "" : " dot",
                          series.dashed ? " dashed" : "", html_escaped(series.name));
  }
  return svg + "</svg>" + legend + "</ul></figure>\n";
}

}  // namespace jericho
