// For tests over whole models: loads one, or draws one, and reads the logits of every token of a text. Start at
// logits_of().
#pragma once

#include <algorithm>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "base/check.h"
#include "engine/model.h"
#include "engine/session.h"
#include "memory/io.h"
#include "models/families.h"
#include "models/test_models.h"
#include "plan/plan.h"

namespace jericho {

inline Plan plan_of(const ModelConfig& config, const WeightLayout& layout, int threads, const InferenceWish& wish) {
  auto outcome = plan_inference(config, layout, {.threads = threads}, 1_GiB, wish);
  JERICHO_CHECK(std::holds_alternative<Plan>(outcome), "a test model does not fit {}", (1_GiB).count);
  return std::get<Plan>(std::move(outcome));
}

struct WholeModel {  // a model and what it was made from
  static WholeModel load(const Context& context, const std::filesystem::path& path) {
    std::unique_ptr<ModelFile> file = open_model(path);
    const ModelConfig config = read_config(*file);
    WeightLayout layout = WeightLayout::of_file(config, *file);
    const Plan plan = plan_of(config, layout, context.pool.threads(), {});
    const std::unique_ptr<IoBackend> io = make_io_backend();
    std::unique_ptr<Model> model = Model::load(context, config, layout, *file, plan, *io, {}, {});
    return {std::move(file), std::move(layout), std::move(model)};
  }
  static WholeModel random(const Context& context, const ModelConfig& config, DType dtype, std::uint64_t seed = 1) {
    WeightLayout layout = WeightLayout::of_shape(config, dtype);
    std::unique_ptr<Model> model = Model::random(context, config, layout, seed);
    return {nullptr, std::move(layout), std::move(model)};
  }
  [[nodiscard]] const ModelConfig& config() const { return model->config(); }
  [[nodiscard]] Plan plan(const Context& context, const InferenceWish& wish) const {
    return plan_of(config(), layout, context.pool.threads(), wish);
  }

  std::unique_ptr<ModelFile> file;  // that `layout` points into; null for random weights
  WeightLayout layout;
  std::unique_ptr<Model> model;
};

inline Index argmax(std::span<const float> row) {
  return static_cast<Index>(std::max_element(row.begin(), row.end()) - row.begin());
}

// Reads `tokens` in pieces of at most session.chunk() and appends the logits of each: [tokens, vocab_size].
inline std::vector<float> logits_of(Session& session, SequenceId sequence, std::span<const TokenId> tokens) {
  std::vector<float> all;
  for (std::size_t begin = 0; begin < tokens.size(); begin += static_cast<std::size_t>(session.chunk())) {
    const auto piece =
        tokens.subspan(begin, std::min(static_cast<std::size_t>(session.chunk()), tokens.size() - begin));
    const BatchItem item = {sequence, piece, LogitRows::kAll};
    const MatrixView<const float> rows = session.forward({&item, 1});
    all.insert(all.end(), rows.data(), rows.data() + rows.extent(0) * rows.extent(1));
  }
  return all;
}

}  // namespace jericho
