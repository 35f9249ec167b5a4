// AMX tiles (Intel SDM vol. 1, chapter 18): their configuration, and the tile instructions as the kernels name them. A
// kernel takes them from a template parameter, `Tiles`: HardwareTiles here, or EmulatedTiles
// (kernels/emulated_tiles.h), with which the tests run the same kernels on processors without AMX.
#include <cstdint>

#include "base/index.h"

#if defined(JERICHO_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef JERICHO_TILES_INL_H_
#undef JERICHO_TILES_INL_H_
#else
#define JERICHO_TILES_INL_H_
#endif

#include "hwy/highway.h"

#define JERICHO_AMX_TARGET HWY_TARGET_STR ",avx512vnni,amx-tile,amx-int8,amx-bf16"

HWY_PUSH_ATTRIBUTES(JERICHO_AMX_TARGET)
namespace jericho::kernels::HWY_NAMESPACE {

struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
  HWY_INLINE void set(int tile, Index tile_rows, Index bytes) {
    rows[tile] = static_cast<std::uint8_t>(tile_rows);
    row_bytes[tile] = static_cast<std::uint16_t>(bytes);
  }
};
static_assert(sizeof(TileConfig) == 64);

// Written as assembly, because GCC 12's own functions take a tile's number as text, which a template cannot give, and
// believe that loading a configuration reads 8 bytes and loading a tile nothing: the stores that fill them could sink
// below. "memory" says what is true.
struct HardwareTiles {
  static HWY_INLINE void configure(const TileConfig& config) {
    __asm__ volatile("ldtilecfg %0" : : "m"(config) : "memory");
  }
  static HWY_INLINE void release() { __asm__ volatile("tilerelease" : : : "memory"); }
  template <int kTile>
  static HWY_INLINE void zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <int kTile>
  static HWY_INLINE void load(const void* rows, Index stride) {  // in bytes
    __asm__ volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(kTile), "r"(rows), "r"(stride) : "memory");
  }
  // Of rows that are read once: the first cache may leave them out.
  template <int kTile>
  static HWY_INLINE void load_streamed(const void* rows, Index stride) {
    __asm__ volatile("tileloaddt1 (%1,%2,1), %%tmm%c0" : : "i"(kTile), "r"(rows), "r"(stride) : "memory");
  }
  template <int kTile>
  static HWY_INLINE void store(void* rows, Index stride) {
    __asm__ volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(kTile), "r"(rows), "r"(stride) : "memory");
  }
  // sum += a b: a's rows of signed bytes times b's quads of signed bytes.
  template <int kSum, int kA, int kB>
  static HWY_INLINE void dot_i8() {
    __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
  // The same where b's bytes are unsigned.
  template <int kSum, int kA, int kB>
  static HWY_INLINE void dot_i8_u8() {
    __asm__ volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
  // sum += a b: a's rows of bf16 times b's pairs of bf16, in the order of numerics.md 3.
  template <int kSum, int kA, int kB>
  static HWY_INLINE void dot_bf16() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
};

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

#endif  // per-target guard
