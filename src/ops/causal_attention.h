// Attention of whole sequences for training, forward and backward (Dao 2023, arXiv:2307.08691): rows attend within
// their segment, each to itself and those before it, down to the window. A tile of queries meets all the keys it sees
// at once, so that a thread holds kQueryTile rows of scores and no matrix of all; the backward pass makes the scores
// again from what the forward pass left of each row's softmax. Segments and heads of keys are split over the pool; sums
// have one order.
#pragma once

#include <span>

#include "kernels/dense.h"
#include "memory/arena.h"
#include "ops/context.h"
#include "tensor/view.h"

namespace jericho {

inline constexpr Index kQueryTile = 64;  // at most: 48 where products are in pairs

struct AttentionSegment {  // consecutive rows of a batch: a sequence, or a document in it
  Index first = 0;
  Index rows = 0;
};

struct CausalAttention {
  DType type = DType::kF32;  // of q, k, v, out and their products
  Index heads = 0;
  Index kv_heads = 0;
  Index head_dim = 0;
  Index window = 0;  // a row sees positions p - window < j <= p; 0: all
  float scale = 1;
};

struct SoftmaxRows {  // [heads, T] of each row: the largest scaled score, and 1 / the sum of exponentials
  MatrixView<float> largest{};
  MatrixView<float> inverse{};
};

// Of one thread, for segments of up to `rows`.
Bytes causal_attention_scratch(const CausalAttention& shape, Index rows);
Bytes causal_attention_backward_scratch(const CausalAttention& shape, Index rows);

// q [T, heads D], k and v [T, kv_heads D], out as q. `scratch` is a piece per thread.
void causal_attention(const Context& context, const CausalAttention& shape, std::span<const AttentionSegment> segments,
                      const ConstFloatRows& q, const ConstFloatRows& k, const ConstFloatRows& v, const FloatRows& out,
                      const SoftmaxRows& softmax, std::span<std::byte> scratch);

// dq, dk, dv fp32 in the shapes of q, k, v are set. Rows of no segment are left as they are.
void causal_attention_backward(const Context& context, const CausalAttention& shape,
                               std::span<const AttentionSegment> segments, const ConstFloatRows& q,
                               const ConstFloatRows& k, const ConstFloatRows& v, const ConstFloatRows& out,
                               const ConstFloatRows& dout, const SoftmaxRows& softmax, MatrixView<float> dq,
                               MatrixView<float> dk, MatrixView<float> dv, std::span<std::byte> scratch);

}  // namespace jericho
