// What a training run is told: a YAML file and --set key=value, one struct. Every key is in one table (options.cc),
// which also knows the nearest one to a key that is not. Start at read_train_options(); docs/training.md describes the
// keys.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/index.h"
#include "models/training_pass.h"
#include "train/documents.h"
#include "train/frozen_base.h"
#include "train/optimizers.h"
#include "train/schedule.h"

namespace jericho {

// What is trained: all weights, or adapters beside a frozen model.
struct AdapterOptions {
  std::string method = "full";  // full, lora, rslora, dora, qlora
  AdapterTraining training{};
  BaseForm base = BaseForm::kAsStored;

  [[nodiscard]] bool any() const { return method != "full"; }
};

enum class DataMode {
  kDocuments,  // whole documents packed into sequences, each attending within itself
  kStream,     // one stream of tokens, cut anywhere
};

struct TrainOptions {
  std::filesystem::path output{};     // the run's folder
  std::filesystem::path start{};      // a model whose weights, words and tokenizer it begins with; empty: new weights
  std::filesystem::path tokenizer{};  // a directory or a file
  nlohmann::json model{};             // in the words of config.json
  AdapterOptions adapter{};

  std::vector<std::string> train_files{};
  std::vector<std::string> valid_files{};
  std::string separator = "<|endoftext|>";  // between documents, on a line or not
  std::filesystem::path chat_template{};    // of conversations; empty: the model's or tokenizer's own
  TrainOn train_on = TrainOn::kAssistant;
  DataMode mode = DataMode::kDocuments;
  bool separate_documents = true;  // of a stream: attention stays within a document
  Index sequence_tokens = 512;
  Index step_sequences = 32;  // of one update
  Index micro_sequences = 0;  // computed at once; 0: as many as fit

  Index steps = 0;  // updates; 0: by epochs
  double epochs = 1;
  Schedule schedule{};
  OptimizerOptions optimizer{};
  WeightTypes weights{};
  float clip = 1;                // of the gradient's norm; 0: no
  bool clip_two_passes = false;  // a backward pass for the norm, another for the updates
  std::string fused = "auto";    // on, off, auto: updates within the backward pass where nothing else fits
  DType compute = DType::kBF16;
  std::string recompute = "auto";  // none, block, sqrt, auto: as little as fits
  float init_std = 0.02f;
  bool init_scaled = true;  // outputs into the residual stream by 1 / sqrt(2 layers)
  std::uint64_t seed = 1;

  Index log_every = 10;
  Index eval_every = 250;
  Index eval_sequences = 256;   // of the held-out text at most
  std::string sample_prompt{};  // that each evaluation continues; empty: none
  Index sample_tokens = 64;
  float sample_temperature = 0.8f;
  Index save_every = 500;
  Index keep_last = 2;

  // Updates within the backward pass are allowed: they need the norm first where gradients are clipped, and the whole
  // step at once.
  [[nodiscard]] bool may_fuse() const;
  // What the bits of a run depend on, as JSON: a run goes on only with the same.
  [[nodiscard]] nlohmann::json identity() const;
  // Error(kUsage) naming key, value and what is accepted.
  void validate() const;
};

// `sets` are "key=value". Error(kInput) for what is no YAML, Error(kUsage) for keys and values.
TrainOptions read_train_options(const std::filesystem::path& file, const std::vector<std::string>& sets);

}  // namespace jericho
