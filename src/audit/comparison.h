// Several devices side by side, for choosing one: how many of each a model takes, how fast they are at most, and what a
// million tokens costs in dollars and joules. Start at compare().
#pragma once

#include <optional>
#include <vector>

#include "audit/audit.h"

namespace jericho {

// What is not in the file of devices, and is the same for all: said in every report that uses it.
inline constexpr double kYearsOfUse = 3;
inline constexpr double kUsdPerKilowattHour = 0.15;

struct ComparedDevice {
  Device one{};
  Index cards = 0;  // the fewest that hold what was asked; 0: not even the most
  Bound single{};   // one sequence of the context, on all cards
  Bound prefill{};
  Index sequences = 0;                         // of the context, that fit
  Bound full{};                                // of so many
  std::optional<double> usd_per_million{};     // tokens, of `full`
  std::optional<double> joules_per_million{};  // the same
};

inline constexpr Index kMostCards = 65536;

ComparedDevice compare(const ModelView& model, const AuditRequest& request, const Device& device);

// Rented, or bought and used for kYearsOfUse, and its electricity. Nothing where neither is known.
std::optional<double> usd_per_hour(const Device& device);

}  // namespace jericho
