// State spaces as docs/numerics.md 5 defines them. Read this first; never optimise it.
#include "kernels/state_space.h"

#include <array>
#include <cmath>

#include "base/half.h"
#include "kernels/exp.h"
#include "kernels/lanes.h"
#include "kernels/softplus.h"

namespace jericho::ref {
namespace {

float stored(DType type, float x) { return type == DType::kF16 ? to_float(to_f16(x)) : x; }

float read(const ConvHistory& history, Index row, Index channel) {
  const Index at = row * history.row_stride + channel;
  return history.type == DType::kF16 ? to_float(reinterpret_cast<const F16*>(history.data)[at])
                                     : reinterpret_cast<const float*>(history.data)[at];
}

void write(const ConvHistory& history, Index row, Index channel, float x) {
  const Index at = row * history.row_stride + channel;
  if (history.type == DType::kF16) {
    reinterpret_cast<F16*>(history.data)[at] = to_f16(x);
  } else {
    reinterpret_cast<float*>(history.data)[at] = x;
  }
}

// One step of one channel: its state moves on and is read out.
float step(const SelectiveScan& s, Index t, float dt, const float* a, Index a_stride, float d, float x, float* h) {
  std::array<float, 16> lane{};
  const float input = dt * x;
  for (Index n = 0; n < s.b.extent(1); ++n) {
    h[n] = std::fma(h[n], ref::exp(dt * a[n * a_stride]), input * s.b(t, n));
    float& sum = lane[static_cast<std::size_t>(n % 16)];
    sum = std::fma(h[n], s.c(t, n), sum);
  }
  return std::fma(d, x, sum_lanes(lane));
}

}  // namespace

void causal_conv1d(const Convolution& conv, const ConvHistory& history, MatrixView<float> x) {
  const Index before = conv.kernel - 1;
  std::array<float, kMaxConvKernel> window{};
  for (Index c = 0; c < x.extent(1); ++c) {
    for (Index j = 0; j < before; ++j) window[static_cast<std::size_t>(j)] = read(history, j, c);
    for (Index t = 0; t < x.extent(0); ++t) {
      window[static_cast<std::size_t>(before)] = stored(history.type, x(t, c));
      float sum = conv.bias == nullptr ? 0.0f : conv.bias[c];
      for (Index j = 0; j < conv.kernel; ++j)
        sum = std::fma(conv.weight[c * conv.kernel + j], window[static_cast<std::size_t>(j)], sum);
      x(t, c) = sum / (1.0f + ref::exp(-sum));
      for (Index j = 0; j < before; ++j) window[static_cast<std::size_t>(j)] = window[static_cast<std::size_t>(j + 1)];
    }
    for (Index j = 0; j < before; ++j) write(history, j, c, window[static_cast<std::size_t>(j)]);
  }
}

void time_steps(const float* bias, float lowest, float highest, MatrixView<float> dt) {
  for (Index t = 0; t < dt.extent(0); ++t) {
    for (Index c = 0; c < dt.extent(1); ++c) {
      const float y = ref::softplus(dt(t, c) + bias[c]);
      dt(t, c) = y < lowest ? lowest : y > highest ? highest : y;
    }
  }
}

void mamba_scan(const SelectiveScan& s, float* state, MatrixView<float> x) {
  const Index N = s.b.extent(1);
  for (Index t = 0; t < x.extent(0); ++t) {
    for (Index c = 0; c < x.extent(1); ++c)
      x(t, c) = step(s, t, s.dt(t, c), s.a + c * N, 1, s.d[c], x(t, c), state + c * N);
  }
}

void mamba2_scan(const SelectiveScan& s, float* state, MatrixView<float> x) {
  const Index N = s.b.extent(1);
  for (Index t = 0; t < x.extent(0); ++t) {
    for (Index c = 0; c < x.extent(1); ++c) x(t, c) = step(s, t, s.dt(t, 0), s.a, 0, *s.d, x(t, c), state + c * N);
  }
}

}  // namespace jericho::ref
