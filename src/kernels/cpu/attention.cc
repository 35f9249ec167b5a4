// Attention over pages for AVX2 and AVX-512: the online softmax of kernels/attention.h, and its steps
// (attention_steps.h), over blocks of positions (attention_blocks-inl.h). AMX comes here with products of its own.
// Start at attend().
#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "base/check.h"
#include "kernels/attention_steps.h"
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"
#include "kernels/cpu/attention_blocks-inl.h"

#if HWY_TARGET == HWY_AVX3
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni")  // Highway's target ends below VNNI; the path asks for it
#else
HWY_BEFORE_NAMESPACE();
#endif
namespace jericho::kernels::HWY_NAMESPACE {

// The rows of a pass: heads [head, head + heads) of tokens [token, token + count).
struct PassRows {
  Index token, count, head, heads;

  [[nodiscard]] Index size() const { return count * heads; }
  [[nodiscard]] Index token_of(Index row) const { return token + row / heads; }
  [[nodiscard]] Index head_of(Index row) const { return head + row % heads; }
};

HWY_INLINE void see(const QueryTokens& tokens, const PassRows& rows, Pass& pass) {
  for (Index row = 0; row < rows.size(); ++row) {
    const Index token = rows.token_of(row);
    pass.rows[row] = {tokens.begin(token), tokens.end(token), tokens.coded(token)};
  }
}

template <KvType kType>
HWY_NOINLINE void prepare_queries_of(const KvHead& kv, float scale, MatrixView<const float> q, const PassRows& rows,
                                     Pass& pass) {
  const Index D = kv.head_dim;
  pass.queries.stride = round_up(D, 32);
  for (Index row = 0; row < rows.size(); ++row)
    prepare_query<kType>(&q(rows.token_of(row), rows.head_of(row) * D), D, scale, row, pass.queries);
}

struct CodedLogits {
  Pass& pass;
  const BlockTiles& tiles;
  Index D;
  float scale;
  Index asking;  // the row with which the tiles a block later are asked for
  template <int kRows>
  HWY_INLINE void operator()(Index row) const {
    channel_logits<kRows>(tiles.keys, row == asking ? tiles.later.keys : nullptr, pass.channels, D, pass.queries.stride,
                          row, scale, &pass.p[row]);
  }
};

// As block_logits(), of keys per channel: the rows that come first may still see the block in full.
HWY_NOINLINE void channel_block_logits(Pass& pass, const Block& block, Index D, float scale, Ahead ahead) {
  Index coded = block.first;
  while (coded < block.last && pass.rows[coded].coded <= block.start) ++coded;
  if (block.first < coded) {
    Block full = {block.start, block.any, block.first, coded, {}};
    std::copy_n(block.tiles.full, kBlockPages, full.tiles.keys);
    std::copy_n(block.tiles.full, kBlockPages, full.tiles.later.keys);  // they are few: nobody asks for those to come
    block_logits<KvType::kF16>(pass, full, D, scale, {});
  }
  if (coded == block.last) return;
  const Index stride = pass.queries.stride;
  load_channels(block.tiles.keys, D, stride, pass.channels);
  for (Index row = coded; row < block.last; ++row) scale_query(pass.queries.values(row), stride, row, pass.channels);
  in_shares(coded, block.last, CodedLogits{pass, block.tiles, D, scale, coded});
  for (Index i = 0; i < kBlockPages; ++i) ask_for_values(block.tiles, i, ahead);
}

// Calls of(type as a constant); not of keys per channel, which share nothing with the others.
template <class Of>
auto of_type(KvType type, const Of& of) {
  switch (type) {
    case KvType::kF32: return of(std::integral_constant<KvType, KvType::kF32>());
    case KvType::kF16: return of(std::integral_constant<KvType, KvType::kF16>());
    case KvType::kBF16: return of(std::integral_constant<KvType, KvType::kBF16>());
    case KvType::kQ8: return of(std::integral_constant<KvType, KvType::kQ8>());
    case KvType::kQ4:
    case KvType::kQ4C: break;
  }
  return of(std::integral_constant<KvType, KvType::kQ4>());
}

BlockProducts::BlockProducts(KvTypes type)
    : logits_(type.keys == KvType::kQ4C
                  ? &channel_block_logits
                  : of_type(type.keys, [](auto of) { return &block_logits<decltype(of)::value>; })),
      values_(of_type(type.values, [](auto of) { return &block_values<decltype(of)::value>; })) {}

void prepare_queries(const KvHead& kv, float scale, MatrixView<const float> q, const PassRows& rows, Pass& pass) {
  const KvType form = kv.type.keys == KvType::kQ4C ? KvType::kF16 : kv.type.keys;  // queries stay fp32
  const auto prepare = of_type(form, [](auto of) { return &prepare_queries_of<decltype(of)::value>; });
  prepare(kv, scale, q, rows, pass);
}

// Writes what a row has summed up in some columns, divided by the sum where there is no more to come.
HWY_INLINE void finish_row(const float* sums, Columns columns, bool last, float sum, float* out) {
  if (!last) return static_cast<void>(std::copy(sums + columns.from, sums + columns.to, out + columns.from));
  for (Index d = columns.from; d < columns.to; d += 16)
    store_up_to_16(divide(load(sums + d), set(sum)), out + d, columns.to - d);
}

// All rows at once.
HWY_NOINLINE void attend(BlockProducts& products, const KvHead& kv, const QueryTokens& tokens, AttentionLogits logits,
                         MatrixView<const float> q, MatrixView<float> result, const PassRows& of) {
  const Index D = kv.head_dim, columns = result.extent(1) / tokens.heads, stride = round_up(D, 32), rows = of.size();
  const KvType keys = kv.type.keys;
  Ahead ahead{0, kv_tile_bytes(keys, D).count, 0};
  if (kv.value_offset != kv.key_offset) ahead.values = kv_tile_bytes(kv.type.values, D).count;
  Pass pass;  // left as it is: what a pass reads, it has written
  prepare_queries(kv, logits.scale, q, of, pass);
  products.start(pass, rows);
  see(tokens, of, pass);
  std::fill_n(pass.out, rows * stride, 0.0f);
  std::fill_n(pass.softmax.maximum, kMaxRows, -std::numeric_limits<float>::infinity());
  std::fill_n(pass.softmax.sum, kMaxRows, 0.0f);
  std::fill_n(pass.softmax.correction, kMaxRows, 0.0f);
  const AttentionPart& part = tokens.part;
  for (Index row = 0; part.carries() && row < rows; ++row) {
    const Index t = of.token_of(row), h = of.head_of(row);
    pass.softmax.maximum[row] = part.carried(t, 2 * h);
    pass.softmax.sum[row] = part.carried(t, 2 * h + 1);
    std::copy_n(&result(t, h * columns), columns, pass.out + row * stride);
  }
  const Index begin = pass.rows[0].begin, end = pass.rows[rows - 1].end;  // both rise with the tokens
  Index first = 0, last = 0;                                              // the rows that see something of the block
  for (Index start = begin / kAttentionBlock * kAttentionBlock; start < end; start += kAttentionBlock) {
    while (pass.rows[first].end <= start) ++first;
    while (last < rows && pass.rows[last].begin < start + kAttentionBlock) ++last;
    const Visible any = {pass.rows[first].visible(start).from, pass.rows[last - 1].visible(start).to};
    const Block block = {start, any, first, last, tiles_of(kv, start, any, end)};
    // Codes that few rows want are asked for while p V goes over this block's (StoredCodes), all but their scales.
    const bool with_values = has_codes(keys) && kv.type.values == keys && block.rows() <= kSharedRows;
    ahead.from = with_values ? kPageTokens * code_bytes(keys, D) : 0;
    products.logits(pass, block, D, logits.scale, ahead);
    softmax_block(pass, logits.soft_cap, {0, columns}, stride, start, first, last);
    products.values(pass, block, D, {0, columns}, kBothHalves);
  }
  for (Index row = 0; row < rows; ++row) {
    const Index t = of.token_of(row), h = of.head_of(row);
    if (part.carries()) {
      part.carried(t, 2 * h) = pass.softmax.maximum[row];
      part.carried(t, 2 * h + 1) = pass.softmax.sum[row];
    }
    finish_row(pass.out + row * stride, {0, columns}, part.last, pass.softmax.sum[row], &result(t, h * columns));
  }
}

void check_width(const KvHead& kv) {
  JERICHO_CHECK(kv.head_dim <= kMaxKeyWidth, "keys of {} values, at most {}", kv.head_dim, kMaxKeyWidth);
}

void attend_with(BlockProducts& products, const KvHead& kv, const QueryTokens& tokens, AttentionLogits logits,
                 MatrixView<const float> q, MatrixView<float> out) {
  check_width(kv);
  const Index rows = rows_of_width(kv.head_dim);
  const Index heads_at_once = std::min(rows, tokens.heads), tokens_at_once = rows / heads_at_once;
  for (Index t = 0; t < q.extent(0); t += tokens_at_once) {
    for (Index h = 0; h < tokens.heads; h += heads_at_once) {
      attend(products, kv, tokens, logits, q, out,
             {t, std::min(tokens_at_once, q.extent(0) - t), h, std::min(heads_at_once, tokens.heads - h)});
    }
  }
}

// Of the steps: calls with(rows) for all heads of the token.
template <class With>
HWY_INLINE void over_heads(const KvHead& kv, const AttentionSteps& steps, const With& with) {
  const Index rows = rows_of_width(kv.head_dim);
  for (Index h = 0; h < steps.heads(); h += rows) with(PassRows{0, 1, h, std::min(rows, steps.heads() - h)});
}

// All rows see the same of block i.
HWY_INLINE Block step_block(const KvHead& kv, const AttentionSteps& steps, Index i, const Pass& pass, Index rows,
                            Index end) {
  const Index start = (steps.first + i) * kAttentionBlock;
  const Visible any = pass.rows[0].visible(start);
  return {start, any, 0, rows, tiles_of(kv, start, any, end)};
}

HWY_NOINLINE void step_logits(BlockProducts& products, const KvHead& kv, const QueryTokens& token,
                              AttentionLogits logits, MatrixView<const float> q, StepRange blocks,
                              const AttentionSteps& steps, const PassRows& of) {
  const Index end = std::min(token.end(0), (steps.first + blocks.end) * kAttentionBlock);
  const Ahead ahead{0, kv_tile_bytes(kv.type.keys, kv.head_dim).count, 0};
  Pass pass;
  prepare_queries(kv, logits.scale, q, of, pass);
  see(token, of, pass);
  for (Index i = blocks.begin; i < blocks.end; ++i) {
    const Block block = step_block(kv, steps, i, pass, of.size(), end);
    const Visible seen = block.any;
    products.logits(pass, block, kv.head_dim, logits.scale, ahead);
    for (Index row = 0; row < of.size(); ++row) {
      steps.maximum(of.head_of(row), i) = largest_logit(pass.p[row], seen, logits.soft_cap);
      std::copy_n(pass.p[row], kAttentionBlock, &steps.p(of.head_of(row), i * kAttentionBlock));
    }
  }
}

// Columns of the values a block later, of half types.
HWY_INLINE void ask_for_rows(const LaterTiles& later, Visible seen, Columns columns, Index row_bytes) {
  for (Index j = seen.from / kPageTokens * kPageTokens; j < round_up(seen.to, kPageTokens); ++j) {
    const std::byte* row = later.values[j / kPageTokens] + j % kPageTokens * row_bytes;
    prefetch_tile(row + 2 * columns.from, 2 * (columns.to - columns.from));
  }
}

HWY_NOINLINE void step_values(BlockProducts& products, const KvHead& kv, const QueryTokens& token, Columns columns,
                              const AttentionSteps& steps, MatrixView<float> out, const PassRows& of) {
  const Index D = kv.head_dim, width = out.extent(1) / steps.heads(), stride = round_up(D, 32);
  const bool halves = kv.type.values == KvType::kF16 || kv.type.values == KvType::kBF16;
  const bool asks = halves && columns.to - columns.from > 32;  // codes are asked for by StoredCodes, f32 comes unasked
  Pass pass;
  pass.queries.stride = stride;
  see(token, of, pass);
  for (Index row = 0; row < of.size(); ++row) {
    const float* before = &out(0, of.head_of(row) * width);
    float* sums = pass.out + row * stride;
    std::fill_n(sums, stride, 0.0f);
    if (token.part.carries()) std::copy(before + columns.from, before + columns.to, sums + columns.from);
  }
  for (Index i = 0; i < steps.blocks(); ++i) {
    Block block = step_block(kv, steps, i, pass, of.size(), token.end(0));
    std::copy_n(block.tiles.later.values, kBlockPages, block.tiles.later.keys);  // nobody reads keys here
    if (asks) ask_for_rows(block.tiles.later, block.any, columns, 2 * D);
    for (Index row = 0; row < of.size(); ++row) {
      std::copy_n(&steps.p(of.head_of(row), i * kAttentionBlock), kAttentionBlock, pass.p[row]);
      rescale(pass.out + row * stride, columns, steps.correction(of.head_of(row), i));
    }
    products.values(pass, block, D, columns, kBothHalves);
  }
  for (Index row = 0; row < of.size(); ++row) {
    const Index h = of.head_of(row);
    finish_row(pass.out + row * stride, columns, token.part.last, steps.sum(h), &out(0, h * width));
  }
}

void attention(const KvHead& kv, const QueryTokens& tokens, AttentionLogits logits, MatrixView<const float> q,
               MatrixView<float> out) {
  BlockProducts products(kv.type);
  attend_with(products, kv, tokens, logits, q, out);
}

void attention_logits(const KvHead& kv, const QueryTokens& token, AttentionLogits logits, MatrixView<const float> q,
                      StepRange blocks, const AttentionSteps& steps) {
  check_width(kv);
  BlockProducts products(kv.type);
  over_heads(kv, steps,
             [&](const PassRows& rows) { step_logits(products, kv, token, logits, q, blocks, steps, rows); });
}

void attention_weights(const QueryTokens& token, StepRange blocks, const AttentionSteps& steps) {
  const Row row{token.begin(0), token.end(0)};
  for (Index h = 0; h < steps.heads(); ++h) {
    for (Index i = blocks.begin; i < blocks.end; ++i) {
      const float maximum = steps.maximum(h, i);
      steps.correction(h, i) = steps.maximum_before(h, i) - maximum;
      steps.total(h, i) =
          probabilities(&steps.p(h, i * kAttentionBlock), row.visible((steps.first + i) * kAttentionBlock), maximum);
    }
    for (Index i = blocks.begin; i < blocks.end; i += 16) {
      float* corrections = &steps.correction(h, i);
      store_up_to_16(exp(load_up_to_16(corrections, blocks.end - i)), corrections, blocks.end - i);
    }
  }
}

void attention_values(const KvHead& kv, const QueryTokens& token, StepRange columns, const AttentionSteps& steps,
                      MatrixView<float> out) {
  check_width(kv);
  BlockProducts products(kv.type);
  over_heads(kv, steps, [&](const PassRows& rows) {
    step_values(products, kv, token, {columns.begin, columns.end}, steps, out, rows);
  });
}

}  // namespace jericho::kernels::HWY_NAMESPACE
#if HWY_TARGET == HWY_AVX3
HWY_POP_ATTRIBUTES
#else
HWY_AFTER_NAMESPACE();
#endif
