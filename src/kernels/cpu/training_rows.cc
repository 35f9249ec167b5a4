// The row kernels of training for AVX2 and AVX-512: each function gives the bits of its twin in kernels/ref. Compiled
// once per target.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/math.h"
#include "kernels/cpu/training_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/training_rows.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"
#include "kernels/cpu/float_rows16-inl.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {

void rms_norm_backward(MatrixView<const float> x, std::span<const float> weight, float eps, MatrixView<const float> dy,
                       MatrixView<float> dx, std::span<float> dweight) {
  const Index C = x.extent(1);
  for (Index t = 0; t < x.extent(0); ++t) {
    const float* row = x.row(t).data();
    const float* gradient = dy.row(t).data();
    F32x16 squares = zero(), dots = zero();
    for (Index c = 0; c < C; c += 16) {
      const F32x16 v = load_up_to_16(row + c, C - c);
      const F32x16 g = multiply(load_up_to_16(gradient + c, C - c), load_up_to_16(weight.data() + c, C - c));
      squares = fma(v, v, squares);
      dots = fma(g, v, dots);
    }
    const auto width = static_cast<float>(C);
    const float r = 1.0f / std::sqrt(sum(squares) / width + eps);
    const float along = -(r * r * r / width * sum(dots));
    for (Index c = 0; c < C; c += 16) {
      const Index left = C - c;
      const F32x16 v = load_up_to_16(row + c, left);
      const F32x16 d = load_up_to_16(gradient + c, left);
      const F32x16 g = multiply(d, load_up_to_16(weight.data() + c, left));
      float* out = dx.row(t).data() + c;
      store_up_to_16(add(load_up_to_16(out, left), fma(v, set(along), multiply(set(r), g))), out, left);
      float* dw = dweight.data() + c;
      store_up_to_16(fma(multiply(d, v), set(r), load_up_to_16(dw, left)), dw, left);
    }
  }
}

struct Gate {
  F32x16 value, slope;
};

template <Activation kActivation>
HWY_INLINE Gate gate_at(F32x16 z) {
  using namespace glu_constants;
  if constexpr (kActivation == Activation::kRelu2) {
    const F32x16 positive = where_less(z, zero(), zero(), z);
    return {multiply(positive, positive), multiply(set(2.0f), positive)};
  }
  constexpr bool kGelu = kActivation == Activation::kGeluTanh;
  F32x16 t = z;
  if constexpr (kGelu) t = multiply(z, fma(multiply(z, z), set(kGeluCubic), set(kGeluLinear)));
  const F32x16 s = divide(set(1.0f), add(set(1.0f), exp(negate(t))));
  const F32x16 rest = subtract(set(1.0f), s);
  const F32x16 value = multiply(z, s);
  if constexpr (!kGelu) return {value, multiply(s, fma(z, rest, set(1.0f)))};
  return {value, fma(multiply(value, rest), fma(multiply(z, z), set(3.0f * kGeluCubic), set(kGeluLinear)), s)};
}

template <Activation kActivation>
void glu_forward_rows(const ConstFloatRows& gate, const ConstFloatRows& up, const FloatRows& y) {
  for (Index t = 0; t < gate.rows; ++t) {
    for (Index c = 0; c < gate.cols; c += 16) {
      const Index left = gate.cols - c;
      const Gate g = gate_at<kActivation>(load_values(gate, t, c, left));
      store_values(multiply(g.value, load_values(up, t, c, left)), y, t, c, left);
    }
  }
}

template <Activation kActivation>
void glu_backward_rows(const ConstFloatRows& gate, const ConstFloatRows& up, MatrixView<const float> dy,
                       const FloatRows& dgate, const FloatRows& dup, const FloatRows& y) {
  for (Index t = 0; t < gate.rows; ++t) {
    for (Index c = 0; c < gate.cols; c += 16) {
      const Index left = gate.cols - c;
      const Gate g = gate_at<kActivation>(load_values(gate, t, c, left));
      const F32x16 u = load_values(up, t, c, left);
      const F32x16 d = load_up_to_16(dy.row(t).data() + c, left);
      store_values(multiply(g.value, u), y, t, c, left);
      store_values(multiply(d, g.value), dup, t, c, left);
      store_values(multiply(multiply(d, u), g.slope), dgate, t, c, left);
    }
  }
}

