// AMX tiles (Intel SDM vol. 1, chapter 18): their configuration, and a barrier that both compilers need.
#include <immintrin.h>

#include <cstdint>

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

// GCC 12 believes that loading a configuration reads 8 bytes and that loading a tile reads nothing: without this it may
// sink the stores that fill them.
HWY_INLINE void tile_barrier() { __asm__ volatile("" ::: "memory"); }

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

HWY_INLINE void load_config(const TileConfig& config) {
  tile_barrier();
  _tile_loadconfig(&config);
}

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

#endif  // per-target guard
