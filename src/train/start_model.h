// The model that a run begins with instead of new weights: any that the other verbs open, in any format and types, its
// matrices as fp32 values or in what training stores them in. Start at StartModel::read().
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "convert/tokenizer_to_hugging_face.h"
#include "formats/model_file.h"
#include "models/config.h"
#include "models/training_layout.h"
#include "models/weights.h"
#include "ops/context.h"

namespace jericho {

class StartModel {  // thread-compatible
 public:
  // From headers alone. Errors as open_model(), read_config() and WeightLayout::of_file().
  explicit StartModel(const std::filesystem::path& model);

  [[nodiscard]] ModelFile& file() { return *file_; }  // with its tokenizer
  [[nodiscard]] const ModelFile& file() const { return *file_; }
  [[nodiscard]] const WeightLayout& weights() const { return layout_; }
  [[nodiscard]] const nlohmann::json& words() const { return words_; }  // of config.json, for fp32 weights
  // What a checkpoint has beside its tensors: config.json and the files of the tokenizer.
  [[nodiscard]] const std::vector<SideFile>& side_files() const { return side_files_; }

  [[nodiscard]] Bytes scratch_bytes(int threads) const;
  // Fills the weights of `layout`, which is of words(); what is not stored as fp32 is rounded at random by `seed`.
  // `scratch` has scratch_bytes() and starts on a multiple of 4096. Error(kInterrupted), errors of the file.
  void read(const Context& context, const TrainingLayout& layout, std::uint64_t seed, std::span<std::byte> weights,
            std::span<std::byte> scratch, const std::stop_token& stop) const;

 private:
  std::unique_ptr<ModelFile> file_;
  ModelConfig config_;
  WeightLayout layout_;
  nlohmann::json words_;
  std::vector<SideFile> side_files_;
};

}  // namespace jericho
