// Updates of weights for AVX2 and AVX-512: the bits of their twins in kernels/ref. Compiled once per target.
#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/cpu/training_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/updates.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace jericho::kernels::HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3
HWY_INLINE F32x16 square_root(F32x16 a) { return hn::Sqrt(a); }
#else
HWY_INLINE F32x16 square_root(F32x16 a) { return {hn::Sqrt(a.lo), hn::Sqrt(a.hi)}; }
#endif

void adamw(const AdamWStep& step, const float* gradient, Index count, float* weight, float* m, float* v) {
  const F32x16 beta1 = set(step.beta1), rest1 = set(1.0f - step.beta1);
  const F32x16 beta2 = set(step.beta2), rest2 = set(1.0f - step.beta2);
  const F32x16 scale = set(step.scale), keep = set(step.keep), step_size = set(step.step_size);
  const F32x16 correction = set(step.root_correction), epsilon = set(step.epsilon);
  for (Index i = 0; i < count; i += 16) {
    const Index left = count - i;
    const F32x16 g = multiply(load_up_to_16(gradient + i, left), scale);
    const F32x16 w = multiply(load_up_to_16(weight + i, left), keep);
    const F32x16 new_m = fma(load_up_to_16(m + i, left), beta1, multiply(rest1, g));
    const F32x16 new_v = fma(load_up_to_16(v + i, left), beta2, multiply(multiply(rest2, g), g));
    const F32x16 root = add(divide(square_root(new_v), correction), epsilon);
    store_up_to_16(subtract(w, divide(multiply(step_size, new_m), root)), weight + i, left);
    store_up_to_16(new_m, m + i, left);
    store_up_to_16(new_v, v + i, left);
  }
}

void move_weights(float factor, float keep, const float* g, Index count, float* w) {
  const F32x16 factors = set(factor), keeps = set(keep);
  for (Index i = 0; i < count; i += 16) {
    const Index left = count - i;
    const F32x16 moved = subtract(load_up_to_16(w + i, left), multiply(factors, load_up_to_16(g + i, left)));
    store_up_to_16(multiply(moved, keeps), w + i, left);
  }
}

