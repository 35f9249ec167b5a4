// Row kernels for AVX2 and AVX-512: norms, activation functions and the conversions of activations, keys and values.
// Compiled once per target; each function gives the bits of its twin in kernels/ref.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/activations.h"
#include "kernels/cpu/targets.h"
#include "kernels/glu.h"
#include "kernels/kv_tile.h"
#include "kernels/rms_norm.h"
#include "kernels/soft_cap.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rows.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {

void rms_norm(MatrixView<const float> x, std::span<const float> weight, float eps, MatrixView<float> y) {
  const Index C = x.extent(1);
  for (Index t = 0; t < x.extent(0); ++t) {
    const float* row = x.row(t).data();
    float* out = y.row(t).data();
    F32x16 squares = zero();
    for (Index c = 0; c < C; c += 16) {
      const F32x16 v = load_up_to_16(row + c, C - c);
      squares = fma(v, v, squares);
    }
    const F32x16 scale = set(1.0f / std::sqrt(sum(squares) / static_cast<float>(C) + eps));
    for (Index c = 0; c < C; c += 16) {
      const F32x16 scaled = multiply(load_up_to_16(row + c, C - c), scale);
      store_up_to_16(multiply(scaled, load_up_to_16(weight.data() + c, C - c)), out + c, C - c);
    }
  }
}

template <Activation kActivation>
HWY_INLINE F32x16 activated(F32x16 z) {
  using namespace glu_constants;
  if constexpr (kActivation == Activation::kRelu2) {
    const F32x16 positive = where_less(z, zero(), zero(), z);
    return multiply(positive, positive);
  }
  F32x16 t = z;
  if constexpr (kActivation == Activation::kGeluTanh)
    t = multiply(z, fma(multiply(z, z), set(kGeluCubic), set(kGeluLinear)));
  return divide(z, add(set(1.0f), exp(negate(t))));
}

template <Activation kActivation>
HWY_INLINE void glu_rows(MatrixView<const float> gate, MatrixView<const float> up, MatrixView<float> y) {
  const Index C = gate.extent(1);
  for (Index t = 0; t < gate.extent(0); ++t) {
    for (Index c = 0; c < C; c += 16) {
      const F32x16 z = load_up_to_16(gate.row(t).data() + c, C - c);
      const F32x16 product = multiply(activated<kActivation>(z), load_up_to_16(up.row(t).data() + c, C - c));
      store_up_to_16(product, y.row(t).data() + c, C - c);
    }
  }
}

void glu(Activation activation, MatrixView<const float> gate, MatrixView<const float> up, MatrixView<float> y) {
  switch (activation) {
    case Activation::kSilu: return glu_rows<Activation::kSilu>(gate, up, y);
    case Activation::kGeluTanh: return glu_rows<Activation::kGeluTanh>(gate, up, y);
    case Activation::kRelu2: return glu_rows<Activation::kRelu2>(gate, up, y);
  }
}

void soft_cap(float cap, MatrixView<float> x) {
  const Index C = x.extent(1);
  for (Index t = 0; t < x.extent(0); ++t) {
    float* row = x.row(t).data();
    for (Index c = 0; c < C; c += 16) store_up_to_16(soft_capped(load_up_to_16(row + c, C - c), cap), row + c, C - c);
  }
}

struct Group {  // 32 values
  F32x16 first, second;
};

HWY_INLINE Group load_group(const float* x, Index count) {
  if (count >= 32) return {load(x), load(x + 16)};
  return {count > 0 ? load_up_to_16(x, count) : zero(), count > 16 ? load_first(x + 16, count - 16) : zero()};
}

// The largest magnitude, or NaN when a value is not finite.
HWY_INLINE float absmax(const Group& x) {
  const F32x16 a = abs(x.first);
  const F32x16 b = abs(x.second);
  const F32x16 infinity = set(std::numeric_limits<float>::infinity());
  // x < inf is false for inf and NaN alike.
  const F32x16 bad = add(where_less(a, infinity, zero(), set(1.0f)), where_less(b, infinity, zero(), set(1.0f)));
  if (sum(bad) != 0) return std::numeric_limits<float>::quiet_NaN();
  return maximum(greater(a, b));
}

HWY_INLINE F32x16 codes_of(F32x16 x, F32x16 scale) {
  return greater(lesser(rint(divide(x, scale)), set(127.0f)), set(-127.0f));
}

HWY_INLINE void quantize_group(const Group& values, float scale, Index g, const Q8Row& out) {
  Group codes{zero(), zero()};
  if (scale > 0) {  // neither zero nor NaN
    codes = {codes_of(values.first, set(scale)), codes_of(values.second, set(scale))};
  }
  store_i8(to_int(codes.first), out.q8 + g * 32);
  store_i8(to_int(codes.second), out.q8 + g * 32 + 16);
  out.scale[g] = scale;
  const float sums[2] = {sum(codes.first), sum(codes.second)};  // small integers: exact
  out.half_sum[2 * g] = static_cast<std::int32_t>(sums[0]);
  out.half_sum[2 * g + 1] = static_cast<std::int32_t>(sums[1]);
  out.scaled_sum[g] = scale * (sums[0] + sums[1]);
}

