// Attention of many rows on AMX tiles, as docs/numerics.md 4 was made for them: the products that tiles have, in the
// place of those by vectors (BlockProducts); the softmax around them is that of attention.cc.
//   bf16 keys    a tile of logits sums one product per 32 columns; keys become pairs of columns
//   bf16 values  a tile of out gains one product per half block; values become pairs of positions
//   q8, q4 keys  integer dots of 32 columns in a stream, scaled and added by vectors
// Rows are the queries of a pass, sixteen to a tile. Products with f32 and f16, and of codes as values, are fp32
// chains, which no tile makes. Start at TileProducts.                              Costs: docs/kernels.md#amx-costs
#include <algorithm>
#include <limits>

#include "kernels/attention.h"
#include "kernels/cpu/targets.h"
#include "kernels/kv_tile.h"

#if defined(JERICHO_ATTENTION_AMX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_ATTENTION_AMX_INL_H_
#undef JERICHO_ATTENTION_AMX_INL_H_
#else
#define JERICHO_ATTENTION_AMX_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/attention_blocks-inl.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/tile_products-inl.h"

HWY_PUSH_ATTRIBUTES(JERICHO_AMX_TARGET)
namespace jericho::kernels::HWY_NAMESPACE {

constexpr Index kEnoughRows = 8;  // fewer leave most of a tile empty: vectors take them

inline bool has_tile_products(KvTypes type) {
  return has_codes(type.keys) || type.keys == KvType::kBF16 || type.values == KvType::kBF16;
}

// Columns d .. d + 31 of two value rows as pairs, those of a position that is not there as zeros.
HWY_INLINE void pair_rows(const BF16* even, const BF16* odd, Index columns, std::int32_t* first, std::int32_t* second) {
  const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37,
                                       5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  const auto used = static_cast<__mmask32>(columns >= 32 ? ~std::uint32_t{0} : (std::uint32_t{1} << columns) - 1);
  const __m512i a = even != nullptr ? _mm512_maskz_loadu_epi16(used, even) : _mm512_setzero_si512();
  const __m512i b = odd != nullptr ? _mm512_maskz_loadu_epi16(used, odd) : _mm512_setzero_si512();
  _mm512_store_si512(first, _mm512_permutex2var_epi16(a, low, b));
  _mm512_store_si512(second, _mm512_permutex2var_epi16(a, high, b));
}

template <class Tiles>
class TileProducts final : public BlockProducts {
 public:
  explicit TileProducts(KvTypes type) : BlockProducts(type), type_(type) {}
  ~TileProducts() override {
    if (shape_ != Shape::kNone) Tiles::release();
  }
  TileProducts(const TileProducts&) = delete;
  TileProducts& operator=(const TileProducts&) = delete;

  void start(const Pass& pass, Index rows) override {
    rows_ = rows;
    tiles_ = ceil_div(rows, kTileRows);
    tile_rows_ = std::min(rows, kTileRows);
    begin_[1] = rows - tile_rows_;  // a last tile that is not full starts earlier, and shares rows with the one before
    const Queries& q = pass.queries;
    if (rows < kEnoughRows) return;  // vectors take all of it
    if (type_.keys == KvType::kBF16) {
      for (Index i = 0; i < rows * q.stride; i += 16) store_bf16(load(q.value + i), queries_ + i);
    }
    for (Index t = 0; t < tiles_ && has_codes(type_.keys); ++t) {
      for (Index r = 0; r < kTileRows; ++r) {  // absent rows repeat the last
        std::copy_n(q.scale + (begin_[t] + std::min(r, tile_rows_ - 1)) * q.groups(), q.groups(), scales_[t][r]);
      }
    }
  }

  void logits(Pass& pass, const Block& block, Index D, float scale, Ahead ahead) override {
    if (block.rows() < kEnoughRows) return BlockProducts::logits(pass, block, D, scale, ahead);
    switch (type_.keys) {
      case KvType::kBF16: return bf16_logits(pass, block, D, ahead);
      case KvType::kQ8: return code_logits<KvType::kQ8>(pass, block, D, scale, ahead);
      case KvType::kQ4: return code_logits<KvType::kQ4>(pass, block, D, scale, ahead);
      case KvType::kF32:
      case KvType::kF16:
      case KvType::kQ4C: break;
    }
    BlockProducts::logits(pass, block, D, scale, ahead);
  }

  void values(Pass& pass, const Block& block, Index D, Columns columns, Visible halves) override {
    if (block.rows() < kEnoughRows || type_.values != KvType::kBF16) {
      return BlockProducts::values(pass, block, D, columns, halves);
    }
    configure(Shape::kPairs);
    round_weights(pass, block);
    turn_values(block, D, columns);
    if (all_see_all(pass, block)) return add_values(pass, columns, halves);
    for (Index half = halves.from; half < halves.to; half += kHalfBlock) {
      const Visible one = {half, half + kHalfBlock};
      if (zero_weights_add_nothing(pass, columns, half)) {
        add_values(pass, columns, one);
      } else {
        BlockProducts::values(pass, block, D, columns, one);
      }
    }
  }

