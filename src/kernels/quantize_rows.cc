// One overload of encode() per rule: it gives the codes and the scale fields of a block, which write_block() puts into
// their places. Where bytes are given by a reference, its fp32 operations in its order. The plain twin of
// cpu/quantize_rows.cc. Start at quantize_row(); fit_with_minimum() is the heart of the K-quants.
#include "kernels/quantize_rows.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "base/check.h"
#include "base/half.h"
#include "kernels/block_scales.h"
#include "kernels/lanes.h"
#include "kernels/strip_layout.h"
#include "tensor/block_formats.h"

namespace jericho {
namespace {

// Where each bit of each code lies in a block, found by asking Format::codes() about blocks with a single bit set.
template <class Format>
class CodePlaces {
 public:
  static const CodePlaces& get() {
    static const CodePlaces places;
    return places;
  }
  void put(const Block<Format>& from, std::uint8_t* block) const {
    for (std::size_t j = 0; j < from.codes.size(); ++j) {
      for (std::size_t b = 0; b < kBits; ++b) {
        const std::size_t place = place_[j * kBits + b];
        block[place / 8] |= static_cast<std::uint8_t>((((from.codes[j] ^ of_zeros_[j]) >> b) & 1u) << (place % 8));
      }
    }
  }

 private:
  static constexpr std::size_t kBits = Format::kCodeBits;
  using Codes = decltype(Block<Format>::codes);
  CodePlaces() {
    std::array<std::uint8_t, static_cast<std::size_t>(StripLayout<Format>::kBlockBytes)> block{};
    Format::codes(block.data(), of_zeros_.data());
    Codes codes{};
    for (std::size_t place = 0; place < block.size() * 8; ++place) {
      block[place / 8] = static_cast<std::uint8_t>(1u << (place % 8));
      Format::codes(block.data(), codes.data());
      block[place / 8] = 0;
      for (std::size_t i = 0; i < place_.size(); ++i) {
        if ((((codes[i / kBits] ^ of_zeros_[i / kBits]) >> (i % kBits)) & 1u) != 0) {
          place_[i] = static_cast<std::uint16_t>(place);
        }
      }
    }
  }
  Codes of_zeros_{};
  std::array<std::uint16_t, std::tuple_size_v<Codes> * kBits> place_{};
};

// Five digits of base 3, the first most significant, as a fraction of 256, rounded up.
std::uint8_t trit_byte(const std::uint8_t* codes, int count, int stride) {
  int digits = 0;
  for (int n = 0; n < 5; ++n) digits = digits * 3 + (n < count ? codes[n * stride] : 0);
  return static_cast<std::uint8_t>((digits * 256 + 242) / 243);
}

void put_codes(const Block<TQ1_0>& from, std::uint8_t* block) {
  const std::uint8_t* codes = from.codes.data();
  for (int m = 0; m < 32; ++m) block[m] = trit_byte(codes + m, 5, 32);
  for (int m = 0; m < 16; ++m) block[32 + m] = trit_byte(codes + 160 + m, 5, 16);
  for (int m = 0; m < 4; ++m) block[48 + m] = trit_byte(codes + 240 + m, 4, 4);
}
template <class Format>
void put_codes(const Block<Format>& from, std::uint8_t* block) {
  CodePlaces<Format>::get().put(from, block);
}

template <class Format>
void write_block(const Block<Format>& from, std::uint8_t* block) {
  std::memset(block, 0, static_cast<std::size_t>(StripLayout<Format>::kBlockBytes));
  put_codes(from, block);
  scatter_fields<Format>(from.fields.data(), block);
}

// Toward zero, into [0, largest]; a NaN gives 0.
std::uint8_t truncated(float value, int largest) {
  return static_cast<std::uint8_t>(value >= static_cast<float>(largest) ? largest
                                   : value > 0                          ? static_cast<int>(value)
                                                                        : 0);
}
float largest_magnitude(std::span<const float> x) {
  float largest = 0;
  for (const float v : x) largest = std::max(largest, std::abs(v));
  return largest;
}
// --- One scale in a block of 32, and ternary blocks: the bytes of ggml's reference --------------------------

template <class Format>
requires(std::is_same_v<Format, Q4_0> || std::is_same_v<Format, Q5_0>) void encode(std::span<const float> x,
                                                                                   Block<Format>& out) {
  const float d = signed_largest(x) / static_cast<float>(-Format::kOffset);
  const float id = inverse(d);
  put_half(d, out.fields.data());
  for (std::size_t j = 0; j < x.size(); ++j) {
    out.codes[j] = truncated(x[j] * id + (static_cast<float>(Format::kOffset) + 0.5f), 2 * Format::kOffset - 1);
  }
}

template <class Format>
requires(Format::kScales == ScaleKind::kTwoHalves) void encode(std::span<const float> x, Block<Format>& out) {
  constexpr int kLargest = (1 << Format::kCodeBits) - 1;
  const auto [least, most] = std::minmax_element(x.begin(), x.end());
  const float d = (*most - *least) / static_cast<float>(kLargest);
  const float id = inverse(d);
  put_half(d, out.fields.data());
  put_half(*least, out.fields.data() + 2);
  for (std::size_t j = 0; j < x.size(); ++j) out.codes[j] = truncated((x[j] - *least) * id + 0.5f, kLargest);
}

void encode(std::span<const float> x, Block<Q8_0>& out) {
  const float d = largest_magnitude(x) / 127.0f;
  const float id = inverse(d);
  put_half(d, out.fields.data());
  for (std::size_t j = 0; j < x.size(); ++j) {
    const float code = std::round(x[j] * id);  // half away from zero
    out.codes[j] = static_cast<std::uint8_t>(128 + (std::abs(code) <= 127 ? static_cast<int>(code) : 0));
  }
}

void encode(std::span<const float> x, Block<Q1_0>& out) {
  float sum = 0;
  for (const float v : x) sum += std::abs(v);
  put_half(sum / static_cast<float>(x.size()), out.fields.data());
  for (std::size_t j = 0; j < x.size(); ++j) out.codes[j] = x[j] >= 0 ? 1 : 0;
}

template <class Format>
requires(std::is_same_v<Format, TQ1_0> || std::is_same_v<Format, TQ2_0>) void encode(std::span<const float> x,
                                                                                     Block<Format>& out) {
  const float d = largest_magnitude(x);
  const float id = inverse(d);
  put_half(d, out.fields.data());
  for (std::size_t j = 0; j < x.size(); ++j) {
    const float trit = x[j] * id;
    out.codes[j] = trit >= 0.5f ? 2 : trit <= -0.5f ? 0 : 1;
  }
}

// The block's exponent is that of its largest magnitude, so that 4 or 6 (of E2M1) is its integer part.
void encode(std::span<const float> x, Block<MXFP4>& out) {
  const auto exponent = static_cast<int>(std::bit_cast<std::uint32_t>(largest_magnitude(x)) >> 23);  // with its bias
  out.fields[0] = static_cast<std::uint8_t>(std::clamp(exponent - 2, 0, 254));
  const float d = MXFP4::scale(out.fields.data(), 0).scale;
  for (std::size_t j = 0; j < x.size(); ++j) {
    for (std::size_t code = 1; code < MXFP4::kTable.size(); ++code) {  // the lower of two that are equally near
      const auto error = [&](std::size_t c) { return std::abs(static_cast<float>(MXFP4::kTable[c]) * d - x[j]); };
      if (error(code) < error(out.codes[j])) out.codes[j] = static_cast<std::uint8_t>(code);
    }
  }
}

// --- K-quants --------------------------------------------------------------------------------------------------------
// Searches are in fp32 and over the values of a sub-block in ascending order, one sum each: where sixteen sub-blocks
// are searched side by side (cpu/quantize_rows.cc), each is a lane.

// What an error of each value of a block counts: sqrt(2 mean(x^2)) + |x|.
class Importance {
 public:
  explicit Importance(std::span<const float> block) {
    std::array<float, 16> squares{};
    for (std::size_t j = 0; j < block.size(); ++j) squares[j % 16] = std::fma(block[j], block[j], squares[j % 16]);
    spread_ = std::sqrt(2.0f * sum_lanes(squares) / static_cast<float>(block.size()));
  }
  [[nodiscard]] float of(float x) const { return spread_ + std::abs(x); }