void quantize_q8(const float* x, Index count, Index padded, Index group, const Q8Row& out) {
  const auto group_at = [&](Index g) HWY_ATTR { return load_group(x + g * 32, count - g * 32); };
  if (group == 32) {
    for (Index g = 0; g < padded / 32; ++g) {
      const Group values = group_at(g);
      quantize_group(values, absmax(values) / 127.0f, g, out);
    }
    return;
  }
  for (Index begin = 0; begin < padded / 32; begin += group / 32) {
    const Index end = begin + group / 32;
    float largest = 0;
    for (Index g = begin; g < end; ++g) {
      const float own = absmax(group_at(g));
      if (!(own <= largest)) largest = own;  // NaN takes over, and stays
      if (largest != largest) break;
    }
    for (Index g = begin; g < end; ++g) quantize_group(group_at(g), largest / 127.0f, g, out);
  }
}

void round_bf16(const float* x, Index count, Index padded, BF16* out) {
  for (Index j = 0; j + 16 <= padded; j += 16) {
    const F32x16 v = j < count ? load_up_to_16(x + j, count - j) : zero();
    store_bf16(round_to_bf16(v), out + j);
  }
  for (Index j = padded / 16 * 16; j < padded; ++j) out[j] = to_bf16(j < count ? x[j] : 0.0f);
}

HWY_INLINE void store_q8(const float* x, Index head_dim, Index slot, std::byte* tile) {
  auto* codes = reinterpret_cast<std::int8_t*>(tile) + slot * head_dim;
  F16* scales = reinterpret_cast<F16*>(tile + kPageTokens * head_dim) + slot * kv_groups(head_dim);
  for (Index g = 0; g < kv_groups(head_dim); ++g) {
    const Index count = head_dim - g * 32;
    const Group values = load_group(x + g * 32, count);
    const float largest = absmax(values);
    scales[g] = to_f16(largest == largest ? std::min(largest / 127.0f, 65504.0f) : largest);
    const float scale = jericho::to_float(scales[g]);
    Group result{zero(), zero()};
    if (scale > 0) result = {codes_of(values.first, set(scale)), codes_of(values.second, set(scale))};
    alignas(64) std::int8_t staged[32];
    store_i8(to_int(result.first), staged);
    store_i8(to_int(result.second), staged + 16);
    std::memcpy(codes + g * 32, staged, static_cast<std::size_t>(std::min<Index>(32, count)));
  }
}

HWY_INLINE void store_q4(const float* x, Index head_dim, Index slot, std::byte* tile) {
  const Index row_bytes = ceil_div(head_dim, 2);
  auto* codes = reinterpret_cast<std::uint8_t*>(tile) + slot * row_bytes;
  std::byte* scales = tile + kPageTokens * row_bytes + 2 * slot * kv_groups(head_dim);
  for (Index g = 0; g < kv_groups(head_dim); ++g) {
    const Index count = std::min<Index>(32, head_dim - g * 32);
    const Group values = load_group(x + g * 32, count);
    const float magnitude = absmax(values);
    float largest = magnitude;  // NaN where a value is not finite
    for (Index d = 0; d < count; ++d) {
      if (std::abs(x[g * 32 + d]) != magnitude) continue;
      largest = x[g * 32 + d];
      break;
    }
    const F16 stored = to_f16(largest == largest ? std::clamp(largest / -8.0f, -65504.0f, 65504.0f) : largest);
    std::memcpy(scales + 2 * g, &stored, 2);
    const float scale = jericho::to_float(stored);
    alignas(64) std::int8_t staged[32] = {};
    if (scale < 0 || scale > 0) {
      const auto rounded = [&](F32x16 v) HWY_ATTR {
        return to_int(greater(lesser(rint(divide(v, set(scale))), set(7.0f)), set(-8.0f)));
      };
      store_i8(rounded(values.first), staged);
      store_i8(rounded(values.second), staged + 16);
    }
    for (Index d = 0; d < count; d += 2) {
      const int high = d + 1 < count ? staged[d + 1] + 8 : 0;
      codes[g * 16 + d / 2] = static_cast<std::uint8_t>((staged[d] + 8) | high << 4);
    }
  }
}

void kv_store(KvType type, const float* x, Index head_dim, Index slot, std::byte* tile) {
  const Index whole = head_dim / 16 * 16;
  if (type == KvType::kQ8) return store_q8(x, head_dim, slot, tile);
  if (type == KvType::kQ4) return store_q4(x, head_dim, slot, tile);
  if (type == KvType::kF32) {
    std::memcpy(tile + slot * head_dim * 4, x, static_cast<std::size_t>(head_dim) * 4);
  } else if (type == KvType::kF16) {
    F16* row = reinterpret_cast<F16*>(tile) + slot * head_dim;
    for (Index d = 0; d < whole; d += 16) store_f16(load(x + d), row + d);
    for (Index d = whole; d < head_dim; ++d) row[d] = to_f16(x[d]);
  } else {
    round_bf16(x, head_dim, head_dim, reinterpret_cast<BF16*>(tile) + slot * head_dim);
  }
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
