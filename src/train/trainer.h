// The loop of a training run: sequences, micro-batches, gradients, updates, evaluation, checkpoints. Which micro-batch,
// recomputation and time of updates fit is decided before by plan_training(); no choice of it changes a bit of the
// result.
// Start at Trainer::run().
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/sampling_options.h"
#include "memory/arena.h"
#include "models/training_layout.h"
#include "models/training_pass.h"
#include "train/checkpoint.h"
#include "train/data.h"
#include "train/frozen_base.h"
#include "train/gradient_places.h"
#include "train/options.h"
#include "train/training_plan.h"

namespace jericho {

class StartModel;

struct StepReport {
  Index step = 0;   // that was done; from 1 on
  Index steps = 0;  // of the run
  Index epoch = 0;
  double loss = 0;
  double learning_rate = 0;
  double gradient_norm = 0;      // before clipping
  Index tokens = 0;              // trained, of all steps so far
  double tokens_per_second = 0;  // rows of sequences, since the last report
  double step_seconds = 0;
};

struct EvalReport {
  Index step = 0;
  double loss = 0;  // per token, nats
  Index tokens = 0;
  double bits_per_byte = 0;  // of the whole held-out text where all of it is read, else 0
  bool best = false;
};

struct TrainWatch {
  std::function<void(const StepReport&)> step{};
  std::function<void(const EvalReport&)> eval{};
  std::function<void(Index step)> sample{};  // as often as evaluations, with held-out texts or without
  std::function<void(Index step, const std::filesystem::path& folder, double seconds)> saved{};
};

class Trainer {  // one thread
 public:
  // Takes the plan's bytes from the ledger. `train`, `valid`, `start` (may be null: new weights) and `base` (null: all
  // weights are trained) outlive the trainer.
  Trainer(const Context& context, const TrainOptions& options, const ModelConfig& config, const TrainingLayout& layout,
          const TrainingPlan& plan, const TokenStore& train, const TokenStore* valid, const StartModel* start,
          std::vector<SideFile> side_files, FrozenBase* base = nullptr);

  // From the latest checkpoint, or from the first weights, to the end or a stop request, which saves and returns false.
  // Error(kInput) when the loss is no number any more, or a checkpoint is of another configuration.
  bool run(const std::stop_token& stop, const TrainWatch& watch);
  [[nodiscard]] Index steps() const { return steps_; }  // of the whole run
  // What the present weights say after a prompt: up to `tokens` more, drawn by `sampling`, until one of `ends`, as far
  // as a sequence of training reaches. Between steps: in the calls of TrainWatch.
  std::vector<TokenId> continue_text(std::span<const TokenId> prompt, Index tokens, const SamplingOptions& sampling,
                                     std::span<const TokenId> ends);

 private:
  struct Position {
    Index epoch = 0, index = 0;  // of the next sequence
  };
  void start_weights(const std::stop_token& stop);
  [[nodiscard]] std::vector<StoredRows> all_weights();
  void find_gains();
  double one_step(Index step, double& gradient_norm);
  double micro_batches(const SampleRows& rows, GradientSink* sink, std::span<const StoredRows> weights);
  double fused_step(Index step, const SampleRows& rows, double& gradient_norm);
  double unfused_step(Index step, const SampleRows& rows, double& gradient_norm);
  [[nodiscard]] double clip_factor(double gradient_norm) const;
  void update(Index step, Index tensor, MatrixView<float> gradient, double factor, Scratch& scratch);
  EvalReport evaluate(Index step);
  [[nodiscard]] nlohmann::json identity() const;
  void save(Index step, const TrainWatch& watch);
  [[nodiscard]] TrainedState state();
  [[nodiscard]] TrainingPass::Memory memory() const;
  Position next_sequence(Position at);

  const Context& context_;
  const TrainOptions& options_;
  const ModelConfig& config_;
  const TrainingLayout& layout_;
  TrainingPlan plan_;
  SequenceSampler sampler_;
  Index steps_;
  const TokenStore* valid_;
  const StartModel* start_;
  FrozenBase* base_;
  std::vector<SideFile> side_files_;
  Checkpoints checkpoints_;
  Arena frozen_, weights_, gradients_, states_, scratch_, saved_, live_, logits_;
  Lease heap_;
  std::vector<std::unique_ptr<Optimizer>> optimizers_;
  std::vector<Bytes> state_offsets_;
  GradientPlaces places_;
  TrainingPass pass_;
  std::uint64_t data_hash_;
  Position position_{};
  Index tokens_ = 0;  // trained
  struct Best {
    Index step = 0;
    double loss = 0;
  };
  std::optional<Best> best_{};
  std::optional<Index> saved_step_{};
};

}  // namespace jericho
