// Coding keys per channel: see channel_keys.h.
#include "kernels/channel_keys.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace jericho {
namespace {

constexpr Index kColumns = 16;  // that are coded together: what a cache holds
constexpr float kMostCode = 15.0f;

struct Range {  // of the values of a column
  float least = 0, scale = 0;
};

// Where the scale of column d lies, and behind it by channel_columns() its least value.
template <class Byte>
Byte* scale_of(const std::array<Byte*, kBlockPages>& tiles, Index head_dim, Index d) {
  const Index columns = channel_columns(head_dim);
  return tiles[static_cast<std::size_t>(d / columns)] + kPageTokens * ceil_div(head_dim, 2) + 2 * (d % columns);
}

Range range_of(const float (*keys)[kColumns], Index c) {
  float least = keys[0][c], most = keys[0][c];
  bool finite = true;
  for (Index j = 0; j < kAttentionBlock; ++j) {
    finite = finite && std::isfinite(keys[j][c]);
    least = std::min(least, keys[j][c]);
    most = std::max(most, keys[j][c]);
  }
  if (!finite) return {0.0f, std::numeric_limits<float>::quiet_NaN()};
  return {least + 0.0f, (most - least) / kMostCode};  // -0 + 0 is 0
}

}  // namespace

void code_key_block(const KeyTiles& full, Index head_dim, const std::array<std::byte*, kBlockPages>& coded) {
  for (Index first = 0; first < head_dim; first += kColumns) {
    const Index columns = std::min(kColumns, head_dim - first);
    float keys[kAttentionBlock][kColumns] = {};
    for (Index j = 0; j < kAttentionBlock; ++j) {
      const std::byte* row = full[static_cast<std::size_t>(j / kPageTokens)] + 2 * (j % kPageTokens * head_dim + first);
      F16 halves[kColumns];
      std::memcpy(halves, row, static_cast<std::size_t>(2 * columns));
      for (Index c = 0; c < columns; ++c) keys[j][c] = to_float(halves[c]);
    }
    std::uint8_t codes[kAttentionBlock][kColumns] = {};
    for (Index c = 0; c < columns; ++c) {
      Range range = range_of(keys, c);
      const F16 stored = to_f16(range.scale), least = to_f16(range.least);
      std::byte* scale = scale_of(coded, head_dim, first + c);
      std::memcpy(scale, &stored, 2);
      std::memcpy(scale + 2 * channel_columns(head_dim), &least, 2);
      range.scale = to_float(stored);
      if (!(range.scale > 0)) continue;
      for (Index j = 0; j < kAttentionBlock; ++j) {
        const float code = std::nearbyint((keys[j][c] - range.least) / range.scale);
        codes[j][c] = static_cast<std::uint8_t>(std::clamp(code, 0.0f, kMostCode));
      }
    }
    for (Index j = 0; j < kAttentionBlock; ++j) {
      std::byte* tile = coded[static_cast<std::size_t>(j / kPageTokens)] + first / 2 * kPageTokens + j % kPageTokens;
      for (Index c = 0; c < columns; c += 2)
        tile[c / 2 * kPageTokens] = static_cast<std::byte>(codes[j][c] | codes[j][c + 1] << 4);
    }
  }
}

ChannelCode channel_code(const KeyTiles& coded, Index head_dim, Index j, Index d) {
  const std::byte* tile = coded[static_cast<std::size_t>(j / kPageTokens)];
  const auto both = static_cast<unsigned>(tile[d / 2 * kPageTokens + j % kPageTokens]);
  ChannelCode out{.code = static_cast<int>(both >> (d % 2 * 4) & 15)};
  const std::byte* scale = scale_of(coded, head_dim, d);
  std::memcpy(&out.scale, scale, 2);
  std::memcpy(&out.least, scale + 2 * channel_columns(head_dim), 2);
  return out;
}

}  // namespace jericho
