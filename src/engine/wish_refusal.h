// For tests only: what a person is told whose wish a model cannot have.
#pragma once

#include <string>

#include <gtest/gtest.h>

#include "base/error.h"
#include "plan/plan.h"

namespace jericho {

// The message of validate(), which is wrong usage, or "accepted".
inline std::string refusal(const ModelConfig& config, const InferenceWish& wish) {
  try {
    validate(wish, config);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
  return "accepted";
}

}  // namespace jericho
