// For tests only: a toy checkpoint run by the engine, and held against logits computed from the formulas of its family.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "support/toy_checkpoint.h"
#include "support/whole_model.h"

namespace jericho {

inline constexpr Index kTokens = 40;
inline constexpr double kTolerance = 2e-5;  // of the largest logit of a row: fp32 weights, activations and KV

// The logits of every token by the engine, within `chunk` tokens at a time.
inline std::vector<float> engine_logits(const std::filesystem::path& path, std::span<const TokenId> ids, Index chunk) {
  const TestMachine machine;
  const WholeModel model = WholeModel::load(machine.context, path);
  Session session(
      machine.context, *model.model,
      model.plan(machine.context, {.context = 64, .kv_type = KvType::kF32, .chunk = chunk, .all_logits = true}),
      KvBacking::kPopulate);
  return logits_of(session, session.open(), ids);
}

inline void expect_near(std::span<const float> actual, const std::vector<Row>& expected,
                        double tolerance = kTolerance) {
  const std::size_t V = expected.front().size();
  ASSERT_EQ(actual.size(), V * expected.size());
  for (std::size_t t = 0; t < expected.size(); ++t) {
    double largest = 0;
    for (const double value : expected[t]) largest = std::max(largest, std::abs(value));
    for (std::size_t v = 0; v < V; ++v)
      ASSERT_NEAR(double{actual[t * V + v]}, expected[t][v], tolerance * largest) << "token " << t << " logit " << v;
  }
}

}  // namespace jericho
