// Sizes as text: see bytes.h.
#include "base/bytes.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

namespace jericho {

std::string format_bytes(Bytes size) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(size.count);
  std::size_t unit = 0;
  // 1023.95 would print as "1024 MiB": go on to the next unit when rounding to three digits reaches 1000.
  while (std::abs(value) >= 999.5 && unit + 1 < kUnits.size()) value /= 1024, ++unit;
  if (unit == 0) return fmt::format("{} B", size.count);
  const double magnitude = std::abs(value);
  return fmt::format("{:.{}f} {}", value, magnitude < 9.995 ? 2 : magnitude < 99.95 ? 1 : 0, kUnits[unit]);
}

std::optional<Bytes> parse_bytes(std::string_view text) {
  double number = 0;
  if (text.empty() || std::isdigit(static_cast<unsigned char>(text.front())) == 0) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc{}) return std::nullopt;
  std::string unit(end, text.data() + text.size());
  if (!unit.empty() && unit.front() == ' ') unit.erase(0, 1);
  std::transform(unit.begin(), unit.end(), unit.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (unit.empty()) return std::nullopt;
  if (unit != "b") {
    const auto power = std::string_view("kmgt").find(unit.front());
    const std::string suffix = unit.substr(1);
    if (power == std::string_view::npos || (suffix != "" && suffix != "b" && suffix != "ib")) return std::nullopt;
    number *= std::pow(suffix == "b" ? 1000.0 : 1024.0, static_cast<double>(power + 1));
  }
  if (!(number <= 0x1p62)) return std::nullopt;
  return Bytes{static_cast<std::int64_t>(number)};
}

}  // namespace jericho
