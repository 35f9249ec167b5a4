// Small charts as inline SVG, coloured by the page's style sheet: classes s0, s1, ... name the series, so that both
// colour schemes are one place's matter. Start at SvgChart.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace jericho {

std::string html_escaped(const std::string& text);

struct Series {
  std::string name{};
  std::vector<std::pair<double, double>> points{};
  bool line = true;     // else marks only
  bool dashed = false;  // of a line
  int color = 0;        // class s<color>
};

struct Axis {
  std::string label{};
  bool log = false;
  bool bytes = false;  // ticks read as sizes
};

class SvgChart {
 public:
  SvgChart(std::string title, std::string description, Axis x, Axis y)
      : title_(std::move(title)), description_(std::move(description)), x_(std::move(x)), y_(std::move(y)) {}

  void add(Series series) { series_.push_back(std::move(series)); }
  // A figure with its caption, the drawing and the legend; empty when nothing can be drawn.
  [[nodiscard]] std::string html() const;

 private:
  struct Range {
    double low = 0, high = 1;
  };
  [[nodiscard]] Range range(const Axis& axis, bool of_x) const;
  [[nodiscard]] static double place(const Axis& axis, Range range, double value);  // 0 to 1
  [[nodiscard]] static std::vector<double> ticks(const Axis& axis, Range range);
  [[nodiscard]] static std::string tick_text(const Axis& axis, double value);

  std::string title_, description_;
  Axis x_, y_;
  std::vector<Series> series_{};
};

}  // namespace jericho
