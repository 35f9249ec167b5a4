// The forward pass of a decoder (families.h), written once over blocks (blocks.h) of coarse ops (ops/): embedding, then
// per layer
//   x += attention(norm(x)), or a state space in its place or beside it
//   x += feed_forward(norm(x)), dense or of experts
// then the head on the rows that need logits (Touvron et al. 2023, arXiv:2302.13971, section 2).
// Start at Transformer::forward().
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "memory/arena.h"
#include "models/batch.h"
#include "models/blocks.h"
#include "models/config.h"
#include "models/rope.h"
#include "models/weights.h"
#include "ops/context.h"
#include "ops/paged_attention.h"
#include "ops/state_space.h"
#include "tensor/view.h"

namespace jericho {

// The form of the pages of a model's keys and values.
KvLayout kv_layout(const ModelConfig& config, KvTypes type);
// And of its states, beside keys and values of `type`; of no layers where it has none.
StateLayout state_layout(const ModelConfig& config, KvType type);
// What a selection needs to know of a model: which layers select, and how wide its queries are. Layers with a window of
// their own read it whole; none selects where `select` names no method.
SelectionShape selection_shape(const ModelConfig& config, const KvSelect& select, const KvLayout& kv);

class Transformer {
 public:
  // Both outlive the transformer.
  Transformer(const ModelConfig& config, const ModelWeights& weights, ActivationForms forms);

  // What forward() takes from its scratch for batches within `limits`; logits are extra.
  static Bytes scratch_bytes(const ModelConfig& config, ActivationForms forms, BatchLimits limits);

  // Stores the rows' keys and values, moves their sequences' states on and writes logits [logit_rows, vocab_size]. The
  // same bits for any way of cutting sequences into batches (docs/numerics.md). Thread-compatible.
  void forward(const Context& context, const KvLayout& layout, const Batch& batch, std::span<std::byte> scratch,
               MatrixView<float> logits) const;

 private:
  struct Buffers;
  struct Branch;
  // `waiting` is what the residual stream still has to gain, before and after.
  void run_layer(const Pass& pass, const WeightPass& weights, const Step& step, const Buffers& buffers, Branch& waiting,
                 Scratch& scratch) const;
  // Adds row t of what a block has written to the residual stream.
  void gain(const Pass& pass, const Buffers& buffers, const Branch& branch, Index t) const;

  const ModelConfig& config_;
  const ModelWeights& weights_;
  ActivationForms forms_;
  RopeTable rope_;
  std::optional<RopeTable> local_rope_;
  std::optional<RopeTable> long_rope_;  // of sequences beyond the original context
  std::vector<Step> steps_;
};

}  // namespace jericho
