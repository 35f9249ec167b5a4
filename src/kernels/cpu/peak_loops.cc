// Loops at the limits of a core: see peak_loops.h. Functions carry the target attributes of their path; which one runs
// is decided by the caller's CpuPath.
#include "kernels/peak_loops.h"

#include <cpuid.h>
#include <immintrin.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

namespace jericho {
namespace {

std::uint64_t read_scalar(const std::byte* p, std::size_t size) {
  std::array<std::uint64_t, 8> sums{};
  for (std::size_t i = 0; i < size; i += 64) {
    for (std::size_t j = 0; j < 8; ++j) {
      std::uint64_t word = 0;
      std::memcpy(&word, p + i + 8 * j, 8);
      sums[j] ^= word;
    }
  }
  return sums[0] ^ sums[1] ^ sums[2] ^ sums[3] ^ sums[4] ^ sums[5] ^ sums[6] ^ sums[7];
}

// Eight lines a step, an accumulator each: so many of every stream, or one of each of eight.
constexpr int kLines = 8;
constexpr std::size_t kAhead = 4096;

template <int kStreams, bool kPrefetch>
__attribute__((target("avx2"))) std::uint64_t read_avx2(const std::byte* p, std::size_t size) {
  constexpr std::size_t kStep = 64 * kLines / kStreams;
  const std::size_t apart = size / kStreams;
  __m256i sums[kLines] = {};
  for (std::size_t at = 0; at < apart; at += kStep) {
#pragma GCC unroll 8
    for (int i = 0; i < kLines; ++i) {
      const std::byte* line = p + static_cast<std::size_t>(i % kStreams) * apart + at + 64 * (i / kStreams);
      if (kPrefetch) _mm_prefetch(reinterpret_cast<const char*>(line + kAhead), _MM_HINT_T0);
      sums[i] = _mm256_xor_si256(sums[i], _mm256_load_si256(reinterpret_cast<const __m256i*>(line)));
      sums[i] = _mm256_xor_si256(sums[i], _mm256_load_si256(reinterpret_cast<const __m256i*>(line + 32)));
    }
  }
  for (int i = 1; i < kLines; ++i) sums[0] = _mm256_xor_si256(sums[0], sums[i]);
  alignas(32) std::array<std::uint64_t, 4> out{};
  _mm256_store_si256(reinterpret_cast<__m256i*>(out.data()), sums[0]);
  return out[0] ^ out[1] ^ out[2] ^ out[3];
}

template <int kStreams, bool kPrefetch>
__attribute__((target("avx512f"))) std::uint64_t read_avx512(const std::byte* p, std::size_t size) {
  constexpr std::size_t kStep = 64 * kLines / kStreams;
  const std::size_t apart = size / kStreams;
  __m512i sums[kLines] = {};
  for (std::size_t at = 0; at < apart; at += kStep) {
#pragma GCC unroll 8
    for (int i = 0; i < kLines; ++i) {
      const std::byte* line = p + static_cast<std::size_t>(i % kStreams) * apart + at + 64 * (i / kStreams);
      if (kPrefetch) _mm_prefetch(reinterpret_cast<const char*>(line + kAhead), _MM_HINT_T0);
      sums[i] = _mm512_xor_si512(sums[i], _mm512_load_si512(line));
    }
  }
  for (int i = 1; i < kLines; ++i) sums[0] = _mm512_xor_si512(sums[0], sums[i]);
  alignas(64) std::array<std::uint64_t, 8> out{};
  _mm512_store_si512(out.data(), sums[0]);
  return out[0] ^ out[1] ^ out[2] ^ out[3] ^ out[4] ^ out[5] ^ out[6] ^ out[7];
}

using ReadLoop = std::uint64_t (*)(const std::byte* p, std::size_t size);

// By the logarithm of the streams.
constexpr std::array<std::array<ReadLoop, 2>, 4> kReadAvx2 = {{{read_avx2<1, false>, read_avx2<1, true>},
                                                               {read_avx2<2, false>, read_avx2<2, true>},
                                                               {read_avx2<4, false>, read_avx2<4, true>},
                                                               {read_avx2<8, false>, read_avx2<8, true>}}};
constexpr std::array<std::array<ReadLoop, 2>, 4> kReadAvx512 = {{{read_avx512<1, false>, read_avx512<1, true>},
                                                                 {read_avx512<2, false>, read_avx512<2, true>},
                                                                 {read_avx512<4, false>, read_avx512<4, true>},
                                                                 {read_avx512<8, false>, read_avx512<8, true>}}};

constexpr std::array<ReadPattern, 8> kPatterns = {
    {{1, false}, {1, true}, {2, false}, {2, true}, {4, false}, {4, true}, {8, false}, {8, true}}};

constexpr int kChains = 10;  // independent accumulators: more than latency times throughput of any of these units

// Says that a register is used, so that its products are not removed; not where it lies, so that it need not be stored.
#define JERICHO_KEEP(constraint, value) __asm__ volatile("" : : constraint(value))

double multiply_scalar(Index rounds) {
  std::array<float, 8> acc{};
  const volatile float one = 1.0f;
  const float x = one;
  for (Index r = 0; r < rounds; ++r) {
    for (float& a : acc) a = a * x + x;
  }
  for (const float a : acc) JERICHO_KEEP("x", a);
  return static_cast<double>(rounds) * 8 * 2;
}

__attribute__((target("avx2,fma"))) double fma_avx2(Index rounds) {
  __m256 acc[kChains] = {};
  const __m256 x = _mm256_set1_ps(0.5f);
  for (Index r = 0; r < rounds; ++r) {
#pragma GCC unroll 10
    for (int i = 0; i < kChains; ++i) acc[i] = _mm256_fmadd_ps(x, x, acc[i]);
  }
#pragma GCC unroll 10
  for (int i = 0; i < kChains; ++i) JERICHO_KEEP("x", acc[i]);
  return static_cast<double>(rounds) * kChains * 8 * 2;
}

__attribute__((target("avx512f"))) double fma_avx512(Index rounds) {
  __m512 acc[kChains] = {};
  const __m512 x = _mm512_set1_ps(0.5f);
  for (Index r = 0; r < rounds; ++r) {
#pragma GCC unroll 10
    for (int i = 0; i < kChains; ++i) acc[i] = _mm512_fmadd_ps(x, x, acc[i]);
  }
#pragma GCC unroll 10
  for (int i = 0; i < kChains; ++i) JERICHO_KEEP("v", acc[i]);
  return static_cast<double>(rounds) * kChains * 16 * 2;
}

__attribute__((target("avx2"))) double int8_avx2(Index rounds) {  // as the kernels: 16-bit multiply-add
  __m256i acc[kChains] = {};
  const __m256i x = _mm256_set1_epi16(3);
  for (Index r = 0; r < rounds; ++r) {
#pragma GCC unroll 10
    for (int i = 0; i < kChains; ++i)
      acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(_mm256_xor_si256(acc[i], x), x));
  }
#pragma GCC unroll 10
  for (int i = 0; i < kChains; ++i) JERICHO_KEEP("x", acc[i]);
  return static_cast<double>(rounds) * kChains * 16 * 2;
}

__attribute__((target("avx512f,avx512vnni"))) double vnni(Index rounds) {
  __m512i acc[kChains] = {};
  const __m512i x = _mm512_set1_epi8(3);
  for (Index r = 0; r < rounds; ++r) {
#pragma GCC unroll 10
    for (int i = 0; i < kChains; ++i) acc[i] = _mm512_dpbusd_epi32(acc[i], x, x);
  }
#pragma GCC unroll 10
  for (int i = 0; i < kChains; ++i) JERICHO_KEEP("v", acc[i]);
  return static_cast<double>(rounds) * kChains * 64 * 2;
}

__attribute__((target("avx512f,avx512bf16"))) double bf16_pairs(Index rounds) {
  __m512 acc[kChains] = {};
  const __m512 ones = _mm512_set1_ps(1.0f);
  const __m512bh x = _mm512_cvtne2ps_pbh(ones, ones);
  for (Index r = 0; r < rounds; ++r) {
#pragma GCC unroll 10
    for (int i = 0; i < kChains; ++i) acc[i] = _mm512_dpbf16_ps(acc[i], x, x);
  }
#pragma GCC unroll 10
  for (int i = 0; i < kChains; ++i) JERICHO_KEEP("v", acc[i]);
  return static_cast<double>(rounds) * kChains * 32 * 2;
}

// Palette 1 (Intel SDM vol. 1, 18.3): eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::array<std::uint8_t, 14> reserved{};
  std::array<std::uint16_t, 16> row_bytes{64, 64, 64, 64, 64, 64, 64, 64};
  std::array<std::uint8_t, 16> rows{16, 16, 16, 16, 16, 16, 16, 16};
};

