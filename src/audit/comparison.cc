// Searches over cards and sequences: see comparison.h.
#include "audit/comparison.h"

#include <algorithm>

namespace jericho {
namespace {

template <class Fits>
Index last_that(Index most, const Fits& fits) {  // of [0, most], of a property that is lost once and for all
  Index yes = 0, no = most + 1;
  while (no - yes > 1) {
    const Index middle = yes + (no - yes) / 2;
    (fits(middle) ? yes : no) = middle;
  }
  return yes;
}

}  // namespace

std::optional<double> usd_per_hour(const Device& device) {
  if (device.usd_per_hour) return device.usd_per_hour;
  if (!device.usd) return std::nullopt;
  constexpr double kHoursPerYear = 365.25 * 24;
  return *device.usd / (kYearsOfUse * kHoursPerYear) + device.watts.value_or(0) / 1000 * kUsdPerKilowattHour;
}

ComparedDevice compare(const ModelView& model, const AuditRequest& r, const Device& device) {
  ComparedDevice result{.one = device};
  const auto fits = [&](Index cards, Index batch) {
    const Planner planner = planner_for(model, device.times(static_cast<double>(cards)).memory);
    return in_memory(planner.plan(planner.budget, {batch, r.context, r.kv_type}));
  };
  if (!fits(kMostCards, r.batch)) return result;
  result.cards = last_that(kMostCards - 1, [&](Index cards) { return cards == 0 || !fits(cards, r.batch); }) + 1;
  const Device all = device.times(static_cast<double>(result.cards));
  const auto context = static_cast<double>(r.context);
  result.single = decode_bound(model, all, r.kv_type, 1, context);
  result.prefill = prefill_bound(model, all, r.kv_type, static_cast<double>(r.prompt),
                                 static_cast<double>(std::min(r.prompt, kLargestChunk)));
  result.sequences = last_that(kMostSequences, [&](Index batch) { return batch == 0 || fits(result.cards, batch); });
  result.full = decode_bound(model, all, r.kv_type, static_cast<double>(result.sequences), context);
  const double million_seconds = 1e6 / result.full.tokens_per_second();
  if (const auto usd = usd_per_hour(all)) result.usd_per_million = *usd / 3600 * million_seconds;
  if (all.watts) result.joules_per_million = *all.watts * million_seconds;
  return result;
}

}  // namespace jericho