void glu_rows(Activation activation, const ConstFloatRows& gate, const ConstFloatRows& up, const FloatRows& y) {
  switch (activation) {
    case Activation::kSilu: return glu_forward_rows<Activation::kSilu>(gate, up, y);
    case Activation::kGeluTanh: return glu_forward_rows<Activation::kGeluTanh>(gate, up, y);
    case Activation::kRelu2: return glu_forward_rows<Activation::kRelu2>(gate, up, y);
  }
}

void glu_backward(Activation activation, const ConstFloatRows& gate, const ConstFloatRows& up,
                  MatrixView<const float> dy, const FloatRows& dgate, const FloatRows& dup, const FloatRows& y) {
  switch (activation) {
    case Activation::kSilu: return glu_backward_rows<Activation::kSilu>(gate, up, dy, dgate, dup, y);
    case Activation::kGeluTanh: return glu_backward_rows<Activation::kGeluTanh>(gate, up, dy, dgate, dup, y);
    case Activation::kRelu2: return glu_backward_rows<Activation::kRelu2>(gate, up, dy, dgate, dup, y);
  }
}

// Which of the columns [j, j + 16) a row sees, and their lanes: 1 where it does.
struct Seen {
  Index first, end;  // of the row
  [[nodiscard]] bool all(Index j) const { return j >= first && j + 16 <= end; }
  [[nodiscard]] bool none(Index j) const { return j >= end || j + 16 <= first; }
  HWY_INLINE void mark(Index j, float* ones) const {
    for (Index i = 0; i < 16; ++i) ones[i] = j + i >= first && j + i < end ? 1.0f : 0.0f;
  }
};

HWY_INLINE F32x16 only_seen(F32x16 v, const Seen& seen, Index j) {  // 0 elsewhere
  if (seen.all(j)) return v;
  alignas(64) float ones[16];
  seen.mark(j, ones);
  return where_equal(load(ones), zero(), zero(), v);
}

HWY_INLINE Seen seen_by(VisibleKeys visible, Index i, Index n) {
  return {std::max<Index>(visible.first + i, 0), std::min(visible.end + i, n)};
}

void attention_probabilities(MatrixView<const float> s, float scale, VisibleKeys visible, const FloatRows& p, float* m,
                             float* inverse) {
  const Index n = s.extent(1);
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  for (Index i = 0; i < s.extent(0); ++i) {
    const Seen seen = seen_by(visible, i, n);
    const float* row = s.row(i).data();
    F32x16 largest = set(kLowest);
    for (Index j = seen.first / 16 * 16; j < seen.end; j += 16) {
      F32x16 v = multiply(set(scale), load(row + j));
      if (!seen.all(j)) {
        alignas(64) float ones[16];
        seen.mark(j, ones);
        v = where_equal(load(ones), zero(), set(kLowest), v);
      }
      largest = greater(v, largest);
    }
    m[i] = maximum(largest);
    F32x16 total = zero();
    for (Index j = 0; j < n; j += 16) {
      F32x16 v = zero();
      if (!seen.none(j)) {
        v = only_seen(exp(subtract(multiply(set(scale), load(row + j)), set(m[i]))), seen, j);
        total = add(total, v);
      }
      store_values(v, p, i, j, 16);
    }
    inverse[i] = 1.0f / sum(total);
  }
}

void attention_gradients(MatrixView<const float> s, MatrixView<const float> dp, float scale, VisibleKeys visible,
                         const float* m, const float* inverse, const float* delta, const FloatRows& q,
                         const FloatRows& ds) {
  const Index n = s.extent(1);
  for (Index i = 0; i < s.extent(0); ++i) {
    const Seen seen = seen_by(visible, i, n);
    for (Index j = 0; j < n; j += 16) {
      F32x16 value = zero(), gradient = zero();
      if (!seen.none(j)) {
        const F32x16 shifted = subtract(multiply(set(scale), load(s.row(i).data() + j)), set(m[i]));
        value = only_seen(multiply(exp(shifted), set(inverse[i])), seen, j);
        const F32x16 rest = subtract(load(dp.row(i).data() + j), set(delta[i]));
        gradient = only_seen(multiply(multiply(value, rest), set(scale)), seen, j);
      }
      store_values(value, q, i, j, 16);
      store_values(gradient, ds, i, j, 16);
    }
  }
}

