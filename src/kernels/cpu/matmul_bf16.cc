// Products of BF16 weights with many tokens on AVX-512, in the frame of token_blocks-inl.h: the weights are transposed
// and widened once for 64 tokens, and a tile keeps an even and an odd chain of fma for each of eight results. Two fma a
// pair and result are what the definition asks for (numerics.md 3): the instruction for bf16 pairs, vdpbf16ps, rounds
// the even and the odd product into one chain, which is another sum. Start at Bf16Product::add_chunk().
#include <algorithm>

#include "kernels/cpu/targets.h"
#include "kernels/matmul.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul_bf16.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"

#if HWY_TARGET == HWY_AVX3
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/token_blocks-inl.h"
#include "kernels/cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {
namespace {

constexpr Index kBf16Groups = 3;  // 6 KiB of widened weights a strip

struct Bf16Chunk {
  alignas(64) float even[kBf16Groups][16][16];  // [group][pair][row]
  alignas(64) float odd[kBf16Groups][16][16];

  HWY_NOINLINE void unpack(const PackedMatrix& w, Index index, Index begin, Index end) {
    const Index cols = w.padded_cols();
    const std::byte* strip = w.data + index * strip_bytes(w.dtype, w.cols).count;
    for (Index g = begin; g < end; ++g) {
      I32x16 pairs[16];
      transpose_pairs(strip + g * 64, cols * 2, pairs);
      for (Index row = 0; row < kStripRows; ++row) {
        _mm_prefetch(reinterpret_cast<const char*>(strip + row * cols * 2 + (g + kBf16Groups) * 64), _MM_HINT_T0);
      }
#pragma GCC unroll 16
      for (int p = 0; p < 16; ++p) {
        store(even_of_pair(pairs[p]), even[g - begin][p]);
        store(odd_of_pair(pairs[p]), odd[g - begin][p]);
      }
    }
  }
};

struct Bf16Tile {
  alignas(64) float value[kTileTokens][kBf16Groups * 32];

  HWY_NOINLINE void gather(const Activations& x, const Index* token, Index begin, Index end) {
    for (int t = 0; t < kTileTokens; ++t) {
      const BF16* from = x.bf16 + token[t] * x.cols + begin * 32;
      for (Index i = 0; i < (end - begin) * 32; i += 16) store(load_bf16(from + i), value[t] + i);
    }
  }
};

struct Bf16Product {
  static constexpr Index kChunkGroups = kBf16Groups;
  static constexpr int kTileStrips = 2;
  using Chunk = Bf16Chunk;
  using Tile = Bf16Tile;
  template <int kStrips>
  static void add_chunk(const Chunk* w, const Tile& x, Index groups, Part part, float* sums);
};

template <int kStrips>
HWY_NOINLINE void Bf16Product::add_chunk(const Chunk* w, const Tile& x, Index groups, Part part, float* sums) {
  F32x16 acc[kStrips][kTileTokens];
  load_sums<kStrips>(sums, part, acc);
  for (Index g = 0; g < groups; ++g) {
    F32x16 even[kStrips][kTileTokens];
    F32x16 odd[kStrips][kTileTokens];
#pragma GCC unroll 2
    for (int s = 0; s < kStrips; ++s) {
#pragma GCC unroll 4
      for (int t = 0; t < kTileTokens; ++t) even[s][t] = odd[s][t] = zero();
    }
#pragma GCC unroll 2
    for (int p = 0; p < 16; ++p) {
#pragma GCC unroll 4
      for (int t = 0; t < kTileTokens; ++t) {
        const F32x16 x_even = set(x.value[t][g * 32 + 2 * p]);
        const F32x16 x_odd = set(x.value[t][g * 32 + 2 * p + 1]);
#pragma GCC unroll 2
        for (int s = 0; s < kStrips; ++s) {
          even[s][t] = fma(load(w[s].even[g][p]), x_even, even[s][t]);
          odd[s][t] = fma(load(w[s].odd[g][p]), x_odd, odd[s][t]);
        }
      }
    }
#pragma GCC unroll 2
    for (int s = 0; s < kStrips; ++s) {
#pragma GCC unroll 4
      for (int t = 0; t < kTileTokens; ++t) acc[s][t] = add(acc[s][t], add(even[s][t], odd[s][t]));
    }
  }
  store_sums<kStrips>(acc, part, sums);
}

}  // namespace

void matmul_bf16(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin, Index strip_end,
                 MatrixView<float> y) {
  products_of_tokens<Bf16Product>(w, x, bias, strip_begin, strip_end, y);
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