namespace {

using WordTag = hn::RebindToUnsigned<FloatTag>;
using Words = hn::Vec<WordTag>;
constexpr Index kLanes = kPart;                                   // blocks of Philox at once
constexpr Index kGroupValues = info(DType::kQC8).block_elements;  // that share a scale
constexpr Index kGroupBytes = info(DType::kQC8).block_bytes.count;

// The upper halves of 32-bit products.
HWY_INLINE Words high_half(Words a, Words b) {
  const hn::RepartitionToWide<WordTag> wide;
  const Words even = hn::BitCast(WordTag{}, hn::ShiftRight<32>(hn::MulEven(a, b)));
  const auto odd = hn::MulEven(hn::BitCast(WordTag{}, hn::ShiftRight<32>(hn::BitCast(wide, a))),
                               hn::BitCast(WordTag{}, hn::ShiftRight<32>(hn::BitCast(wide, b))));
  return hn::OddEven(hn::BitCast(WordTag{}, odd), even);
}

// out[4 kLanes]: the words of kLanes blocks from `block` on.
HWY_INLINE void random_words(const RoundingStream& stream, std::uint64_t block, std::uint32_t* out) {
  const WordTag d;
  const Words first = hn::Set(d, static_cast<std::uint32_t>(block));
  Words c0 = hn::Add(first, hn::Iota(d, 0));
  Words c1 = hn::Set(d, static_cast<std::uint32_t>(block >> 32));
  c1 = hn::Add(c1, hn::IfThenElseZero(hn::Lt(c0, first), hn::Set(d, 1u)));
  Words c2 = hn::Set(d, kRoundingPurpose), c3 = hn::Set(d, stream.update);
  const Words factor_a = hn::Set(d, 0xD2511F53u), factor_b = hn::Set(d, 0xCD9E8D57u);
  std::uint32_t key0 = stream.key[0], key1 = stream.key[1];
  for (int round = 0; round < 10; ++round) {
    const Words a = hn::Mul(c0, factor_a), a_high = high_half(c0, factor_a);
    const Words b = hn::Mul(c2, factor_b), b_high = high_half(c2, factor_b);
    c0 = hn::Xor(hn::Xor(b_high, c1), hn::Set(d, key0));
    c1 = b;
    c2 = hn::Xor(hn::Xor(a_high, c3), hn::Set(d, key1));
    c3 = a;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  hn::StoreInterleaved4(c0, c1, c2, c3, d, out);
}

HWY_INLINE void to_brain_halves(const float* x, const std::uint32_t* words, Index count, std::byte* out) {
  const WordTag d;
  alignas(64) std::array<std::uint32_t, kGroupValues> rounded;
  for (Index i = 0; i < count; i += kLanes) {
    const Words bits = hn::BitCast(d, hn::LoadU(FloatTag{}, x + i));
    const Words random = hn::And(hn::LoadU(d, words + i), hn::Set(d, 0xffffu));
    const Words magnitude = hn::And(bits, hn::Set(d, 0x7fffffffu));
    const auto finite = hn::Lt(magnitude, hn::Set(d, 0x7f800000u)), nan = hn::Gt(magnitude, hn::Set(d, 0x7f800000u));
    const Words other = hn::Or(bits, hn::IfThenElseZero(nan, hn::Set(d, 0x400000u)));
    hn::StoreU(hn::ShiftRight<16>(hn::IfThenElse(finite, hn::Add(bits, random), other)), d, rounded.data() + i);
  }
  for (Index i = 0; i < count; ++i) {
    const auto half = static_cast<std::uint16_t>(rounded[static_cast<std::size_t>(i)]);
    std::memcpy(out + 2 * i, &half, 2);
  }
}

HWY_INLINE void to_codes(const float* x, const std::uint32_t* words, std::byte* out) {
  const FloatTag d;
  auto most = hn::Zero(d);
  for (Index i = 0; i < kGroupValues; i += kLanes) most = hn::Max(most, hn::Abs(hn::LoadU(d, x + i)));
  const float largest = hn::GetLane(hn::MaxOfLanes(d, most));
  if (!(largest >= kSmallestGroup)) {
    std::memset(out, 0, static_cast<std::size_t>(kGroupBytes));
    return;
  }
  const float scale = largest / 127.0f;
  std::memcpy(out, &scale, 4);
  const auto inverse = hn::Set(d, 127.0f / largest), top = hn::Set(d, 127.0f), unit = hn::Set(d, 0x1p-24f);
  const hn::Rebind<std::int8_t, FloatTag> bytes;
  for (Index i = 0; i < kGroupValues; i += kLanes) {
    const auto drawn = hn::BitCast(IntTag{}, hn::ShiftRight<8>(hn::LoadU(WordTag{}, words + i)));
    const auto u = hn::Mul(hn::ConvertTo(d, drawn), unit);
    const auto y = hn::Max(hn::Min(hn::Add(hn::Mul(hn::LoadU(d, x + i), inverse), u), top), hn::Neg(top));
    hn::StoreU(hn::DemoteTo(bytes, hn::ConvertTo(IntTag{}, hn::Floor(y))), bytes,
               reinterpret_cast<std::int8_t*>(out) + 4 + i);
  }
}

}  // namespace

void round_row(DType dtype, const float* x, Index cols, const RoundingStream& stream, std::byte* row) {
  alignas(64) std::array<std::uint32_t, kGroupValues> words;
  alignas(64) std::array<float, kGroupValues> last;
  const bool halves = dtype == DType::kBF16;
  for (Index first = 0; first < cols; first += kGroupValues) {
    const Index count = std::min(kGroupValues, cols - first);
    const float* values = x + first;
    if (count < kGroupValues) {
      last.fill(0);
      std::copy_n(values, count, last.data());
      values = last.data();
    }
    const auto block = static_cast<std::uint64_t>(stream.row * ceil_div(cols, 4) + first / 4);
    for (Index i = 0; i < count; i += 4 * kLanes) {
      random_words(stream, block + static_cast<std::uint64_t>(i / 4), words.data() + i);
    }
    if (halves) {
      to_brain_halves(values, words.data(), count, row + 2 * first);
    } else {
      // Zeros after the row are rounded by words of their own: none of them becomes more than zero.
      std::fill(words.begin() + count, words.end(), 0u);
      to_codes(values, words.data(), row + first / kGroupValues * kGroupBytes);
    }
  }
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
