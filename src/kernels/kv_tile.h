// How keys and values are stored: a tile holds the keys (or values) of 16 consecutive positions, of one layer and KV
// head.
//   f32, f16, bf16  [16][D], token-major
//   q8              codes [16][D], then f16 scales [16][groups]: groups of min(32, D) along D, the last may be shorter;
//                   s = f16(min(absmax / 127, 65504)), code = clamp(rint(x / s), -127, 127), all 0 where s is 0;
//                   a group with a value that is not finite gets scale NaN
//   q4              codes [16][D / 2], two columns a byte, the even one low, then scales as q8, rows of an odd D are
//                   padded; s = f16(clamp(m / -8, -65504, 65504)), m the value of largest magnitude, the first where
//                   several are; code = clamp(rint(x / s), -8, 7), stored plus 8, all 0 where s is 0; NaN as q8
//   q4c             keys only, four bits per channel: coded a block of 64 positions at a time (kernels/channel_keys.h)
// Tiles start on cache lines. The stored form of a position depends on that position alone, apart from q4c.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/half.h"
#include "base/index.h"

namespace jericho {

inline constexpr Index kPageTokens = 16;                             // positions per tile and per KV page
inline constexpr Index kAttentionBlock = 64;                         // and per block of attention (attention.h)
inline constexpr Index kBlockPages = kAttentionBlock / kPageTokens;  // in which a block lies

enum class KvType { kF32, kF16, kBF16, kQ8, kQ4, kQ4C };
// Of keys and of values; kQ4C is one of keys alone.
inline constexpr std::array kKvTypes = {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8, KvType::kQ4};

// Keys and values may be stored in types of their own: keys bear less than values do.
struct KvTypes {
  KvType keys{}, values{};

  constexpr KvTypes(KvType both = KvType::kF16)  // NOLINT(google-explicit-constructor): one type names both
      : keys(both), values(both) {}
  constexpr KvTypes(KvType of_keys, KvType of_values) : keys(of_keys), values(of_values) {}
  bool operator==(const KvTypes&) const = default;
};

std::string_view name(KvType type);
std::string name(KvTypes types);                             // "q8"; "q8/q4" where values have another
std::optional<KvType> parse_kv_type(std::string_view text);  // "f32", "f16", "bf16", "q8", "q4", "q4c"

constexpr Index kv_groups(Index head_dim) { return ceil_div(head_dim, 32); }  // of q8 and q4, per token
// Columns whose scales and least values a tile of q4c holds: a quarter of them, for the four tiles of a block.
constexpr Index channel_columns(Index head_dim) { return ceil_div(head_dim, 4); }
// What a key or value of head_dim takes, without the padding of tiles.
constexpr Bytes kv_row_bytes(KvType type, Index head_dim) {
  switch (type) {
    case KvType::kF32: return {4 * head_dim};
    case KvType::kF16:
    case KvType::kBF16: return {2 * head_dim};
    case KvType::kQ8: return {head_dim + 2 * kv_groups(head_dim)};
    case KvType::kQ4: return {ceil_div(head_dim, 2) + 2 * kv_groups(head_dim)};
    case KvType::kQ4C: return {ceil_div(head_dim, 2) + ceil_div(4 * channel_columns(head_dim), kPageTokens)};
  }
  return {};
}
Bytes kv_tile_bytes(KvType type, Index head_dim);

// Stores x[D] at slot (position mod 16) of the tile. This is the reference twin of the table's entry
// (kernels.h), with integer and correctly rounded operations only. Here and below, of no tile of q4c.
void kv_store(KvType type, const float* x, Index head_dim, Index slot, std::byte* tile);

// Column d of a slot of a q8 or q4 tile: value = code * scale of its group.
struct KvCode {
  int code = 0;
  F16 scale{};
};
KvCode kv_code(KvType type, const std::byte* tile, Index head_dim, Index slot, Index d);

// Copies what a slot of one tile holds to a slot of another, or of the same, bit by bit.
void kv_copy(KvType type, const std::byte* from, Index from_slot, Index head_dim, Index slot, std::byte* tile);

// Reads a slot back as fp32, out[D].
void kv_load(KvType type, const std::byte* tile, Index head_dim, Index slot, float* out);

}  // namespace jericho
