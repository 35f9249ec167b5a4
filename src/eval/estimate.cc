// Sums in the order of the values, so that a figure has the same bits on every machine.
#include "eval/estimate.h"

#include <cmath>
#include <cstddef>
#include <vector>

#include "base/check.h"

namespace jericho {

Estimate estimate(std::span<const double> values) {
  JERICHO_CHECK(!values.empty(), "{} values have no mean", values.size());
  const auto n = static_cast<double>(values.size());
  double sum = 0;
  for (const double value : values) sum += value;
  const double mean = sum / n;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, values.size() > 1 ? std::sqrt(squares / (n - 1) / n) : 0};
}

PairedDifference paired_difference(std::span<const double> other, std::span<const double> base) {
  JERICHO_CHECK(other.size() == base.size(), "{} scores beside {}", other.size(), base.size());
  constexpr double kDeviations = 1.96;
  std::vector<double> differences(other.size());
  double sum = 0;
  double discordant = 0;
  for (std::size_t i = 0; i < other.size(); ++i) {
    differences[i] = other[i] - base[i];
    sum += differences[i];
    discordant += std::abs(differences[i]);
  }
  return {estimate(differences), std::abs(sum) - 1 > kDeviations * std::sqrt(discordant)};
}

}  // namespace jericho