__attribute__((target("amx-tile,amx-int8,amx-bf16"))) double tiles(PeakKind kind, Index rounds) {
  const TileConfig config;
  __asm__ volatile("" : : "r"(&config) : "memory");  // GCC 12 thinks that _tile_loadconfig reads 8 bytes only
  _tile_loadconfig(&config);
  alignas(64) static constexpr std::array<std::uint8_t, 1024> kZeros{};
  _tile_loadd(0, kZeros.data(), 64);
  _tile_loadd(1, kZeros.data(), 64);
  _tile_loadd(2, kZeros.data(), 64);
  _tile_loadd(3, kZeros.data(), 64);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  if (kind == PeakKind::kInt8) {
    for (Index r = 0; r < rounds; ++r) {
      _tile_dpbsud(4, 0, 2);
      _tile_dpbsud(5, 0, 3);
      _tile_dpbsud(6, 1, 2);
      _tile_dpbsud(7, 1, 3);
    }
  } else {
    for (Index r = 0; r < rounds; ++r) {
      _tile_dpbf16ps(4, 0, 2);
      _tile_dpbf16ps(5, 0, 3);
      _tile_dpbf16ps(6, 1, 2);
      _tile_dpbf16ps(7, 1, 3);
    }
  }
  _tile_release();
  return static_cast<double>(rounds) * 4 * 16 * 16 * (kind == PeakKind::kInt8 ? 64 : 32) * 2;
}

}  // namespace