 private:
  using Stream = DotStream<Tiles, 32>;
  enum class Shape { kNone, kPairs, kCodes };

  HWY_INLINE void configure(Shape shape) {
    if (shape_ == shape && configured_rows_ == tile_rows_) return;
    Tiles::configure(shape == Shape::kPairs ? bf16_config(tile_rows_) : Stream::config(tile_rows_));
    shape_ = shape;
    configured_rows_ = tile_rows_;
  }

  // Sixteen columns that all rows meet: positions where these are queries, columns of values where they are weights.
  struct Strip {
    const UnitPairs* pairs;
    float* sums;  // of row 0
  };
  // `x` are the rows, `stride` elements apart, and sums' rows are `sums_stride` apart.
  HWY_INLINE void add_strips(Sums from, const BF16* x, Index stride, const Strip& a, const Strip& b, Index units,
                             Index sums_stride) {
    const Index second = begin_[1];
    const UnitPairs* const pairs[2] = {a.pairs, b.pairs};
    const BF16* const rows[2] = {x, x + second * stride};
    float* const sums[4] = {a.sums, b.sums, a.sums + second * sums_stride, b.sums + second * sums_stride};
    if (tiles_ > 1) {
      add_products<Tiles, 2, 2>(from, rows, stride * 2, pairs, units, sums, sums_stride * 4);
    } else {
      add_products<Tiles, 1, 2>(from, rows, stride * 2, pairs, units, sums, sums_stride * 4);
    }
  }

  // --- Logits -------------------------------------------------------------------------------------------------------

  HWY_NOINLINE void bf16_logits(Pass& pass, const Block& block, Index D, Ahead ahead) {
    const Index units = pass.queries.groups(), end = block.end_tile();
    const auto pairs_of = [this](Index tile) { return pairs_ + tile * kMaxGroups; };
    configure(Shape::kPairs);
    for (Index i = block.first_tile(); i < end; ++i) {
      ask_for_keys(block.tiles, i, ahead);
      for (Index u = 0; u < units; ++u) {
        I32x16 pairs[16];
        turn_unit(reinterpret_cast<const BF16*>(block.tiles.keys[i]), D, kUnit * u, pairs);
#pragma GCC unroll 16
        for (int p = 0; p < 16; ++p) store_int(pairs[p], pairs_of(i)[u][p]);
      }
    }
    for (Index i = block.first_tile(); i < end; i += 2) {
      const Index next = std::min(i + 1, end - 1);  // a last tile that is alone stands for two
      add_strips(Sums::kFromZero, queries_, pass.queries.stride, {pairs_of(i), pass.p[0] + i * kPageTokens},
                 {pairs_of(next), pass.p[0] + next * kPageTokens}, units, kAttentionBlock);
      ask_for_values(block.tiles, i, ahead);
      if (next != i) ask_for_values(block.tiles, next, ahead);
    }
  }

  template <KvType kType>
  HWY_NOINLINE void code_logits(Pass& pass, const Block& block, Index D, float scale, Ahead ahead) {
    const Index groups = pass.queries.groups(), from = block.first_tile(), end = block.end_tile();
    const std::uint8_t* codes[kBlockPages] = {};
    configure(Shape::kCodes);
    for (Index i = from; i < end; ++i) {
      ask_for_keys(block.tiles, i, ahead);
      const Q8Tile tile = code_tile<kType>(block.tiles.keys[i], D, pass.key_codes);
      turn_scales(tile, groups, keys_[i]);
      turn_codes(tile, D, kAsTheyAre, keys_[i]);
      codes[i] = reinterpret_cast<const std::uint8_t*>(keys_[i].codes);
    }
    Stream stream(pass.queries.code, pass.queries.stride, {begin_, static_cast<std::size_t>(tiles_)},
                  {codes + from, static_cast<std::size_t>(end - from)}, 32 * groups, ring_);
    for (Index t = 0; t < tiles_; ++t) {
      for (Index i = from; i < end; ++i) {
        F32x16 acc[kTileRows];
#pragma GCC unroll 16
        for (int r = 0; r < kTileRows; ++r) acc[r] = zero();
        for (Index g = 0; g < groups; ++g) {
          stream.step();
          const Dots& dots = stream.take();
          const F32x16 key_scale = load(keys_[i].scale[g]);
#pragma GCC unroll 16
          for (int r = 0; r < kTileRows; ++r)
            acc[r] = fma(multiply(set(scales_[t][r][g]), key_scale), to_float(load_int(dots[r])), acc[r]);
        }
        float* out = pass.p[begin_[t]] + i * kPageTokens;
#pragma GCC unroll 16
        for (int r = 0; r < kTileRows; ++r) {
          if (r < tile_rows_) store(multiply(acc[r], set(scale)), out + r * kAttentionBlock);
        }
        if (t == 0) ask_for_values(block.tiles, i, ahead);
      }
    }
  }

