// Storing keys and values: see kv_tile.h for the forms.
#include "kernels/kv_tile.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "base/half.h"

namespace jericho {
namespace {

constexpr std::array<std::pair<KvType, std::string_view>, 4> kNames = {
    {{KvType::kF32, "f32"}, {KvType::kF16, "f16"}, {KvType::kBF16, "bf16"}, {KvType::kQ8, "q8"}}};

F16* q8_scales(std::byte* tile, Index head_dim) { return reinterpret_cast<F16*>(tile + kPageTokens * head_dim); }
const F16* q8_scales(const std::byte* tile, Index head_dim) {
  return reinterpret_cast<const F16*>(tile + kPageTokens * head_dim);
}

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

}  // namespace

std::string_view name(KvType type) { return kNames[static_cast<std::size_t>(type)].second; }

std::optional<KvType> parse_kv_type(std::string_view text) {
  for (const auto& [type, type_name] : kNames) {
    if (type_name == text) return type;
  }
  return std::nullopt;
}

Bytes kv_tile_bytes(KvType type, Index head_dim) {
  Index per_token = 0;
  switch (type) {
    case KvType::kF32: per_token = 4 * head_dim; break;
    case KvType::kF16:
    case KvType::kBF16: per_token = 2 * head_dim; break;
    case KvType::kQ8: per_token = head_dim + 2 * kv_groups(head_dim); break;
  }
  return round_up(Bytes{kPageTokens * per_token}, 64_B);
}

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
  }
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
    case KvType::kQ8: {
      const auto* codes = reinterpret_cast<const std::int8_t*>(tile) + slot * head_dim;
      const F16* scales = q8_scales(tile, head_dim) + slot * kv_groups(head_dim);
      for (Index d = 0; d < head_dim; ++d) out[d] = static_cast<float>(codes[d]) * to_float(scales[d / 32]);
      return;
    }
  }
}

}  // namespace jericho
