// Comparing runs: see run_identity.h.
#include "train/run_identity.h"

#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho {
namespace {

constexpr const char* kOrder = "bf16_products";
constexpr const char* kPairs = "pairs";
constexpr const char* kTiles = "tiles";

std::string remedy(const std::string& key, const nlohmann::json& then) {
  if (key != kOrder) return "give another output";
  if (then == kPairs) return "JERICHO_CPU=avx512 goes on with it as it was, or give another output";
  return "go on with it on a processor with AMX and without JERICHO_CPU, or give another output";
}

}  // namespace

nlohmann::json run_identity(const TrainOptions& options, DenseOrder order) {
  nlohmann::json identity = options.identity();
  const bool tiles = options.compute == DType::kBF16 && order == DenseOrder::kTiles;
  identity[kOrder] = tiles ? kTiles : kPairs;
  return identity;
}

void require_same_run(const std::filesystem::path& output, nlohmann::json then, const nlohmann::json& now) {
  if (then.is_object() && !then.contains(kOrder)) then[kOrder] = kPairs;     // it is older than tiles
  nlohmann::json keys = then.is_object() ? then : nlohmann::json::object();  // what only one of them has differs too
  keys.update(now);
  for (const auto& [key, any] : keys.items()) {
    const nlohmann::json before = then.value(key, nlohmann::json()), value = now.value(key, nlohmann::json());
    if (before == value) continue;
    throw Error(ErrorKind::kUsage, fmt::format("{}: its checkpoints were trained with another '{}' ({}, now {}); {}",
                                               output.string(), key, before.dump(), value.dump(), remedy(key, before)));
  }
}

}  // namespace jericho