void cross_entropy(MatrixView<const float> z, const std::int32_t* targets, float factor, double* loss,
                   const FloatRows& dz) {
  const Index V = z.extent(1);
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  for (Index t = 0; t < z.extent(0); ++t) {
    const float* row = z.row(t).data();
    const std::int32_t y = targets[t];
    loss[t] = 0;
    if (y < 0) {
      for (Index v = 0; dz.data != nullptr && v < V; v += 16) store_values(zero(), dz, t, v, V - v);
      continue;
    }
    F32x16 most = set(kLowest);
    for (Index v = 0; v + 16 <= V; v += 16) most = greater(load(row + v), most);
    float largest = V >= 16 ? maximum(most) : row[0];
    for (Index v = V / 16 * 16; v < V; ++v) largest = std::max(largest, row[v]);
    F32x16 total = zero();
    const Seen seen = {0, V};
    for (Index v = 0; v < V; v += 16) {
      total = add(total, only_seen(exp(subtract(load_up_to_16(row + v, V - v), set(largest))), seen, v));
    }
    const float all = sum(total);
    loss[t] = static_cast<double>(largest) + log_double(static_cast<double>(all)) - static_cast<double>(row[y]);
    if (dz.data == nullptr) continue;
    const float share = factor / all;
    for (Index v = 0; v < V; v += 16) {
      const F32x16 p = multiply(exp(subtract(load_up_to_16(row + v, V - v), set(largest))), set(share));
      if (y < v || y >= v + 16) {
        store_values(p, dz, t, v, V - v);
        continue;
      }
      alignas(64) float staged[16];
      store(p, staged);
      staged[y - v] = staged[y - v] - factor;
      store_values(load(staged), dz, t, v, V - v);
    }
  }
}

void scale_rows(const ConstFloatRows& x, const float* factors, const FloatRows& y) {
  for (Index t = 0; t < x.rows; ++t) {
    for (Index c = 0; c < x.cols; c += 16) {
      const F32x16 v = load_values(x, t, c, x.cols - c);
      store_values(factors != nullptr ? multiply(v, set(factors[t])) : v, y, t, c, x.cols - c);
    }
  }
}

void rope_rows(MatrixView<const float> x, Index head_dim, MatrixView<const float> cos, MatrixView<const float> sin,
               Turn turn, const FloatRows& y) {
  const Index half = cos.extent(1);
  for (Index t = 0; t < x.extent(0); ++t) {
    for (Index head = 0; head < x.extent(1); head += head_dim) {
      const float* row = x.row(t).data() + head;
      for (Index i = 0; i < half; i += 16) {
        const Index left = half - i;
        const F32x16 a = load_up_to_16(row + i, left), b = load_up_to_16(row + half + i, left);
        const F32x16 c = load_up_to_16(cos.row(t).data() + i, left);
        F32x16 s = load_up_to_16(sin.row(t).data() + i, left);
        if (turn == Turn::kBack) s = negate(s);
        store_values(fma(a, c, negate(multiply(b, s))), y, t, head + i, left);
        store_values(fma(b, c, multiply(a, s)), y, t, head + half + i, left);
      }
      for (Index i = 2 * half; i < head_dim; i += 16) {
        store_values(load_up_to_16(row + i, head_dim - i), y, t, head + i, head_dim - i);
      }
    }
  }
}

void row_dots(const ConstFloatRows& a, const ConstFloatRows& b, float* out) {
  for (Index t = 0; t < a.rows; ++t) {
    F32x16 total = zero();
    for (Index c = 0; c < a.cols; c += 16) {
      total = fma(load_values(a, t, c, a.cols - c), load_values(b, t, c, a.cols - c), total);
    }
    out[t] = sum(total);
  }
}

void add_column_sums(const ConstFloatRows& x, std::span<float> sums) {
  for (Index c = 0; c < x.cols; c += 16) {
    const Index left = x.cols - c;
    F32x16 total = load_up_to_16(sums.data() + c, left);
    for (Index t = 0; t < x.rows; ++t) total = add(total, load_values(x, t, c, left));
    store_up_to_16(total, sums.data() + c, left);
  }
}

float sum_squares(const float* x, Index count) {
  F32x16 total = zero();
  for (Index i = 0; i < count; i += 16) {
    const F32x16 v = load_up_to_16(x + i, count - i);
    total = fma(v, v, total);
  }
  return sum(total);
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
