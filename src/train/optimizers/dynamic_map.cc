// The tables, and the search for the nearest value: see dynamic_map.h.
#include "train/optimizers/dynamic_map.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace jericho {
namespace {

struct Table {
  std::array<float, 256> values{};
  std::array<float, 255> midpoints{};
};

// Decade i of seven is cut into 2^i intervals (twice as many without a sign), whose midpoints are the values.
Table make_table(DynamicMap map) {
  Table table;
  std::size_t count = 0;
  double power = 1e-6;
  for (int decade = 0; decade < 7; ++decade, power *= 10) {
    const int intervals = (map == DynamicMap::kSigned ? 1 : 2) << decade;
    for (int k = 0; k < intervals; ++k) {
      const double value = (0.1 + 0.9 * (k + 0.5) / intervals) * power;
      table.values[count++] = static_cast<float>(value);
      if (map == DynamicMap::kSigned) table.values[count++] = static_cast<float>(-value);
    }
  }
  table.values[count++] = 0;
  table.values[count++] = 1;
  JERICHO_CHECK(count == table.values.size(), "{} values", count);
  std::sort(table.values.begin(), table.values.end());
  for (std::size_t i = 0; i < table.midpoints.size(); ++i)
    table.midpoints[i] = (table.values[i] + table.values[i + 1]) / 2;
  return table;
}

const Table& table_of(DynamicMap map) {
  static const Table with_sign = make_table(DynamicMap::kSigned);
  static const Table without = make_table(DynamicMap::kUnsigned);
  return map == DynamicMap::kSigned ? with_sign : without;
}

// How many midpoints lie below x.
std::uint8_t code_of(const Table& table, float x) {
  std::size_t code = 0;
  for (std::size_t step = 128; step > 0; step /= 2) {
    if (table.midpoints[code + step - 1] < x) code += step;
  }
  return static_cast<std::uint8_t>(code);
}

}  // namespace

const std::array<float, 256>& dynamic_values(DynamicMap map) { return table_of(map).values; }

float quantize_block(DynamicMap map, std::span<const float> values, bool keep_small, std::uint8_t* codes) {
  const Table& table = table_of(map);
  float largest = 1e-38f;
  for (const float value : values) largest = std::max(largest, std::abs(value));
  for (std::size_t i = 0; i < values.size(); ++i) {
    codes[i] = code_of(table, values[i] / largest);
    if (keep_small && values[i] > 0 && table.values[codes[i]] == 0) ++codes[i];
  }
  return largest;
}

void dequantize_block(DynamicMap map, const std::uint8_t* codes, float scale, std::span<float> values) {
  const Table& table = table_of(map);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = table.values[codes[i]] * scale;
}

}  // namespace jericho
