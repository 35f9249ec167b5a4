// The two 16-bit floats: IEEE half (f16) and bfloat16. Storage types only: arithmetic happens in fp32.
// Conversions are exact or round to nearest even and use integers only, so they do not depend on the processor's flush
// modes.
#pragma once

#include <bit>
#include <cstdint>

namespace jericho {

struct F16 {
  std::uint16_t bits = 0;
};
struct BF16 {
  std::uint16_t bits = 0;
};

constexpr float to_float(BF16 x) { return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16); }

// Exact for every half, subnormals included, as VCVTPH2PS does.
constexpr float to_float(F16 x) {
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000u) << 16;
  std::uint32_t exponent = (x.bits >> 10) & 31u;
  std::uint32_t mantissa = x.bits & 0x3ffu;
  if (exponent == 31) {
    const std::uint32_t quiet = mantissa != 0 ? 0x400000u : 0u;
    return std::bit_cast<float>(sign | 0x7f800000u | quiet | (mantissa << 13));
  }
  if (exponent == 0) {
    if (mantissa == 0) return std::bit_cast<float>(sign);
    const int shift = std::countl_zero(mantissa) - 21;  // brings the leading one to bit 10
    mantissa = (mantissa << shift) & 0x3ffu;
    exponent = static_cast<std::uint32_t>(1 - shift);
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

// Nearest even. A subnormal float counts as zero, as it does for arithmetic under DAZ; a NaN becomes quiet.
constexpr BF16 to_bf16(float value) {
  const auto x = std::bit_cast<std::uint32_t>(value);
  if ((x & 0x7f800000u) == 0) return {static_cast<std::uint16_t>((x >> 16) & 0x8000u)};
  if ((x & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((x >> 16) | 0x40u)};
  return {static_cast<std::uint16_t>((x + 0x7fffu + ((x >> 16) & 1u)) >> 16)};
}

// Nearest even, subnormal halves included, overflow to infinity, as VCVTPS2PH does.
constexpr F16 to_f16(float value) {
  const auto x = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((x >> 16) & 0x8000u);
  const std::uint32_t magnitude = x & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    return {static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu))};
  }
  if (magnitude >= 0x47800000u) return {static_cast<std::uint16_t>(sign | 0x7c00u)};  // 65536 and above
  if (magnitude < 0x33000000u) return {sign};                                         // below half the least subnormal
  const auto exponent = static_cast<int>(magnitude >> 23) - 127;
  std::uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
  const int drop = exponent < -14 ? -exponent - 1 : 13;  // bits below the half's last place
  const std::uint32_t base = exponent < -14 ? 0u : static_cast<std::uint32_t>(exponent + 14) << 10;
  const std::uint32_t rest = mantissa & ((1u << drop) - 1);
  const std::uint32_t tie = 1u << (drop - 1);
  mantissa >>= drop;
  if (rest > tie || (rest == tie && (mantissa & 1u) != 0)) ++mantissa;
  return {static_cast<std::uint16_t>(sign | (base + mantissa))};
}

}  // namespace jericho
