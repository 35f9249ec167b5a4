// The matrix product as docs/numerics.md 3 defines it, over packed strips. Read this first; never optimise it.
#include "kernels/matmul.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <type_traits>

#include "base/check.h"
#include "kernels/lanes.h"
#include "kernels/strip_layout.h"
#include "tensor/block_formats.h"
#include "tensor/row_formats.h"

namespace jericho::ref {
namespace {

// One row of a block format: the groups [begin, end) of a segment. Activations share a scale over at least the columns
// of an integer dot (scale_columns()).
template <class Format>
float block_segment(const std::uint8_t* strip, Index cols, Index lane, const Activations& x, Index t, Index begin,
                    Index end) {
  using Layout = StripLayout<Format>;
  static_assert(!kHasLongDots<Format> || !(Format::kHasSub || Format::kHasMin));
  const Index groups = x.cols / kGroup;
  float acc = 0;
  for (Index g = begin; g < end; g += Layout::dot_groups(begin, end)) {
    std::array<std::int32_t, 2> dot{}, sum{};
    for (Index j = 0; j < kGroup * Layout::dot_groups(begin, end); ++j) {
      const int w = integer_of<Format>(Layout::code(strip + Layout::codes_offset(g + j / kGroup), lane, j % kGroup));
      const std::int32_t q = x.q8[t * x.cols + g * kGroup + j];
      dot[static_cast<std::size_t>(j / 16 % 2)] += w * q;
      sum[static_cast<std::size_t>(j / 16 % 2)] += q;
    }
    const GroupScale w = Layout::group_scale(strip, cols, lane, g);
    const Index at = t * groups + g;
    const std::int32_t zeros = w.zero * (sum[0] + sum[1]);
    acc = std::fma(w.scale * x.scale[at], static_cast<float>(w.sub[0] * dot[0] + w.sub[1] * dot[1] - zeros), acc);
    if constexpr (Format::kHasMinSub) {
      const std::int32_t minima = w.minimum_sub[0] * sum[0] + w.minimum_sub[1] * sum[1];
      acc = std::fma(w.minimum * x.scale[at], static_cast<float>(minima), acc);
    } else if constexpr (Format::kHasMin) {
      acc = std::fma(w.minimum, x.scaled_sum[at], acc);
    }
  }
  return acc;
}

template <class Load>
float bf16_segment(Load weight, const BF16* x, Index begin, Index end) {
  float acc = 0;
  for (Index k = begin; k < end; k += 32) {
    std::array<float, 2> chain{};
    for (Index j = 0; j < 32; ++j) {
      float& sum = chain[static_cast<std::size_t>(j % 2)];
      sum = std::fma(weight(k + j), to_float(x[k + j]), sum);
    }
    acc += chain[0] + chain[1];
  }
  return acc;
}

template <class Load>
float float_segment(Load weight, const float* x, Index begin, Index end) {
  std::array<float, 16> lane{};
  for (Index k = begin; k < end; ++k) {
    float& sum = lane[static_cast<std::size_t>(k % 16)];
    sum = std::fma(weight(k), x[k], sum);
  }
  return sum_lanes(lane);
}

float segment(const PackedMatrix& w, const Activations& x, Index row, Index t, Index begin, Index end) {
  const auto* strip =
      reinterpret_cast<const std::uint8_t*>(w.data) + row / kStripRows * strip_bytes(w.dtype, w.cols).count;
  const auto float_row = [&](auto element) {
    using Element = decltype(element);
    return [data = reinterpret_cast<const Element*>(w.data) + row * w.padded_cols()](Index k) {
      if constexpr (std::is_same_v<Element, float>)
        return data[k];
      else
        return to_float(data[k]);
    };
  };
  const auto decoded_row = [&]<class Format>() {
    return [data = reinterpret_cast<const std::uint8_t*>(w.data) + row * storage_bytes(w.dtype, w.cols).count](
               Index k) { return Format::value(data + k / kRowBlock * Format::kBlockBytes, k % kRowBlock); };
  };
  const float* floats = x.f32 + t * x.cols;
  return visit_block_format(
      w.dtype,
      [&]<class Format>() {
        return block_segment<Format>(strip, w.cols, row % kStripRows, x, t, begin / kGroup, end / kGroup);
      },
      [&] {
        switch (w.dtype) {
          case DType::kNF4: return float_segment(decoded_row.template operator()<NF4>(), floats, begin, end);
          case DType::kFP8: return float_segment(decoded_row.template operator()<FP8>(), floats, begin, end);
          case DType::kF32: return float_segment(float_row(float{}), floats, begin, end);
          case DType::kF16: return float_segment(float_row(F16{}), floats, begin, end);
          default: return bf16_segment(float_row(BF16{}), x.bf16 + t * x.cols, begin, end);
        }
      });
}

}  // namespace

void matmul(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin, Index strip_end,
            MatrixView<float> y) {
  JERICHO_CHECK(x.cols == w.padded_cols() && x.form == activation_form(w.dtype), "x has {} columns, w {}", x.cols,
                w.cols);
  for (Index t = 0; t < x.tokens; ++t) {
    for (Index n = strip_begin * kStripRows; n < std::min(w.rows, strip_end * kStripRows); ++n) {
      std::array<float, kSegments> sums{};
      for (Index i = 0; i < kSegments; ++i) {
        const SegmentColumns columns = segment_columns(w, x.cols, i);
        sums[static_cast<std::size_t>(i)] = segment(w, x, n, t, columns.begin, columns.end);
      }
      const float total = sum_segments(sums);
      y(t, n) = bias != nullptr ? total + bias[n] : total;
    }
  }
}

}  // namespace jericho::ref
