// The forward pass of a Llama-like decoder (families.h), written once over coarse ops (ops/): embedding, then per layer
//   x += Wo attention(rope(norm(Wq a)), rope(norm(Wk a)), Wv a),  a = rms_norm(x)
//   x += Wd (silu(Wg m) * (Wu m)),                                 m = rms_norm(x)
// then the head on the rows that need logits (Touvron et al. 2023, arXiv:2302.13971, section 2).
// A batch is any mix of tokens of any sequences: a chunk of a prompt, one token each of many. Start at
// Transformer::forward().
#pragma once

#include <cstdint>
#include <span>

#include "memory/arena.h"
#include "models/config.h"
#include "models/rope.h"
#include "models/weights.h"
#include "ops/context.h"
#include "ops/paged_attention.h"
#include "tensor/view.h"

namespace jericho {

struct Batch {                             // views of the caller's arrays
  std::span<const std::int32_t> tokens{};  // ids, one per row
  std::span<const BatchRow> rows{};        // which sequence and position each row is
  std::span<const Index> logit_rows{};     // rows whose logits are wanted, ascending
  KvPages pages{};                         // per sequence; pages of the rows' own positions are writable
};

struct BatchLimits {
  Index rows = 0;        // tokens in one forward()
  Index logit_rows = 0;  // of them with logits
};

class Transformer {
 public:
  // Both outlive the transformer.
  Transformer(const ModelConfig& config, const ModelWeights& weights, ActivationForms forms);

  // What forward() takes from its scratch for batches within `limits`; logits are extra.
  static Bytes scratch_bytes(const ModelConfig& config, ActivationForms forms, BatchLimits limits);

  // Stores the rows' keys and values and writes logits [logit_rows, vocab_size]. The same bits for any way of cutting
  // sequences into batches (docs/numerics.md). Thread-compatible.
  void forward(const Context& context, const KvLayout& layout, const Batch& batch, std::span<std::byte> scratch,
               MatrixView<float> logits) const;

 private:
  struct Buffers;
  void attention_block(const Context& context, const KvLayout& layout, Index layer, const Batch& batch,
                       const Buffers& buffers) const;
  void mlp_block(const Context& context, Index layer, const Buffers& buffers) const;

  const ModelConfig& config_;
  const ModelWeights& weights_;
  ActivationForms forms_;
  RopeTable rope_;
  float attention_scale_;
};

}  // namespace jericho
