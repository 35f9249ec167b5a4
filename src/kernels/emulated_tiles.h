// For tests only: the AMX tile instructions that the kernels use, in plain code, on any processor. They check what the
// processor checks and throw where it would fault, so that a kernel that passes here configures and uses its tiles
// rightly there. Intel SDM vol. 1, chapter 18 and the pages of the instructions. Start at dot().
#pragma once

#include <immintrin.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include <fmt/format.h>

#include "base/half.h"
#include "base/index.h"

namespace jericho {

class EmulatedTiles {
 public:
  static constexpr Index kTiles = 8;  // of palette 1
  static constexpr Index kRows = 16;
  static constexpr Index kRowBytes = 64;

  // Any 64 bytes in the layout of LDTILECFG.
  template <class Config>
  static void configure(const Config& config) {
    static_assert(sizeof(Config) == 64);
    configure_from(reinterpret_cast<const std::uint8_t*>(&config));
  }
  static void release() { state() = {}; }
  static Index& products() {  // since the start
    static Index count = 0;
    return count;
  }

  template <int kTile>
  static void zero() {
    used("tilezero", kTile).bytes = {};
  }
  template <int kTile>
  static void load(const void* rows, Index stride) {
    Tile& tile = used("tileloadd", kTile);
    tile.bytes = {};
    for (Index r = 0; r < tile.rows; ++r) {
      std::memcpy(tile.bytes.data() + r * kRowBytes, static_cast<const char*>(rows) + r * stride, size(tile.row_bytes));
    }
  }
  template <int kTile>
  static void load_streamed(const void* rows, Index stride) {
    load<kTile>(rows, stride);
  }
  template <int kTile>
  static void store(void* rows, Index stride) {
    const Tile& tile = used("tilestored", kTile);
    for (Index r = 0; r < tile.rows; ++r) {
      std::memcpy(static_cast<char*>(rows) + r * stride, tile.bytes.data() + r * kRowBytes, size(tile.row_bytes));
    }
  }
  template <int kSum, int kA, int kB>
  static void dot_i8() {
    dot_bytes<std::int8_t>("tdpbssd", kSum, kA, kB);
  }
  template <int kSum, int kA, int kB>
  static void dot_i8_u8() {
    dot_bytes<std::uint8_t>("tdpbsud", kSum, kA, kB);
  }
  template <int kSum, int kA, int kB>
  static void dot_bf16() {
    const OwnMode mode;
    dot<float>("tdpbf16ps", kSum, kA, kB, [](float sum, const Tile& a, Index m, const Tile& b, Index n) {
      std::array<float, 2> chain{};
      for (Index k = 0; k < a.row_bytes / 2; ++k) {
        float& even_or_odd = chain[size(k % 2)];
        even_or_odd = std::fma(to_float(a.at<BF16>(m, k)), to_float(b.at<BF16>(k / 2, 2 * n + k % 2)), even_or_odd);
      }
      return sum + (chain[0] + chain[1]);
    });
  }

 private:
  struct Tile {
    Index rows = 0;  // 0: not configured
    Index row_bytes = 0;
    std::array<std::byte, 1024> bytes{};  // zero beyond rows and row_bytes
    template <class T>
    [[nodiscard]] T at(Index row, Index i) const {
      T value;
      std::memcpy(&value, bytes.data() + row * kRowBytes + i * static_cast<Index>(sizeof(T)), sizeof(T));
      return value;
    }
  };
  struct State {
    bool configured = false;
    std::array<Tile, kTiles> tiles;
  };

  // Rounding to nearest even, subnormals as zero: what the bf16 instruction does whatever the thread's mode is.
  class OwnMode {
   public:
    OwnMode() : threads_(_mm_getcsr()) {
      _mm_setcsr(0x9fc0u);
      barrier();
    }
    ~OwnMode() {
      barrier();
      _mm_setcsr(threads_);
    }
    OwnMode(const OwnMode&) = delete;
    OwnMode& operator=(const OwnMode&) = delete;

   private:
    static void barrier() { __asm__ volatile("" : : : "memory"); }  // the tiles are memory: their use stays inside
    unsigned threads_;
  };

  static constexpr std::size_t size(Index count) { return static_cast<std::size_t>(count); }

