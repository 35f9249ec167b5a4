// Storing keys and values: see kv_tile.h for the forms.
#include "kernels/kv_tile.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/half.h"

namespace jericho {
namespace {

constexpr std::array<std::string_view, 6> kNames = {"f32", "f16", "bf16", "q8", "q4", "q4c"};

F16* q8_scales(std::byte* tile, Index head_dim) { return reinterpret_cast<F16*>(tile + kPageTokens * head_dim); }

void store_q8(const float* x, Index head_dim, Index slot, std::byte* tile) {
  auto* codes = reinterpret_cast<std::int8_t*>(tile) + slot * head_dim;
  F16* scales = q8_scales(tile, head_dim) + slot * kv_groups(head_dim);
  for (Index g = 0; g < kv_groups(head_dim); ++g) {
    const Index begin = g * 32;
    const Index end = std::min(head_dim, begin + 32);
    float absmax = 0;
    bool finite = true;
    for (Index d = begin; d < end; ++d) {
      finite = finite && std::isfinite(x[d]);
      absmax = std::max(absmax, std::abs(x[d]));
    }
    scales[g] = to_f16(finite ? std::min(absmax / 127.0f, 65504.0f) : std::numeric_limits<float>::quiet_NaN());
    const float scale = to_float(scales[g]);
    for (Index d = begin; d < end; ++d) {
      const float code = finite && scale != 0 ? std::clamp(std::nearbyint(x[d] / scale), -127.0f, 127.0f) : 0.0f;
      codes[d] = static_cast<std::int8_t>(code);
    }
  }
}

void store_q4(const float* x, Index head_dim, Index slot, std::byte* tile) {
  const Index row_bytes = ceil_div(head_dim, 2);
  auto* codes = reinterpret_cast<std::uint8_t*>(tile) + slot * row_bytes;
  std::fill_n(codes, row_bytes, std::uint8_t{0});
  std::byte* scales = tile + kPageTokens * row_bytes + 2 * slot * kv_groups(head_dim);
  for (Index g = 0; g < kv_groups(head_dim); ++g) {
    const Index begin = g * 32;
    const Index end = std::min(head_dim, begin + 32);
    float largest = 0;  // in magnitude
    bool finite = true;
    for (Index d = begin; d < end; ++d) {
      finite = finite && std::isfinite(x[d]);
      if (std::abs(x[d]) > std::abs(largest)) largest = x[d];
    }
    const F16 stored =
        to_f16(finite ? std::clamp(largest / -8.0f, -65504.0f, 65504.0f) : std::numeric_limits<float>::quiet_NaN());
    std::memcpy(scales + 2 * g, &stored, 2);
    const float scale = to_float(stored);
    for (Index d = begin; d < end; ++d) {
      const float code = finite && scale != 0 ? std::clamp(std::nearbyint(x[d] / scale), -8.0f, 7.0f) : 0.0f;
      codes[d / 2] |= static_cast<std::uint8_t>(static_cast<int>(code + 8.0f) << (d % 2 * 4));
    }
  }
}

}  // namespace

std::string_view name(KvType type) { return kNames[static_cast<std::size_t>(type)]; }

std::string name(KvTypes types) {
  const std::string keys(name(types.keys));
  return types.keys == types.values ? keys : keys + "/" + std::string(name(types.values));
}

std::optional<KvType> parse_kv_type(std::string_view text) {
  const auto found = std::find(kNames.begin(), kNames.end(), text);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<KvType>(found - kNames.begin());
}

KvCode kv_code(KvType type, const std::byte* tile, Index head_dim, Index slot, Index d) {
  const Index row_bytes = type == KvType::kQ8 ? head_dim : ceil_div(head_dim, 2);
  const auto* codes = reinterpret_cast<const std::uint8_t*>(tile) + slot * row_bytes;
  KvCode out;
  std::memcpy(&out.scale.bits, tile + kPageTokens * row_bytes + 2 * (slot * kv_groups(head_dim) + d / 32), 2);
  out.code = type == KvType::kQ8 ? static_cast<std::int8_t>(codes[d]) : (codes[d / 2] >> (d % 2 * 4) & 15) - 8;
  return out;
}

Bytes kv_tile_bytes(KvType type, Index head_dim) { return round_up(kv_row_bytes(type, head_dim) * kPageTokens, 64_B); }

void kv_store(KvType type, const float* x, Index head_dim, Index slot, std::byte* tile) {
  switch (type) {
    case KvType::kF32: std::memcpy(tile + slot * head_dim * 4, x, static_cast<std::size_t>(head_dim) * 4); return;
    case KvType::kF16: {
      F16* row = reinterpret_cast<F16*>(tile) + slot * head_dim;
      for (Index d = 0; d < head_dim; ++d) row[d] = to_f16(x[d]);
      return;
    }
    case KvType::kBF16: {
      BF16* row = reinterpret_cast<BF16*>(tile) + slot * head_dim;
      for (Index d = 0; d < head_dim; ++d) row[d] = to_bf16(x[d]);
      return;
    }
    case KvType::kQ8: store_q8(x, head_dim, slot, tile); return;
    case KvType::kQ4: store_q4(x, head_dim, slot, tile); return;
    case KvType::kQ4C: break;
  }
  JERICHO_CHECK(false, "a position of {} keys is no row of a tile", name(type));
}

void kv_copy(KvType type, const std::byte* from, Index from_slot, Index head_dim, Index slot, std::byte* tile) {
  const Index row = kv_row_bytes(type, head_dim).count;
  const Index scales = type == KvType::kQ8 || type == KvType::kQ4 ? 2 * kv_groups(head_dim) : 0, codes = row - scales;
  std::memcpy(tile + slot * codes, from + from_slot * codes, static_cast<std::size_t>(codes));
  if (scales == 0) return;
  const std::byte* const from_scales = from + kPageTokens * codes + from_slot * scales;
  std::memcpy(tile + kPageTokens * codes + slot * scales, from_scales, static_cast<std::size_t>(scales));
}

void kv_load(KvType type, const std::byte* tile, Index head_dim, Index slot, float* out) {
  switch (type) {
    case KvType::kF32: std::memcpy(out, tile + slot * head_dim * 4, static_cast<std::size_t>(head_dim) * 4); return;
    case KvType::kF16: {
      const F16* row = reinterpret_cast<const F16*>(tile) + slot * head_dim;
      for (Index d = 0; d < head_dim; ++d) out[d] = to_float(row[d]);
      return;
    }
    case KvType::kBF16: {
      const BF16* row = reinterpret_cast<const BF16*>(tile) + slot * head_dim;
      for (Index d = 0; d < head_dim; ++d) out[d] = to_float(row[d]);
      return;
    }
    case KvType::kQ8:
    case KvType::kQ4:
      for (Index d = 0; d < head_dim; ++d) {
        const KvCode stored = kv_code(type, tile, head_dim, slot, d);
        out[d] = static_cast<float>(stored.code) * to_float(stored.scale);
      }
      return;
    case KvType::kQ4C: break;
  }
  JERICHO_CHECK(false, "a position of {} keys is no row of a tile", name(type));
}

}  // namespace jericho
