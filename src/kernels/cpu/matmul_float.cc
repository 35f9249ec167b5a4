// Products of F32, F16 and BF16 weights for AVX2 and AVX-512, in the order of docs/numerics.md 3.
// F32, F16 and row formats: sixteen dot products at a time (rows x tokens), each in its own vector, reduced together at
// a segment's end. BF16: lanes are the sixteen rows of a strip; 32 columns of them are transposed into an even and an
// odd chain.
#include <algorithm>
#include <array>
#include <type_traits>

#include "kernels/cpu/targets.h"
#include "kernels/matmul.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul_float.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"
#include "kernels/cpu/float_rows-inl.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {

HWY_INLINE F32x16 sum_of_segments(const F32x16* s) {
  return add(add(add(s[0], s[1]), add(s[2], s[3])), add(add(s[4], s[5]), add(s[6], s[7])));
}

// Asks for the line of a row that is read `kRowsAhead` bytes after the one at `byte`; from the row's end on for the
// beginning of the row a strip further. Into the second cache: the rows of a strip are often 4 KiB apart, which the
// first cache keeps in one set.
constexpr Index kRowsAhead = 1024;
HWY_INLINE void prefetch_row(const std::byte* row, Index byte, Index row_bytes) {
  const Index at = byte + kRowsAhead;
  const std::byte* from = at < row_bytes ? row : row + (kStripRows - 1) * row_bytes;
  _mm_prefetch(reinterpret_cast<const char*>(from + at), _MM_HINT_T1);
}

// Lane t * kRows + r of the result is row `rows + r` times token[t]; kRows * kTokens is 16.
template <class Rows, int kRows, int kTokens>
HWY_NOINLINE void float_dots(const Rows& rows_of, const std::byte* rows, const PackedMatrix& w, const Activations& x,
                             const std::array<const float*, kTokens>& token, float* out) {
  const Index row_bytes = storage_bytes(w.dtype, x.cols).count;
  F32x16 sums[kSegments];
  for (Index i = 0; i < kSegments; ++i) {
    const SegmentColumns segment = segment_columns(w, x.cols, i);
    F32x16 acc[16];
#pragma GCC unroll 16
    for (int j = 0; j < 16; ++j) acc[j] = zero();
    using Values = typename Rows::Values;
    for (Index k = segment.begin; k < segment.end; k += Values::kColumns) {
      const Index at = storage_bytes(w.dtype, k).count;
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const std::byte* row = rows + r * row_bytes;
        const Values weights = rows_of.decode(row, k);
        prefetch_row(row, at, row_bytes);
#pragma GCC unroll 4
        for (int v = 0; v < Values::kVectors; ++v) {
#pragma GCC unroll 4
          for (int t = 0; t < kTokens; ++t) {
            const F32x16 values = load(token[static_cast<std::size_t>(t)] + k + 16 * v);
            acc[t * kRows + r] = fma(weights.at[v], values, acc[t * kRows + r]);
          }
        }
      }
    }
    sums[i] = sums_of_16(acc);
  }
  store(sum_of_segments(sums), out);
}

// Rows [row, row + kRows) times tokens [begin, begin + count); a short block of tokens is filled up with its last.
template <class Rows, int kRows, int kTokens>
HWY_INLINE void float_block(const Rows& rows_of, const PackedMatrix& w, const Activations& x, const float* bias,
                            Index row, Index begin, Index count, MatrixView<float> y) {
  std::array<const float*, kTokens> token{};
  for (Index t = 0; t < kTokens; ++t) {
    token[static_cast<std::size_t>(t)] = x.f32 + (begin + std::min(t, count - 1)) * x.cols;
  }
  alignas(64) float dots[16];
  float_dots<Rows, kRows, kTokens>(rows_of, w.data + row * storage_bytes(w.dtype, x.cols).count, w, x, token, dots);
  for (Index t = 0; t < count; ++t) {
    for (Index r = 0; r < std::min<Index>(kRows, w.rows - row); ++r) {
      const float dot = dots[t * kRows + r];
      y(begin + t, row + r) = bias != nullptr ? dot + bias[row + r] : dot;
    }
  }
}