  static State& state() {
    static State tiles;  // of the one thread that tests kernels
    return tiles;
  }

  template <class... Values>
  static void expect(bool holds, fmt::format_string<const Values&...> message, const Values&... values) {
    if (!holds) throw std::logic_error(fmt::format(message, values...));
  }

  static Tile& used(const char* instruction, int index) {
    expect(index >= 0 && index < kTiles, "{}: tile {}, there are {}", instruction, index, kTiles);
    expect(state().configured, "{}: tile {} without a configuration", instruction, index);
    Tile& tile = state().tiles[static_cast<std::size_t>(index)];
    expect(tile.rows > 0, "{}: tile {} is not configured", instruction, index);
    return tile;
  }

  static void configure_from(const std::uint8_t* config) {
    expect(config[0] == 1, "ldtilecfg: palette {}, expected 1", config[0]);
    expect(config[1] == 0, "ldtilecfg: starts in row {}, expected 0", config[1]);
    for (int i = 2; i < 16; ++i) expect(config[i] == 0, "ldtilecfg: reserved byte {} is {}", i, config[i]);
    state() = {};
    state().configured = true;
    for (Index i = 0; i < 16; ++i) {
      std::uint16_t row_bytes = 0;
      std::memcpy(&row_bytes, config + 16 + 2 * i, 2);
      const std::uint8_t rows = config[48 + i];
      expect(rows <= kRows, "ldtilecfg: tile {} has {} rows, at most {}", i, rows, kRows);
      expect(row_bytes <= kRowBytes, "ldtilecfg: tile {} has rows of {} bytes, at most {}", i, row_bytes, kRowBytes);
      expect((rows == 0) == (row_bytes == 0), "ldtilecfg: tile {} has {} rows of {} bytes", i, rows, row_bytes);
      expect(rows == 0 || i < kTiles, "ldtilecfg: tile {}, there are {}", i, kTiles);
      if (i < kTiles) {
        state().tiles[size(i)].rows = rows;
        state().tiles[size(i)].row_bytes = row_bytes;
      }
    }
  }

  template <class B>
  static void dot_bytes(const char* instruction, int sum_index, int a_index, int b_index) {
    dot<std::int32_t>(instruction, sum_index, a_index, b_index,
                      [](std::int32_t sum, const Tile& a, Index m, const Tile& b, Index n) {
                        for (Index k = 0; k < a.row_bytes; ++k) {
                          sum += a.at<std::int8_t>(m, k) * b.at<B>(k / 4, 4 * n + k % 4);
                        }
                        return sum;
                      });
  }

  // sum[m][n] = f(sum[m][n], a, m, b, n) for every element, 32 bits wide, of the sum's shape.
  template <class Element, class F>
  static void dot(const char* instruction, int sum_index, int a_index, int b_index, F f) {
    expect(sum_index != a_index && sum_index != b_index && a_index != b_index, "{}: tiles {}, {}, {} are not three",
           instruction, sum_index, a_index, b_index);
    Tile& sum = used(instruction, sum_index);
    const Tile& a = used(instruction, a_index);
    const Tile& b = used(instruction, b_index);
    expect(sum.row_bytes % 4 == 0 && a.row_bytes % 4 == 0 && b.row_bytes % 4 == 0,
           "{}: rows of {}, {} and {} bytes are not whole dwords", instruction, sum.row_bytes, a.row_bytes,
           b.row_bytes);
    expect(sum.rows == a.rows, "{}: the sum has {} rows, a {}", instruction, sum.rows, a.rows);
    expect(a.row_bytes / 4 == b.rows, "{}: a has {} dwords in a row, b {} rows", instruction, a.row_bytes / 4, b.rows);
    expect(sum.row_bytes == b.row_bytes, "{}: the sum has rows of {} bytes, b of {}", instruction, sum.row_bytes,
           b.row_bytes);
    ++products();
    for (Index m = 0; m < sum.rows; ++m) {
      for (Index n = 0; n < sum.row_bytes / 4; ++n) {
        const Element element = f(sum.at<Element>(m, n), a, m, b, n);
        std::memcpy(sum.bytes.data() + m * kRowBytes + 4 * n, &element, sizeof(element));
      }
    }
  }
};

}  // namespace jericho
