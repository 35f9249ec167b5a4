// Group by group, each operation rounded: see four_bits.h.
#include "train/optimizers/four_bits.h"

#include <algorithm>
#include <cmath>

namespace jericho {

void to_four_bits(std::span<const float> x, const FourBitRow& row) {
  std::fill(row.codes.begin(), row.codes.end(), std::uint8_t{0});
  for (std::size_t first = 0, group = 0; first < x.size(); first += kFourBitGroup, ++group) {
    const auto values = x.subspan(first, std::min<std::size_t>(kFourBitGroup, x.size() - first));
    const auto [least, largest] = std::minmax_element(values.begin(), values.end());
    const float low = std::min(*least, 0.0f), high = std::max(*largest, 0.0f);
    const float scale = std::max(high - low, 1e-5f) / 15;
    const float zero = std::clamp(-std::rint(low / scale), 0.0f, 15.0f);
    row.scales[group] = scale;
    row.zeros[group] = static_cast<std::uint8_t>(zero);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto code = static_cast<unsigned>(std::clamp(std::rint(values[i] / scale) + zero, 0.0f, 15.0f));
      const std::size_t at = first + i;
      row.codes[at / 2] = static_cast<std::uint8_t>(row.codes[at / 2] | code << (at % 2 * 4));
    }
  }
}

void from_four_bits(const FourBitRow& row, std::span<float> x) {
  for (std::size_t at = 0; at < x.size(); ++at) {
    const std::size_t group = at / static_cast<std::size_t>(kFourBitGroup);
    const int code = (row.codes[at / 2] >> (at % 2 * 4)) & 15;
    x[at] = row.scales[group] * static_cast<float>(code - row.zeros[group]);
  }
}

}  // namespace jericho
