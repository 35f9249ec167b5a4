// Dense products value by value. Read this first; never optimise it.
#include "kernels/dense.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "base/check.h"

namespace jericho::ref {
namespace {

float value(const ConstFloatRows& x, Index t, Index c) {
  if (t >= x.rows || c >= x.cols) return 0;
  if (x.dtype == DType::kF32) return reinterpret_cast<const float*>(x.row(t))[c];
  return to_float(reinterpret_cast<const BF16*>(x.row(t))[c]);
}

std::uint32_t cell(DType type, float first, float second) {
  if (type == DType::kF32) return std::bit_cast<std::uint32_t>(first);
  return to_bf16(first).bits | static_cast<std::uint32_t>(to_bf16(second).bits) << 16;
}

float low(std::uint32_t cell) { return std::bit_cast<float>(cell << 16); }
float high(std::uint32_t cell) { return std::bit_cast<float>(cell & 0xffff0000u); }

}  // namespace

void dense_interleave(DType type, const ConstFloatRows& x, Index padded_cols, std::uint32_t* out, Index out_stride) {
  const Index step = type == DType::kF32 ? 1 : 2;
  for (Index u = 0; u < dense_cells(type, x.rows); ++u) {
    for (Index c = 0; c < padded_cols; ++c) {
      out[u * out_stride + c] = cell(type, value(x, step * u, c), step == 2 ? value(x, 2 * u + 1, c) : 0);
    }
  }
}

void dense_transpose(DType type, const ConstFloatRows& x, std::uint32_t* out, Index width) {
  const Index step = type == DType::kF32 ? 1 : 2;
  for (Index u = 0; u < dense_cells(type, x.cols); ++u) {
    for (Index n = 0; n < width; ++n) {
      out[u * width + n] = cell(type, value(x, n, step * u), step == 2 ? value(x, n, 2 * u + 1) : 0);
    }
  }
}

void dense_multiply(DType type, const DenseLeft& a, const DensePanel& b, std::span<const Index> ends, DenseStore store,
                    const FloatRows& c) {
  JERICHO_CHECK(store == DenseStore::kAdd ? c.dtype == DType::kF32 : ends.size() == 1, "{} blocks into type {}",
                ends.size(), name(c.dtype));
  for (Index m = 0; m < c.rows; ++m) {
    for (Index n = 0; n < b.cols; ++n) {
      Index begin = 0;
      for (const Index end : ends) {
        float sum = 0;
        for (Index k = begin; k < end; ++k) {
          const std::uint32_t x = a.cells[m * a.row_stride + k * a.k_stride];
          const std::uint32_t w = b.cells[k * b.width + n];
          if (type == DType::kF32) {
            sum = std::fma(std::bit_cast<float>(x), std::bit_cast<float>(w), sum);
          } else {
            sum = std::fma(high(x), high(w), sum);
            sum = std::fma(low(x), low(w), sum);
          }
        }
        begin = end;
        if (c.dtype == DType::kF32) {
          float& out = reinterpret_cast<float*>(c.row(m))[n];
          out = store == DenseStore::kAdd ? out + sum : sum;
        } else {
          reinterpret_cast<BF16*>(c.row(m))[n] = to_bf16(sum);
        }
      }
    }
  }
}

}  // namespace jericho::ref
