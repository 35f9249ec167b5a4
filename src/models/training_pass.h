// One micro-batch of training: the forward pass of a decoder over whole sequences, its loss and the gradients of the
// weights that are trained. Weights are read as they are stored (ops/stored_rows.h), gradients go to a sink
// (gradient_sink.h) as soon as each is complete. The mathematics of each block stands in training_pass.cc, forward and
// backward side by side, over the same configuration and list of weights that inference goes by; a test holds the
// logits of both against each other.
//
// There is no recorded tape: a decoder's blocks follow one another, so the list of executed blocks is the tape, and
// what a block keeps for its backward pass is a struct. A block that keeps nothing runs forward again just before its
// backward pass, from its input; an input that is not kept either is made again from the one before it that is (Chen et
// al. 2016, arXiv:1604.06174, section 4.3). By the same code on the same shapes: the same bits.
// Start at TrainingPass::run().
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "memory/arena.h"
#include "models/config.h"
#include "models/gradient_sink.h"
#include "models/rope.h"
#include "models/training_layout.h"
#include "ops/causal_attention.h"
#include "ops/context.h"
#include "ops/dense.h"

namespace jericho {

// What is computed again in the backward pass. Norms and the product of gate and up are always.
struct Recompute {
  Index kept = kAll;  // executed blocks, last in depth, that keep what their backward pass reads; at least one
  Index every = 1;    // of how many blocks one keeps its input; where not all do, one block is kept

  static constexpr Index kAll = Index{1} << 30;
  static constexpr Recompute none() { return {}; }
  static constexpr Recompute blocks() { return {.kept = 1}; }
  static constexpr Recompute inputs_too(Index every) { return {.kept = 1, .every = every}; }
  bool operator==(const Recompute&) const = default;
};

struct MicroBatch {  // views of the caller's arrays
  Index sequences = 0;
  Index sequence_tokens = 0;                     // of each; even
  std::span<const std::int32_t> tokens{};        // [sequences * sequence_tokens]
  std::span<const std::int32_t> targets{};       // the same; -100: not trained
  std::span<const AttentionSegment> segments{};  // that attend among themselves; positions begin at 0 in each
  float factor = 1;                              // of the loss in the gradients: 1 / the step's trained tokens
};

struct TrainingPassOptions {
  Index sequences = 1;          // the most of a micro-batch
  Index sequence_tokens = 512;  // of each
  DType compute = DType::kBF16;
  Recompute recompute{};
  int threads = 1;
  bool decodes = false;              // matrices may be stored in other types than fp32
  Index logit_tokens = kTokenBlock;  // whose logits are there at once; whole token blocks
};

struct GradientUse {
  Index tensor = 0;
  Index use = 0;
};

struct TrainingMemory {  // what a pass takes, by purpose
  Bytes saved{};         // activations kept for the backward pass
  Bytes live{};          // of the block that runs, and scratch
  Bytes logits{};        // of one chunk of tokens, and its gradient
};

class TrainingPass {
 public:
  // `config` and `layout` outlive the pass.
  TrainingPass(const ModelConfig& config, const TrainingLayout& layout, const TrainingPassOptions& options);

  static TrainingMemory memory(const ModelConfig& config, const TrainingLayout& layout,
                               const TrainingPassOptions& options);

  // The gradients in the order in which a pass asks for their places. A tensor's is complete after its use 0.
  static std::vector<GradientUse> gradient_order(const ModelConfig& config, const TrainingLayout& layout);

  struct Memory {  // blocks of memory() bytes
    std::span<std::byte> saved{}, live{}, logits{};
  };
  // `weights` are those of the layout's tensors, vectors in fp32. Without a sink, no gradients are made. losses[t] is
  // token t's.
  void run(const Context& context, const MicroBatch& batch, std::span<const StoredRows> weights, GradientSink* sink,
           const Memory& memory, std::span<double> losses) const;
  // The logits [rows, vocab_size] alone, of the rows from `first` on.
  void logits(const Context& context, const MicroBatch& batch, std::span<const StoredRows> weights,
              const Memory& memory, Index first, MatrixView<float> out) const;

 private:
  struct Block;
  struct Live;
  struct Saved;
  struct Head;
  struct Run;
  static Index head_rows(const TrainingPassOptions& options);
  void prepare(Run& run, const MicroBatch& batch, const Memory& memory) const;
  void forward(Run& run) const;
  void backward(Run& run) const;
  void product(const Run& run, const FloatRows& x, Index weight, DenseStore store, const FloatRows& y) const;
  void input_gradient(const Run& run, const FloatRows& dy, Index weight, DenseStore store, const FloatRows& dx) const;
  void matrix_gradient(const Run& run, const FloatRows& dy, const FloatRows& x, Index weight, Index use) const;
  void block_forward(Run& run, std::size_t step, const Block& block, bool with_output) const;
  void block_backward(Run& run, std::size_t step, const Block& block) const;
  void attention_backward(Run& run, std::size_t step, const Block& block) const;
  void head_pass(Run& run, std::span<double> losses) const;

  struct Step {
    Index layer = 0;
    Index use = 0;
  };
  static std::vector<Step> steps_of(const ModelConfig& config);
  const ModelConfig& config_;
  const TrainingLayout& layout_;
  TrainingPassOptions options_;
  std::vector<Step> steps_;
  std::vector<float> cos_, sin_;  // [sequence_tokens, dims / 2]
};

}  // namespace jericho