template <class Rows>
HWY_NOINLINE void float_strip(const PackedMatrix& w, const Activations& x, const float* bias, Index row,
                              MatrixView<float> y) {
  const Rows rows_of;
  for (Index t = 0; t < x.tokens; t += 4) {
    const Index count = std::min<Index>(4, x.tokens - t);
    if (count == 1) {
      float_block<Rows, 16, 1>(rows_of, w, x, bias, row, t, count, y);
      continue;
    }
    for (Index r = row; r < std::min(w.rows, row + kStripRows); r += 4) {
      float_block<Rows, 4, 4>(rows_of, w, x, bias, r, t, count, y);
    }
  }
}

// Per token the 32 activations of a unit as fp32, so that each can be broadcast from memory.
struct UnitActivations {
  alignas(64) float value[32];
  HWY_INLINE void load_from(const BF16* x) {
    store(load_bf16(x), value);
    store(load_bf16(x + 16), value + 16);
  }
};

template <int kTokens>
HWY_NOINLINE void bf16_block(const BF16* strip, const PackedMatrix& w, const Activations& x, Index row, Index begin,
                             Index count, const float* bias, MatrixView<float> y) {
  F32x16 sums[kTokens][kSegments];
  for (Index i = 0; i < kSegments; ++i) {
    const SegmentColumns segment = segment_columns(w, x.cols, i);
    F32x16 acc[kTokens];
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) acc[t] = zero();
    for (Index k = segment.begin; k < segment.end; k += 32) {
      I32x16 pairs[16];
      transpose_pairs(reinterpret_cast<const std::byte*>(strip + k), x.cols * 2, pairs);
      for (Index r = 0; r < kStripRows; ++r) {
        prefetch_row(reinterpret_cast<const std::byte*>(strip + r * x.cols), k * 2, x.cols * 2);
      }
      UnitActivations values[kTokens];
      F32x16 even[kTokens];
      F32x16 odd[kTokens];
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) {
        values[t].load_from(x.bf16 + (begin + std::min<Index>(t, count - 1)) * x.cols + k);
        even[t] = zero();
        odd[t] = zero();
      }
#pragma GCC unroll 16
      for (int p = 0; p < 16; ++p) {
        const F32x16 w_even = even_of_pair(pairs[p]);
        const F32x16 w_odd = odd_of_pair(pairs[p]);
#pragma GCC unroll 4
        for (int t = 0; t < kTokens; ++t) {
          even[t] = fma(w_even, set(values[t].value[2 * p]), even[t]);
          odd[t] = fma(w_odd, set(values[t].value[2 * p + 1]), odd[t]);
        }
      }
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) acc[t] = add(acc[t], add(even[t], odd[t]));
    }
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) sums[t][i] = acc[t];
  }
  const Index rows = w.rows - row;
  for (Index t = 0; t < count; ++t) {
    F32x16 total = sum_of_segments(sums[t]);
    if (bias != nullptr) total = add(total, load_up_to_16(bias + row, rows));
    store_up_to_16(total, y.data() + (begin + t) * y.row_stride() + row, rows);
  }
}

static HWY_NOINLINE void bf16_strip(const PackedMatrix& w, const Activations& x, const float* bias, Index row,
                                    MatrixView<float> y) {
  const BF16* strip = reinterpret_cast<const BF16*>(w.data) + row * x.cols;
  for (Index t = 0; t < x.tokens; t += 4) {
    const Index count = std::min<Index>(4, x.tokens - t);
    if (count == 1) {
      bf16_block<1>(strip, w, x, row, t, count, bias, y);
    } else {
      bf16_block<4>(strip, w, x, row, t, count, bias, y);
    }
  }
}

void matmul_float(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin, Index strip_end,
                  MatrixView<float> y) {
#if HWY_TARGET == HWY_AVX3
  if (w.dtype == DType::kBF16 && x.tokens > 4) return matmul_bf16(w, x, bias, strip_begin, strip_end, y);
#endif
  for (Index s = strip_begin; s < strip_end; ++s) {
    const Index row = s * kStripRows;
    switch (w.dtype) {
      case DType::kF32: float_strip<PlainRows<float> >(w, x, bias, row, y); break;
      case DType::kF16: float_strip<PlainRows<F16> >(w, x, bias, row, y); break;
      case DType::kNF4: float_strip<CodedRows<NF4> >(w, x, bias, row, y); break;
      case DType::kFP8: float_strip<CodedRows<FP8> >(w, x, bias, row, y); break;
      default: bf16_strip(w, x, bias, row, y); break;
    }
  }
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
