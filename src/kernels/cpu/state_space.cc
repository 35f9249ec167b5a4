// State spaces for AVX2 and AVX-512: sixteen channels at a time, the values of a channel's state in lanes. Compiled
// once per target; each function gives the bits of its twin in kernels/ref/state_space.cc. Start at step().
#include "kernels/state_space.h"

#include <algorithm>

#include "base/half.h"
#include "kernels/cpu/targets.h"
#include "kernels/softplus.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/state_space.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {

HWY_INLINE F32x16 softplus(F32x16 x) {
  using softplus_constants::kSeries;
  const F32x16 u = exp(negate(abs(x)));
  const F32x16 r = divide(add(u, u), add(set(2.0f), u));
  const F32x16 q = multiply(multiply(r, r), set(0.25f));
  F32x16 p = set(kSeries[0]);
  for (int i = 1; i < 8; ++i) p = fma(p, q, set(kSeries[i]));
  return add(greater(x, zero()), multiply(r, p));
}

void time_steps(const float* bias, float lowest, float highest, MatrixView<float> dt) {
  const Index C = dt.extent(1);
  for (Index t = 0; t < dt.extent(0); ++t) {
    float* row = dt.row(t).data();
    for (Index c = 0; c < C; c += 16) {
      const F32x16 x = add(load_up_to_16(row + c, C - c), load_up_to_16(bias + c, C - c));
      F32x16 y = softplus(x);
      y = where_less(y, set(lowest), set(lowest), y);
      y = where_greater(y, set(highest), set(highest), y);
      store_up_to_16(y, row + c, C - c);
    }
  }
}

// Of a history's row, `count` channels from `channel` on.
HWY_INLINE F32x16 read_history(const ConvHistory& history, Index row, Index channel, Index count) {
  const Index at = row * history.row_stride + channel;
  if (history.type == DType::kF32) return load_up_to_16(reinterpret_cast<const float*>(history.data) + at, count);
  const F16* from = reinterpret_cast<const F16*>(history.data) + at;
  if (count >= 16) return load_f16(from);
  F16 staged[16] = {};
  std::copy(from, from + count, staged);
  return load_f16(staged);
}

HWY_INLINE void write_history(F32x16 x, const ConvHistory& history, Index row, Index channel, Index count) {
  const Index at = row * history.row_stride + channel;
  if (history.type == DType::kF32) return store_up_to_16(x, reinterpret_cast<float*>(history.data) + at, count);
  F16 staged[16];
  store_f16(x, staged);
  std::copy(staged, staged + std::min<Index>(count, 16), reinterpret_cast<F16*>(history.data) + at);
}

HWY_INLINE F32x16 rounded_to_f16(F32x16 x) {
  F16 staged[16];
  store_f16(x, staged);
  return load_f16(staged);
}

void causal_conv1d(const Convolution& conv, const ConvHistory& history, MatrixView<float> x) {
  const Index C = x.extent(1), before = conv.kernel - 1;
  alignas(64) float weight[kMaxConvKernel * 16];  // of sixteen channels, one tap after the other
  alignas(64) float window[kMaxConvKernel * 16];  // their inputs, the oldest first
  for (Index c = 0; c < C; c += 16) {
    const Index count = std::min<Index>(16, C - c);
    for (Index j = 0; j < conv.kernel; ++j) {
      for (Index i = 0; i < 16; ++i) weight[j * 16 + i] = i < count ? conv.weight[(c + i) * conv.kernel + j] : 0;
      if (j < before) store(read_history(history, j, c, count), window + j * 16);
    }
    const F32x16 bias = conv.bias == nullptr ? zero() : load_up_to_16(conv.bias + c, count);
    for (Index t = 0; t < x.extent(0); ++t) {
      float* row = x.row(t).data() + c;
      const F32x16 input = load_up_to_16(row, count);
      store(history.type == DType::kF16 ? rounded_to_f16(input) : input, window + before * 16);
      F32x16 sum = bias;
      for (Index j = 0; j < conv.kernel; ++j) sum = fma(load(weight + j * 16), load(window + j * 16), sum);
      store_up_to_16(divide(sum, add(set(1.0f), exp(negate(sum)))), row, count);
      for (Index j = 0; j < before; ++j) store(load(window + (j + 1) * 16), window + j * 16);
    }
    for (Index j = 0; j < before; ++j) write_history(load(window + j * 16), history, j, c, count);
  }
}

// What a step leaves of the state: exp(dt a).
struct DecayOfChannel {
  HWY_INLINE F32x16 at(Index n, Index count) const { return exp(multiply(set(dt), load_up_to_16(a + n, count))); }
  const float* a;
  float dt;
};
struct DecayOfHead {
  HWY_INLINE F32x16 at(Index, Index) const { return load(decay); }
  const float* decay;
};

// One channel's step: its state h moves on; the lanes of the sum that reads it out.
template <class Decay>
HWY_INLINE F32x16 step(Decay decay, float input, const float* b, const float* c, Index N, float* h) {
  F32x16 sum = zero();
  Index n = 0;
  for (; n + 16 <= N; n += 16) {
    const F32x16 next = fma(load(h + n), decay.at(n, 16), multiply(set(input), load(b + n)));
    store(next, h + n);
    sum = fma(next, load(c + n), sum);
  }
  if (n < N) {
    const Index count = N - n;
    const F32x16 next =
        fma(load_first(h + n, count), decay.at(n, count), multiply(set(input), load_first(b + n, count)));
    store_first(next, h + n, count);
    sum = fma(load_first(h + n, count), load_first(c + n, count), sum);  // again: lanes beyond the row are zero
  }
  return sum;
}

void mamba_scan(const SelectiveScan& s, float* state, MatrixView<float> x) {
  const Index C = x.extent(1), N = s.b.extent(1);
  for (Index first = 0; first < C; first += 16) {
    const Index count = std::min<Index>(16, C - first);
    const F32x16 d = load_up_to_16(s.d + first, count);
    for (Index t = 0; t < x.extent(0); ++t) {
      float* row = x.row(t).data() + first;
      const float* dt = s.dt.row(t).data() + first;
      const float* b = s.b.row(t).data();
      const float* c = s.c.row(t).data();
      F32x16 sums[16];
      for (Index i = 0; i < 16; ++i) {
        sums[i] = i < count ? step(DecayOfChannel{s.a + (first + i) * N, dt[i]}, dt[i] * row[i], b, c, N,
                                   state + (first + i) * N)
                            : zero();
      }
      store_up_to_16(fma(d, load_up_to_16(row, count), sums_of_16(sums)), row, count);
    }
  }
}

void mamba2_scan(const SelectiveScan& s, float* state, MatrixView<float> x) {
  const Index C = x.extent(1), N = s.b.extent(1);
  alignas(64) float decay[16];
  for (Index first = 0; first < C; first += 16) {
    const Index count = std::min<Index>(16, C - first);
    for (Index t = 0; t < x.extent(0); ++t) {
      float* row = x.row(t).data() + first;
      const float dt = s.dt(t, 0);
      const float* b = s.b.row(t).data();
      const float* c = s.c.row(t).data();
      store(exp(set(dt * *s.a)), decay);
      F32x16 sums[16];
      for (Index i = 0; i < 16; ++i)
        sums[i] = i < count ? step(DecayOfHead{decay}, dt * row[i], b, c, N, state + (first + i) * N) : zero();
      store_up_to_16(fma(set(*s.d), load_up_to_16(row, count), sums_of_16(sums)), row, count);
    }
  }
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
