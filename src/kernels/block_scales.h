// How a block is made from its scales, on every path: constants of the searches of quantize_rows.h, and the rounding of
// scales that were found to the fields that hold them. Start at put_scales(). For quantize_rows.cc and its vector twin;
// the copies of scale fields serve packing as well.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>

#include "base/half.h"
#include "kernels/strip_layout.h"
#include "tensor/block_formats.h"

namespace jericho {

inline constexpr int kScaleTrials = 20;            // roundings tried for a scale
inline constexpr int kPairTrials = 36;             // for a scale and a minimum
inline constexpr float kNoSpread = 1e-30f;         // a sub-block whose values differ by less is one value
inline constexpr float kNoFraction = 12582912.0f;  // 1.5 * 2^23
inline constexpr float kLeastDeterminant = 1e-5f;  // relative: below it codes do not differ enough for a minimum

// Calls f(field) with the number of each scale field as a constant: where its width is known, a copy is one move.
template <class Format, class F>
void for_fields(F f) {
  [&]<std::size_t... kFields>(std::index_sequence<kFields...>) {
    (f(std::integral_constant<std::size_t, kFields>{}), ...);
  }
  (std::make_index_sequence<Format::kScaleFields.size()>{});
}
template <class Format>  // StripLayout::put_fields()
void put_fields(std::uint8_t* scales, Index row, const std::uint8_t* block) {
  for_fields<Format>([&](auto f) {
    constexpr ScaleField kField = Format::kScaleFields[f];
    std::memcpy(scales + StripLayout<Format>::field_offset(f) + row * kField.width(), block + kField.offset,
                kField.width());
  });
}
template <class Format>  // StripLayout::gather_fields()
void gather_fields(const std::uint8_t* block, std::uint8_t* fields) {
  for_fields<Format>([&](auto f) {
    constexpr ScaleField kField = Format::kScaleFields[f];
    std::memcpy(fields + StripLayout<Format>::field_offset(f) / kStripRows, block + kField.offset, kField.width());
  });
}
template <class Format>  // the inverse of gather_fields()
void scatter_fields(const std::uint8_t* fields, std::uint8_t* block) {
  for_fields<Format>([&](auto f) {
    constexpr ScaleField kField = Format::kScaleFields[f];
    std::memcpy(block + kField.offset, fields + StripLayout<Format>::field_offset(f) / kStripRows, kField.width());
  });
}

template <class Format>  // values that share a scale
inline constexpr std::size_t kSubBlock = Format::kHasSub ? 16 : 32;

// A block before it is written: codes in element order, the bytes of kScaleFields one after the other.
template <class Format>
struct Block {
  std::array<std::uint8_t, static_cast<std::size_t>(StripLayout<Format>::kBlockElements)> codes{};
  std::array<std::uint8_t, static_cast<std::size_t>(StripLayout<Format>::kFieldBytes)> fields{};
};

// `value`, rounded to a half, as it will be read.
inline float put_half(float value, std::uint8_t* field) {
  const F16 half = to_f16(value);
  std::memcpy(field, &half.bits, 2);
  return to_float(half);
}

inline float signed_largest(std::span<const float> x) {  // the first of largest magnitude, with its sign
  float magnitude = 0;
  float largest = 0;
  for (const float v : x) {
    if (magnitude < std::abs(v)) {
      magnitude = std::abs(v);
      largest = v;
    }
  }
  return largest;
}
inline float inverse(float d) { return d != 0 ? 1.0f / d : 0.0f; }

// The integer nearest to value / unit, ties to even, within [least, most]; `inverse_unit` is 1 / unit, or 0.
inline int nearest(float value, float inverse_unit, int least, int most) {
  const float code = std::rint(value * inverse_unit);
  if (!(code > static_cast<float>(least))) return least;
  return code >= static_cast<float>(most) ? most : static_cast<int>(code);
}

// Sixteen scales, one per 16 values, as integers times d.
template <class Format>
requires(Format::kHasSub && !Format::kHasMin) void put_scales(std::span<const float> scales, std::uint8_t* fields) {
  constexpr int kMost = Format::kScales == ScaleKind::kSubBytes ? 128 : 32;  // sub-scales are in [-kMost, kMost)
  const float d = put_half(signed_largest(scales) / static_cast<float>(-kMost), fields);
  const float inverse_d = inverse(d);
  std::uint8_t* b = fields + 2;
  for (std::size_t i = 0; i < 16; ++i) {
    const int sub = d != 0 ? nearest(scales[i], inverse_d, -kMost, kMost - 1) : 0;
    if constexpr (Format::kScales == ScaleKind::kSubBytes) {
      b[i] = static_cast<std::uint8_t>(sub);
    } else {
      const auto code = static_cast<unsigned>(sub + 32);
      b[i % 8] |= static_cast<std::uint8_t>((code & 15u) << (i / 8 * 4));
      b[8 + i % 4] |= static_cast<std::uint8_t>((code >> 4) << (i / 4 * 2));
    }
  }
}

// Scales and minima as integers times d and dmin.
template <class Format>
requires(Format::kHasMin) void put_scales(std::span<const float> scales, std::span<const float> minima,
                                          std::uint8_t* fields) {
  constexpr bool kPairs = Format::kScales == ScaleKind::kSixBitPairs;
  constexpr int kMost = kPairs ? 63 : 15;
  float most_scale = 0, most_minimum = 0;
  for (const float scale : scales) most_scale = std::max(most_scale, scale);
  for (const float minimum : minima) most_minimum = std::max(most_minimum, minimum);
  const float inverse_d = inverse(put_half(most_scale / static_cast<float>(kMost), fields));
  const float inverse_dmin = inverse(put_half(most_minimum / static_cast<float>(kMost), fields + 2));
  std::uint8_t* b = fields + 4;
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const auto sc = static_cast<unsigned>(nearest(scales[i], inverse_d, 0, kMost));
    const auto m = static_cast<unsigned>(nearest(minima[i], inverse_dmin, 0, kMost));
    if constexpr (!kPairs) {
      b[i] = static_cast<std::uint8_t>(sc | m << 4);
    } else if (i < 4) {
      b[i] |= static_cast<std::uint8_t>(sc);
      b[i + 4] |= static_cast<std::uint8_t>(m);
    } else {
      b[i + 4] = static_cast<std::uint8_t>((sc & 15u) | (m & 15u) << 4);
      b[i - 4] |= static_cast<std::uint8_t>((sc >> 4) << 6);
      b[i] |= static_cast<std::uint8_t>((m >> 4) << 6);
    }
  }
}

// What the codes of sixteen values are found with: (x - minimum) * inverse, both of the scales that will be read.
struct SubBlockScale {
  float inverse = 0;
  float minimum = 0;
};
template <class Format>
SubBlockScale sub_block_scale(const std::uint8_t* fields, int sixteen) {
  const GroupScale group = Format::scale(fields, sixteen / 2);
  const auto half = static_cast<std::size_t>(sixteen % 2);
  return {inverse(group.scale * static_cast<float>(group.sub[half])),
          group.minimum * static_cast<float>(group.minimum_sub[half])};
}

}  // namespace jericho