 private:
  float spread_ = 0;
};

// a * b rounded to an integer once, ties to even: below 2^22 there is no room for a fraction beside kNoFraction.
float rounded_product(float a, float b) { return std::fma(a, b, kNoFraction) - kNoFraction; }

// The s for which s * code, code in [-n, n - 1], is nearest to x: of several roundings, each with its least-squares s,
// the best.
float fit_scale(std::span<const float> x, const Importance& importance, int n) {
  const float largest = signed_largest(x);
  if (!(std::abs(largest) >= kNoSpread)) return 0;
  const float most = static_cast<float>(n);
  float best = 0;  // the part of sum w x^2 that the fit explains
  float scale = 0;
  for (int i = 0; i < kScaleTrials; ++i) {
    const float steps = -(most + 0.1f * static_cast<float>(i - kScaleTrials / 2)) / largest;
    float xl = 0, ll = 0;
    for (const float v : x) {
      const float l = std::clamp(rounded_product(v, steps), -most, most - 1);
      const float wl = importance.of(v) * l;
      xl = std::fma(wl, v, xl);
      ll = std::fma(wl, l, ll);
    }
    const float fit = xl / ll;
    if (const float gain = fit * xl; gain > best) {
      best = gain;
      scale = fit;
    }
  }
  return scale;
}

struct ScaleAndMinimum {
  float scale = 0;
  float minimum = 0;  // taken off: not negative
};

// The pair for which scale * code - minimum, code in [0, n], is nearest to x: of several roundings, each with its
// least-squares pair, the best. In terms of y = x - min(0, least x), so that a common offset costs no digits.
ScaleAndMinimum fit_with_minimum(std::span<const float> x, const Importance& importance, int n) {
  float least = 0, high = x[0];
  for (const float v : x) {
    least = std::min(least, v);
    high = std::max(high, v);
  }
  const float range = high - least;
  if (!(range >= kNoSpread)) return {0, -least};
  const float inverse_range = 1.0f / range;
  float w_sum = 0, wy = 0;
  for (const float v : x) {
    const float w = importance.of(v);
    w_sum = w_sum + w;
    wy = std::fma(w, v - least, wy);
  }
  // What a fit without a minimum explains less of sum w y^2 than of sum w x^2.
  const float shortfall = least * std::fma(least, w_sum, wy + wy);
  ScaleAndMinimum best;
  float best_gain = 0;
  for (int i = 0; i < kPairTrials; ++i) {
    const float steps = (static_cast<float>(n) - 0.9f + 0.05f * static_cast<float>(i)) * inverse_range;
    float wl = 0, wll = 0, wyl = 0;
    for (const float v : x) {
      const float y = v - least;
      const float l = std::min(rounded_product(y, steps), static_cast<float>(n));
      const float weighted = importance.of(v) * l;
      wl = wl + weighted;
      wll = std::fma(weighted, l, wll);
      wyl = std::fma(weighted, y, wyl);
    }
    const float product = w_sum * wll;
    const float determinant = std::fma(-wl, wl, product);
    const float shift = std::fma(wll, wy, -(wl * wyl));  // times the determinant: y ~ scale * code + shift
    const bool has_minimum =
        determinant > kLeastDeterminant * product && std::fma(least, determinant, shift) <= 0;  // x ~ ... + least
    const float wxl = std::fma(least, wl, wyl);
    const float inverse = 1.0f / (has_minimum ? determinant : wll);
    const float fit = (has_minimum ? std::fma(w_sum, wyl, -(wy * wl)) : wxl) * inverse;
    const float offset = shift * inverse;
    const float gain = has_minimum ? std::fma(fit, wyl, offset * wy) : std::fma(fit, wxl, -shortfall);
    if (gain > best_gain) {
      best_gain = gain;
      best = {fit, has_minimum ? -(offset + least) : 0.0f};
    }
  }
  return best;
}

// The codes nearest to x, given the scales that will be read.
template <class Format>
void nearest_codes(std::span<const float> x, Block<Format>& out) {
  constexpr auto kMost = static_cast<float>((1 << Format::kCodeBits) - 1);
  for (std::size_t j = 0; j < x.size(); ++j) {
    const SubBlockScale sub = sub_block_scale<Format>(out.fields.data(), static_cast<int>(j / 16));
    const float code = std::rint((x[j] - sub.minimum) * sub.inverse) + static_cast<float>(Format::kOffset);
    out.codes[j] = static_cast<std::uint8_t>(code >= kMost ? kMost : code > 0 ? code : 0);
  }
}

// Sixteen values share a scale, which is an integer times d.
template <class Format>
requires(Format::kHasSub && !Format::kHasMin) void encode(std::span<const float> x, Block<Format>& out) {
  const Importance importance(x);
  std::array<float, 16> scales{};
  for (std::size_t i = 0; i < 16; ++i) scales[i] = fit_scale(x.subspan(16 * i, 16), importance, Format::kOffset);
  put_scales<Format>(scales, out.fields.data());
  nearest_codes(x, out);
}

// 16 or 32 values share a scale and a minimum, which are integers times d and dmin.
template <class Format>
requires(Format::kScales == ScaleKind::kSixBitPairs ||
         Format::kScales == ScaleKind::kSubNibblePairs) void encode(std::span<const float> x, Block<Format>& out) {
  constexpr std::size_t kLength = kSubBlock<Format>;
  const Importance importance(x);
  std::array<float, 256 / kLength> scales{}, minima{};
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const ScaleAndMinimum fit =
        fit_with_minimum(x.subspan(kLength * i, kLength), importance, (1 << Format::kCodeBits) - 1);
    scales[i] = fit.scale;
    minima[i] = fit.minimum;
  }
  put_scales<Format>(scales, minima, out.fields.data());
  nearest_codes(x, out);
}

// --- Rows ------------------------------------------------------------------------------------------------------------

template <class Format>
concept Encodable = requires(std::span<const float> x, Block<Format>& block) {
  encode(x, block);
};

template <class Format>
void quantize_blocks(const float* x, Index cols, std::uint8_t* block) {
  if constexpr (Encodable<Format>) {
    using Layout = StripLayout<Format>;
    for (Index c = 0; c < cols; c += Layout::kBlockElements, block += Layout::kBlockBytes) {
      Block<Format> parts;
      encode(std::span(x + c, static_cast<std::size_t>(Layout::kBlockElements)), parts);
      write_block(parts, block);
    }
  }
}

}  // namespace

bool is_quantizable(DType dtype) {
  return visit_block_format(
      dtype, []<class Format>() { return Encodable<Format>; },
      [&] { return is_packable(dtype) && !is_row_format(dtype); });
}

void quantize_row(DType dtype, const float* x, Index cols, std::byte* row) {
  JERICHO_CHECK(is_quantizable(dtype) && cols % info(dtype).block_elements == 0, "{} columns of {}", cols, name(dtype));
  visit_block_format(
      dtype, [&]<class Format>() { quantize_blocks<Format>(x, cols, reinterpret_cast<std::uint8_t*>(row)); },
      [&] {
        if (dtype == DType::kF32) {
          std::memcpy(row, x, static_cast<std::size_t>(cols) * 4);
          return;
        }
        for (Index c = 0; c < cols; ++c) {
          const std::uint16_t bits = dtype == DType::kF16 ? to_f16(x[c]).bits : to_bf16(x[c]).bits;
          std::memcpy(row + 2 * c, &bits, 2);
        }
      });
}

}  // namespace jericho
