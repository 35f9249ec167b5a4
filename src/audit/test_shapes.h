// For tests only: a shape that is audited, without a file.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "audit/model_work.h"
#include "models/families.h"
#include "models/published_shapes.h"
#include "models/weights.h"

namespace jericho {

struct TestShape {
  ModelConfig config{};
  WeightLayout weights{};

  explicit TestShape(const nlohmann::json& json, DType type = DType::kF16)
      : config(config_from_json(json)), weights(WeightLayout::of_shape(config, type)) {}
  [[nodiscard]] ModelView view() const { return {config, weights}; }
};

}  // namespace jericho
