// What was predicted beside what was measured when the plan ran.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "audit/bounds.h"

namespace jericho {

inline constexpr double kTolerance = 0.2;  // of the measured figure

struct Checked {
  std::string key{};   // "decode_tokens_per_second"
  std::string what{};  // for people
  std::string unit{};
  double predicted = 0;
  double measured = 0;

  [[nodiscard]] double error() const { return measured > 0 ? predicted / measured - 1 : 1; }
  [[nodiscard]] bool holds() const { return std::abs(error()) <= kTolerance; }
};

struct Verification {
  std::vector<Checked> figures{};
  std::string how{};     // the predictions were made
  Utilization decode{};  // of the measured roofs
  Utilization prefill{};
  [[nodiscard]] bool holds() const {
    for (const Checked& figure : figures) {
      if (!figure.holds()) return false;
    }
    return true;
  }
};

}  // namespace jericho
