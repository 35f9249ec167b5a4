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

namespace {

// One block's sum of cells a(k) and b(k), k in [begin, end), on from `sum`.
template <class A, class B>
float add_chain(DType type, Index begin, Index end, const A& a, const B& b, float sum) {
  for (Index k = begin; k < end; ++k) {
    if (type == DType::kF32) {
      sum = std::fma(std::bit_cast<float>(a(k)), std::bit_cast<float>(b(k)), sum);
    } else {
      sum = std::fma(high(a(k)), high(b(k)), sum);
      sum = std::fma(low(a(k)), low(b(k)), sum);
    }
  }
  return sum;
}

template <class A, class B>
float add_units(Index begin, Index end, const A& a, const B& b, float sum) {
  constexpr Index kUnit = 16;  // cells
  for (Index first = begin; first < end; first += kUnit) {
    float even = 0, odd = 0;
    for (Index k = first; k < first + kUnit; ++k) {
      const std::uint32_t x = k < end ? a(k) : 0, w = k < end ? b(k) : 0;
      even = std::fma(low(x), low(w), even);
      odd = std::fma(high(x), high(w), odd);
    }
    sum = sum + (even + odd);
  }
  return sum;
}

// c[m,n] = sum_of(c[m,n], begin, end, a, b) block by block, where a(k) and b(k) are cells.
template <class Sum>
void multiply(const DenseLeft& a, const DenseRight& b, std::span<const Index> ends, DenseStore store,
              const FloatRows& c, const Sum& sum_of) {
  JERICHO_CHECK(store == DenseStore::kAdd ? c.dtype == DType::kF32 : ends.size() == 1, "{} blocks into type {}",
                ends.size(), name(c.dtype));
  for (Index m = 0; m < c.rows; ++m) {
    for (Index n = 0; n < c.cols; ++n) {
      const Index panel = n / kDensePanel, width = b.width(panel);
      const std::uint32_t* column = b.panel(panel) + n % kDensePanel;
      const auto left = [&](Index k) {
        if (a.columns.data == nullptr) return a.cells[m * a.row_stride + k * a.k_stride];
        return cell(DType::kBF16, value(a.columns, 2 * k, m), value(a.columns, 2 * k + 1, m));
      };
      const auto right = [&](Index k) { return column[k * width]; };
      Index begin = 0;
      for (const Index end : ends) {
        float before = 0;
        if (store == DenseStore::kAdd) before = reinterpret_cast<const float*>(c.row(m))[n];
        const float sum = sum_of(before, begin, end, left, right);
        begin = end;
        if (c.dtype == DType::kF32) {
          reinterpret_cast<float*>(c.row(m))[n] = sum;
        } else {
          reinterpret_cast<BF16*>(c.row(m))[n] = to_bf16(sum);
        }
      }
    }
  }
}

}  // namespace

void dense_multiply(DType type, const DenseLeft& a, const DenseRight& b, std::span<const Index> ends, DenseStore store,
                    const FloatRows& c) {
  multiply(a, b, ends, store, c, [&](float before, Index begin, Index end, const auto& x, const auto& w) {
    const float sum = add_chain(type, begin, end, x, w, 0);
    return store == DenseStore::kAdd ? before + sum : sum;
  });
}

void dense_multiply_tiles(DType type, const DenseLeft& a, const DenseRight& b, std::span<const Index> ends,
                          DenseStore store, const FloatRows& c) {
  if (type == DType::kF32) return dense_multiply(type, a, b, ends, store, c);
  multiply(a, b, ends, store, c, [](float before, Index begin, Index end, const auto& x, const auto& w) {
    return add_units(begin, end, x, w, before);
  });
}

}  // namespace jericho::ref
