// Query tokens of one sequence against the paged keys and values of one KV head, for all query heads that share it
// (grouped-query attention, Ainslie et al. 2023, arXiv:2305.13245), with an online softmax over blocks of 64 positions
// (Milakov & Gimelshein 2018, arXiv:1805.02867, algorithm 3; Dao et al. 2022, arXiv:2205.14135, algorithm 1).
// Blocks are aligned at position 0 and visited in order; positions outside [begin, end) are skipped, never added as
// zero. Per block, token and head (docs/numerics.md 4), with m from -infinity, sum and out from +0:
//   logit_j  by the page type's product of q and k_j; then cap * tanh(logit_j / cap) where there is a soft cap
//   m' = max(m, max_j logit_j);  c = exp(m - m');  sum = sum * c;  out = out * c
//   p_j = exp(logit_j - m'), summed in 16 lanes (lane = j mod 16);  sum += total;  out += p V by the page type's
//   product
// Values may be narrower than keys: the columns of `out` say how many of a value row are read. A latent cache
// (DeepSeek-V2, arXiv:2405.04434, section 2.1.2) has value_offset equal to key_offset: its values are the first columns
// of its keys. At the end out = out / sum by division. The products:
//   f32, f16  q.k in 16 lanes over D by fma, times `scale`; out[d] is an fma chain over the positions in order, from
//             the rescaled out[d]
//   bf16      q * scale rounded to bf16, q.k per 32 of D: even chain, odd chain, acc += even + odd; p rounded to bf16,
//             per half block of 32 positions: even chain, odd chain, out[d] += even + odd; both halves are always added
//   q8, q4    q in groups of min(32, D) as activations.h does; per group acc = fma(sq * sk, float(dot), acc); times
//             `scale`; v = float(code) * float(s), out[d] as for f32
//   q4c       of keys: in codes or in f16, by the two positions (channel_keys.h)
// Tokens and heads share the loads of keys and values, never a sum: each has the bits it has alone.
// The positions may come in parts (AttentionPart), each in a call of its own: the same bits.
// Does not allocate, throw or start threads: the op splits tokens and heads, and the positions of one token by the
// steps of attention_steps.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>

#include "base/index.h"
#include "kernels/channel_keys.h"
#include "kernels/kv_tile.h"
#include "tensor/view.h"

namespace jericho {

inline constexpr Index kMaxKeyWidth = 576;  // of a stored row

struct KvHead {  // a view of one layer's KV head of one sequence
  KvTypes type{};
  Index head_dim = 0;                         // of a stored row, key or value
  std::span<const std::byte* const> pages{};  // page i holds positions 16 i .. 16 i + 15
  Bytes key_offset{};                         // of this head's key tile in a page
  Bytes value_offset{};
  // Of q4c: where the keys that some token sees in full lie as f16, and this head's tile in them; others are not looked
  // at.
  std::span<const std::byte* const> full_pages{};
  Bytes full_offset{};
};

struct AttentionLogits {  // what becomes of q.k
  float scale = 1;
  float soft_cap = 0;  // soft_cap.h; 0: none
};

// Positions [from, to) of those that the tokens see, all of which see some of them, and what is carried from the part
// before to the one behind: m and sum per head, out not yet divided. At first m is -infinity, sum and out are +0.
struct AttentionPart {
  Index from = 0, to = std::numeric_limits<Index>::max();  // multiples of kAttentionBlock, apart from an open end
  MatrixView<float> carried{nullptr, 0, 0};                // [T, 2 heads] m, sum; none: these are all positions
  bool last = true;                                        // out is divided by sum

  [[nodiscard]] bool carries() const { return carried.data() != nullptr; }
};

struct QueryTokens {   // consecutive tokens of one sequence
  Index position = 0;  // of the first
  Index window = 0;    // a token at p sees positions p - window < j <= p; 0: all up to its own
  Index heads = 0;     // of each token
  AttentionPart part{};

  // Keys below this one are seen in codes, where the type of the keys has two forms.
  [[nodiscard]] Index coded(Index token) const { return coded_end(position + token); }
  [[nodiscard]] Index end(Index token) const { return std::min(position + token + 1, part.to); }
  [[nodiscard]] Index begin(Index token) const {
    const Index own = position + token + 1;
    return std::max(window > 0 && own > window ? own - window : 0, part.from);
  }
};

namespace ref {

// q [T, heads * D] after RoPE; out [T, heads * columns of values <= D]; both rows may be strided.
void attention(const KvHead& kv, const QueryTokens& tokens, AttentionLogits logits, MatrixView<const float> q,
               MatrixView<float> out);

}  // namespace ref
}  // namespace jericho
