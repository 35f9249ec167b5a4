// Keys in four bits per channel, type q4c: a scale and a least value for each column over the 64 positions of a block
// (KIVI, Liu et al. 2024, arXiv:2402.02750, section 3.2: a few columns of keys are much larger than the others, at all
// positions alike, so that a scale over the columns of one position leaves the others no bits). A key is kept as f16
// first. Once all of its block are there, and of these f16 values, per column:
//   least = min_j k[j]                                                  a half; a zero is +0
//   s     = f16((max_j k[j] - least) / 15)
//   code  = clamp(rint((k[j] - least) / s), 0, 15)                      0 where s is 0
//   a column with a value that is not finite: s = NaN, least = 0, codes 0
// Which form a query sees depends on the two positions alone: codes below coded_end(its position), f16 from there on.
// So a token has at least 64 and at most 127 positions before it, and itself, in full (the paper's residual).
//   logit by codes   a[d] = q[d] * s[d];  base: 16 lanes over D by fma(q, least, lane), the tree of docs/numerics.md 2;
//                    even chain of fma(a[d], float(code), .) over even d from +0, odd chain over odd d;
//                    l[j] = (base + (even + odd)) * scale
//   logit by f16     as for pages of f16
// The tile of 16 positions in a page:
//   codes    [D / 2][16], two columns of a position a byte, the even one low; column D of an odd D is 0
//   scales   s, then least, [D / 4] halves each, of columns [t D / 4, (t + 1) D / 4), all rounded up, where t is the
//            tile's place in its block
// Differs from KIVI: every block is coded by itself, when its last position is stored, though no query sees the codes
// before it is a block behind; and values are not part of this: theirs are per token in a type of their own
// (kv_tile.h).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include "base/half.h"
#include "base/index.h"
#include "kernels/kv_tile.h"

namespace jericho {

inline constexpr Index kFullBlocks = 1;  // before a token's own, which it still sees in full

// A query at `position` sees the keys below this one, a multiple of kAttentionBlock, in codes.
constexpr Index coded_end(Index position) {
  return std::max<Index>(position / kAttentionBlock - kFullBlocks, 0) * kAttentionBlock;
}

using KeyTiles = std::array<const std::byte*, kBlockPages>;

// Codes a block: four tiles of f16 keys [16][D] to four of q4c. Plain code on every path.
void code_key_block(const KeyTiles& full, Index head_dim, const std::array<std::byte*, kBlockPages>& coded);

// Position j of the block, column d: value = code * scale + least.
struct ChannelCode {
  int code = 0;
  F16 scale{}, least{};
};
ChannelCode channel_code(const KeyTiles& coded, Index head_dim, Index j, Index d);

}  // namespace jericho