std::span<const ReadPattern> read_patterns(CpuPath path) {
  return std::span(kPatterns).first(path == CpuPath::kScalar ? 1 : kPatterns.size());
}

std::uint64_t read_all(CpuPath path, std::span<const std::byte> bytes, ReadPattern pattern) {
  const auto log_streams = static_cast<std::size_t>(std::bit_width(static_cast<unsigned>(pattern.streams)) - 1);
  const auto prefetch = static_cast<std::size_t>(pattern.prefetch);
  if (path >= CpuPath::kAvx512) return kReadAvx512[log_streams][prefetch](bytes.data(), bytes.size());
  if (path == CpuPath::kAvx2) return kReadAvx2[log_streams][prefetch](bytes.data(), bytes.size());
  return read_scalar(bytes.data(), bytes.size());
}

bool has_units(PeakKind kind, CpuPath path) {
  if (kind == PeakKind::kBF16) return path == CpuPath::kAmx;
  if (kind != PeakKind::kBF16Pairs) return true;
  unsigned a = 0, b = 0, c = 0, d = 0;
  return path >= CpuPath::kAvx512 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 5 & 1u) == 1;
}

std::string_view name(PeakKind kind, CpuPath path) {
  if (kind == PeakKind::kBF16Pairs) return "avx512_bf16";
  switch (path) {
    case CpuPath::kScalar: return "scalar";
    case CpuPath::kAvx2: return kind == PeakKind::kInt8 ? "avx2_madd" : "avx2_fma";
    case CpuPath::kAvx512: return kind == PeakKind::kInt8 ? "vnni" : "avx512_fma";
    case CpuPath::kAmx: break;
  }
  return kind == PeakKind::kInt8 ? "amx_int8" : kind == PeakKind::kBF16 ? "amx_bf16" : "avx512_fma";
}

double multiply(CpuPath path, PeakKind kind, Index rounds) {
  if (kind == PeakKind::kBF16Pairs) return bf16_pairs(rounds);
  if (path == CpuPath::kScalar) return multiply_scalar(rounds);
  if (path == CpuPath::kAvx2) return kind == PeakKind::kInt8 ? int8_avx2(rounds) : fma_avx2(rounds);
  if (path == CpuPath::kAmx && kind != PeakKind::kF32) return tiles(kind, rounds);
  return kind == PeakKind::kInt8 ? vnni(rounds) : fma_avx512(rounds);
}

}  // namespace jericho
