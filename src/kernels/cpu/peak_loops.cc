// Loops at the limits of a core: see peak_loops.h. Functions carry the target attributes of their path; which one runs
// is decided by the caller's CpuPath.
#include "kernels/peak_loops.h"

#include <immintrin.h>

#include <array>
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

// Four accumulators: of one stream, a line each in turn; of four streams, one each.
struct ReadPattern {
  ReadPattern(std::size_t size, ReadStreams streams)
      : step(streams == ReadStreams::kOne ? 256 : 64),
        apart(streams == ReadStreams::kOne ? 64 : size / 4),
        steps(size / 256) {}
  std::size_t step, apart, steps;
};

__attribute__((target("avx2"))) std::uint64_t read_avx2(const std::byte* p, ReadPattern pattern) {
  __m256i a = _mm256_setzero_si256();
  __m256i b = a;
  __m256i c = a;
  __m256i d = a;
  for (std::size_t i = 0; i < pattern.steps; ++i, p += pattern.step) {
    for (std::size_t half = 0; half < 64; half += 32) {
      a = _mm256_xor_si256(a, _mm256_load_si256(reinterpret_cast<const __m256i*>(p + half)));
      b = _mm256_xor_si256(b, _mm256_load_si256(reinterpret_cast<const __m256i*>(p + pattern.apart + half)));
      c = _mm256_xor_si256(c, _mm256_load_si256(reinterpret_cast<const __m256i*>(p + 2 * pattern.apart + half)));
      d = _mm256_xor_si256(d, _mm256_load_si256(reinterpret_cast<const __m256i*>(p + 3 * pattern.apart + half)));
    }
  }
  alignas(32) std::array<std::uint64_t, 4> out{};
  _mm256_store_si256(reinterpret_cast<__m256i*>(out.data()),
                     _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d)));
  return out[0] ^ out[1] ^ out[2] ^ out[3];
}

__attribute__((target("avx512f"))) std::uint64_t read_avx512(const std::byte* p, ReadPattern pattern) {
  constexpr std::size_t kAhead = 4096;
  __m512i a = _mm512_setzero_si512();
  __m512i b = a;
  __m512i c = a;
  __m512i d = a;
  const std::size_t apart = pattern.apart;
  for (std::size_t i = 0; i < pattern.steps; ++i, p += pattern.step) {
    _mm_prefetch(reinterpret_cast<const char*>(p + kAhead), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(p + kAhead + apart), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(p + kAhead + 2 * apart), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(p + kAhead + 3 * apart), _MM_HINT_T0);
    a = _mm512_xor_si512(a, _mm512_load_si512(p));
    b = _mm512_xor_si512(b, _mm512_load_si512(p + apart));
    c = _mm512_xor_si512(c, _mm512_load_si512(p + 2 * apart));
    d = _mm512_xor_si512(d, _mm512_load_si512(p + 3 * apart));
  }
  alignas(64) std::array<std::uint64_t, 8> out{};
  _mm512_store_si512(out.data(), _mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d)));
  return out[0] ^ out[1] ^ out[2] ^ out[3] ^ out[4] ^ out[5] ^ out[6] ^ out[7];
}

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

std::uint64_t read_all(CpuPath path, std::span<const std::byte> bytes, ReadStreams streams) {
  const ReadPattern pattern(bytes.size(), streams);
  if (path >= CpuPath::kAvx512) return read_avx512(bytes.data(), pattern);
  if (path == CpuPath::kAvx2) return read_avx2(bytes.data(), pattern);
  return read_scalar(bytes.data(), bytes.size());
}

std::string_view name(PeakKind kind, CpuPath path) {
  switch (path) {
    case CpuPath::kScalar: return "scalar";
    case CpuPath::kAvx2: return kind == PeakKind::kInt8 ? "avx2_madd" : "avx2_fma";
    case CpuPath::kAvx512: return kind == PeakKind::kInt8 ? "vnni" : "avx512_fma";
    case CpuPath::kAmx: break;
  }
  return kind == PeakKind::kInt8 ? "amx_int8" : kind == PeakKind::kBF16 ? "amx_bf16" : "avx512_fma";
}

double multiply(CpuPath path, PeakKind kind, Index rounds) {
  if (path == CpuPath::kScalar) return multiply_scalar(rounds);
  if (path == CpuPath::kAvx2) return kind == PeakKind::kInt8 ? int8_avx2(rounds) : fma_avx2(rounds);
  if (path == CpuPath::kAmx && kind != PeakKind::kF32) return tiles(kind, rounds);
  return kind == PeakKind::kInt8 ? vnni(rounds) : fma_avx512(rounds);
}

}  // namespace jericho