  // --- p V ----------------------------------------------------------------------------------------------------------

  // A row that does not see the block has no weights, and those of positions that a row does not see are zeros.
  HWY_INLINE void round_weights(const Pass& pass, const Block& block) {
    for (Index r = 0; r < rows_; ++r) {
      const bool sees = block.first <= r && r < block.last;
      for (Index j = 0; j < kAttentionBlock; j += 16)
        store_bf16(sees ? round_to_bf16(load(pass.p[r] + j)) : zero(), weights_[r] + j);
    }
  }

  // Of sixteen columns from `column` on: one unit for each half of the block.
  HWY_INLINE UnitPairs* value_pairs(Index column) { return pairs_ + column / 16 * 2; }

  // Positions that no row sees become zeros.
  HWY_INLINE void turn_values(const Block& block, Index D, Columns columns) {
    const auto row = [&](Index j, Index d) -> const BF16* {
      if (j < block.any.from || j >= block.any.to) return nullptr;
      return reinterpret_cast<const BF16*>(block.tiles.values[j / kPageTokens]) + j % kPageTokens * D + d;
    };
    for (Index j = 0; j < kAttentionBlock; j += 2) {
      const Index half = j / kHalfBlock, pair = j % kHalfBlock / 2;
      for (Index d = columns.from; d < columns.to; d += 32) {
        pair_rows(row(j, d), row(j + 1, d), columns.to - d, value_pairs(d)[half][pair],
                  value_pairs(d + 16)[half][pair]);
      }
    }
  }

  HWY_INLINE void add_values(Pass& pass, Columns columns, Visible halves) {
    const Index half = halves.from / kHalfBlock, units = (halves.to - halves.from) / kHalfBlock;
    for (Index d = columns.from; d < columns.to; d += 32) {
      add_strips(Sums::kGoOn, weights_[0] + halves.from, kAttentionBlock, {value_pairs(d) + half, pass.out + d},
                 {value_pairs(d + 16) + half, pass.out + d + 16}, units, pass.queries.stride);
    }
  }

  HWY_INLINE bool all_see_all(const Pass& pass, const Block& block) const {
    for (Index r = 0; r < rows_; ++r) {
      if (pass.rows[r].visible(block.start) != kBothHalves) return false;
    }
    return true;
  }

  // The definition skips what a row does not see, a tile adds a weight of zero times the value. That is the same unless
  // the value is not finite; or unless the sums so far are -0, where the sign of a chain that comes to zero shows.
  HWY_INLINE bool zero_weights_add_nothing(const Pass& pass, Columns columns, Index half) {
    const __m512i exponent = _mm512_set1_epi16(0x7f80);
    __mmask32 not_finite = 0;
    for (Index d = columns.from; d < columns.to; d += 16) {
      for (const auto& pair : value_pairs(d)[half / kHalfBlock])
        not_finite |= _mm512_cmpeq_epi16_mask(_mm512_and_si512(_mm512_load_si512(pair), exponent), exponent);
    }
    __mmask16 minus_zero = 0;
    for (Index r = 0; r < rows_; ++r) {
      for (Index d = columns.from; d < columns.to; d += 16) {
        const __m512i sums = bits_of(load(pass.out + r * pass.queries.stride + d)).raw;
        minus_zero |= _mm512_cmpeq_epi32_mask(sums, _mm512_set1_epi32(std::numeric_limits<std::int32_t>::min()));
      }
    }
    return not_finite == 0 && minus_zero == 0;
  }

  KvTypes type_;
  Shape shape_ = Shape::kNone;  // of the tiles now
  Index configured_rows_ = 0;
  Index rows_ = 0, tiles_ = 0, tile_rows_ = 0;
  Index begin_[2] = {};  // first row of each tile
  // All below is left as it is: what a block reads, it has written.
  alignas(64) BF16 queries_[kMaxRowValues];
  alignas(64) BF16 weights_[kMaxRows][kAttentionBlock];
  alignas(64) UnitPairs pairs_[kBlockPages * kMaxGroups];  // of keys [tile][unit], then of values [16 columns][half]
  TurnedKeys keys_[kBlockPages];
  float scales_[2][kTileRows][kMaxGroups];  // of the queries' codes, tile by tile
  alignas(64) Dots ring_[kRing] = {};       // those of absent rows stay zero
};

template <class Tiles>
void attention_on_tiles(const KvHead& kv, const QueryTokens& tokens, AttentionLogits logits, MatrixView<const float> q,
                        MatrixView<float> out) {
  if (q.extent(0) * tokens.heads < kEnoughRows || !has_tile_products(kv.type)) {
    return attention(kv, tokens, logits, q, out);
  }
  TileProducts<Tiles> products(kv.type);
  attend_with(products, kv, tokens, logits, q, out);
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

#endif  // per-target guard
