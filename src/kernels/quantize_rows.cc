// One overload of encode() per rule: it gives the codes and the scale fields of a block, which BlockWriter puts into
// their places. Searches use doubles; where bytes are given by a reference, its fp32 operations in its order.
// Start at quantize_row(); fit_with_minimum() is the heart of the K-quants.
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
#include "kernels/strip_layout.h"
#include "tensor/block_formats.h"

namespace jericho {
namespace {

// A block before it is written: codes in element order, the bytes of kScaleFields one after the other.
template <class Format>
struct Block {
  std::array<std::uint8_t, static_cast<std::size_t>(StripLayout<Format>::kBlockElements)> codes{};
  std::array<std::uint8_t, static_cast<std::size_t>(StripLayout<Format>::kFieldBytes)> fields{};
};

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
  const std::uint8_t* fields = from.fields.data();
  for (const ScaleField& field : Format::kScaleFields) {
    std::memcpy(block + field.offset, fields, static_cast<std::size_t>(field.width()));
    fields += field.width();
  }
}

// `value`, rounded to a half, as it will be read.
float put_half(float value, std::uint8_t* field) {
  const F16 half = to_f16(value);
  std::memcpy(field, &half.bits, 2);
  return to_float(half);
}

// Toward zero, into [0, largest]; a NaN gives 0.
std::uint8_t truncated(float value, int largest) {
  return static_cast<std::uint8_t>(value >= static_cast<float>(largest) ? largest
                                   : value > 0                          ? static_cast<int>(value)
                                                                        : 0);
}
int nearest(double value, int least, int most) {  // ties to even
  if (!(value > least)) return least;
  return value >= most ? most : static_cast<int>(std::rint(value));
}

float largest_magnitude(std::span<const float> x) {
  float largest = 0;
  for (const float v : x) largest = std::max(largest, std::abs(v));
  return largest;
}
float signed_largest(std::span<const float> x) {  // the first of largest magnitude, with its sign
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
float inverse(float d) { return d != 0 ? 1.0f / d : 0.0f; }

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

// What an error of each value counts: sqrt(2 mean(x^2)) + |x|.
class Importance {
 public:
  explicit Importance(std::span<const float> block) {
    double squares = 0;
    for (const float v : block) squares += double{v} * double{v};
    spread_ = std::sqrt(2 * squares / static_cast<double>(block.size()));
  }
  [[nodiscard]] double of(float x) const { return spread_ + std::abs(double{x}); }

 private:
  double spread_ = 0;
};

// The s for which s * code, code in [-n, n - 1], is nearest to x: of 19 roundings, each with its least-squares s, the
// best.
double fit_scale(std::span<const float> x, const Importance& importance, int n) {
  const double largest = double{signed_largest(x)};
  if (std::abs(largest) < 1e-30) return 0;
  double best = 0;  // the part of sum w x^2 that the fit explains
  double scale = 0;
  for (int i = -9; i <= 9; ++i) {
    const double steps = -(n + 0.1 * i) / largest;
    double xl = 0, ll = 0;
    for (const float v : x) {
      const double w = importance.of(v);
      const double l = nearest(double{v} * steps, -n, n - 1);
      xl += w * double{v} * l;
      ll += w * l * l;
    }
    if (ll > 0 && xl * xl > best * ll) {
      best = xl * xl / ll;
      scale = xl / ll;
    }
  }
  return scale;
}

struct ScaleAndMinimum {
  double scale = 0;
  double minimum = 0;  // taken off: not negative
};

// The pair for which scale * code - minimum, code in [0, n], is nearest to x: of 37 roundings, each with its
// least-squares pair, the best.
ScaleAndMinimum fit_with_minimum(std::span<const float> x, const Importance& importance, int n) {
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  const double least = std::min(0.0, double{*low});
  const double range = double{*high} - least;
  if (range < 1e-30) return {0, -least};
  ScaleAndMinimum best;
  double best_error = -1;
  for (int i = 0; i <= 36; ++i) {
    const double steps = (n - 0.9 + 0.05 * i) / range;
    double w_sum = 0, wx = 0, wl = 0, wll = 0, wxl = 0, wxx = 0;
    for (const float v : x) {
      const double w = importance.of(v);
      const double l = nearest((double{v} - least) * steps, 0, n);
      w_sum += w;
      wx += w * double{v};
      wl += w * l;
      wll += w * l * l;
      wxl += w * double{v} * l;
      wxx += w * double{v} * double{v};
    }
    const double determinant = w_sum * wll - wl * wl;
    if (determinant <= 0) continue;
    double scale = (w_sum * wxl - wx * wl) / determinant;
    double shift = (wll * wx - wl * wxl) / determinant;  // x ~ scale * code + shift
    if (shift > 0) {
      shift = 0;
      scale = wxl / wll;
    }
    const double error =
        wxx + scale * scale * wll + shift * shift * w_sum + 2 * (scale * shift * wl - scale * wxl - shift * wx);
    if (best_error < 0 || error < best_error) {
      best_error = error;
      best = {scale, -shift};
    }
  }
  return best;
}

// The codes nearest to x, given the scales that will be read.
template <class Format>
void nearest_codes(std::span<const float> x, Block<Format>& out) {
  constexpr int kMost = (1 << Format::kCodeBits) - 1;
  for (std::size_t j = 0; j < x.size(); ++j) {
    const GroupScale group = Format::scale(out.fields.data(), static_cast<int>(j / kGroup));
    const std::size_t half = j % kGroup / 16;
    const double scale = double{group.scale} * group.sub[half];
    const double minimum = double{group.minimum} * group.minimum_sub[half];
    const double code = scale != 0 ? (double{x[j]} - minimum) / scale : 0;
    out.codes[j] = static_cast<std::uint8_t>(nearest(code + Format::kOffset, 0, kMost));
  }
}

// Sixteen values share a scale, which is an integer times d.
template <class Format>
requires(Format::kHasSub && !Format::kHasMin) void encode(std::span<const float> x, Block<Format>& out) {
  constexpr int kMost = Format::kScales == ScaleKind::kSubBytes ? 128 : 32;  // sub-scales are in [-kMost, kMost)
  const Importance importance(x);
  std::array<float, 16> scales{};
  for (std::size_t i = 0; i < 16; ++i) {
    scales[i] = static_cast<float>(fit_scale(x.subspan(16 * i, 16), importance, Format::kOffset));
  }
  const float d = put_half(signed_largest(scales) / static_cast<float>(-kMost), out.fields.data());
  std::uint8_t* b = out.fields.data() + 2;
  for (std::size_t i = 0; i < 16; ++i) {
    const int sub = d != 0 ? nearest(double{scales[i]} / double{d}, -kMost, kMost - 1) : 0;
    if constexpr (Format::kScales == ScaleKind::kSubBytes) {
      b[i] = static_cast<std::uint8_t>(sub);
    } else {
      const auto code = static_cast<unsigned>(sub + 32);
      b[i % 8] |= static_cast<std::uint8_t>((code & 15u) << (i / 8 * 4));
      b[8 + i % 4] |= static_cast<std::uint8_t>((code >> 4) << (i / 4 * 2));
    }
  }
  nearest_codes(x, out);
}

// 16 or 32 values share a scale and a minimum, which are integers times d and dmin.
template <class Format>
requires(Format::kScales == ScaleKind::kSixBitPairs ||
         Format::kScales == ScaleKind::kSubNibblePairs) void encode(std::span<const float> x, Block<Format>& out) {
  constexpr bool kPairs = Format::kScales == ScaleKind::kSixBitPairs;
  constexpr std::size_t kLength = kPairs ? 32 : 16;
  constexpr std::size_t kCount = 256 / kLength;
  constexpr int kMost = kPairs ? 63 : 15;
  const Importance importance(x);
  std::array<ScaleAndMinimum, kCount> fits;
  double most_scale = 0, most_minimum = 0;
  for (std::size_t i = 0; i < kCount; ++i) {
    fits[i] = fit_with_minimum(x.subspan(kLength * i, kLength), importance, (1 << Format::kCodeBits) - 1);
    most_scale = std::max(most_scale, fits[i].scale);
    most_minimum = std::max(most_minimum, fits[i].minimum);
  }
  const double d = double{put_half(static_cast<float>(most_scale / kMost), out.fields.data())};
  const double dmin = double{put_half(static_cast<float>(most_minimum / kMost), out.fields.data() + 2)};
  std::uint8_t* b = out.fields.data() + 4;
  for (std::size_t i = 0; i < kCount; ++i) {
    const auto sc = static_cast<unsigned>(d > 0 ? nearest(fits[i].scale / d, 0, kMost) : 0);
    const auto m = static_cast<unsigned>(dmin > 0 ? nearest(fits[i].minimum / dmin, 0, kMost) : 0);
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
        if (dtype == DType::kF32) std::memcpy(row, x, static_cast<std::size_t>(cols) * 4);
        for (Index c = 0; c < cols; ++c) {
          const std::uint16_t bits = dtype == DType::kF16 ? to_f16(x[c]).bits : to_bf16(x[c]).bits;
          if (dtype != DType::kF32) std::memcpy(row + 2 * c, &bits, 2);
        }
      });
}

}  // namespace jericho
