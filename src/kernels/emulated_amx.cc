// The AMX path's kernels on emulated tiles, and one product on either kind of tiles: see emulated_amx.h.
#include "kernels/emulated_amx.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/attention.h"
#include "kernels/cpu/targets.h"
#include "kernels/emulated_tiles.h"
#include "kernels/matmul.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/emulated_amx.cc"
#include "hwy/foreach_target.h"  // must precede highway.h
#include "hwy/highway.h"

#if HWY_TARGET == HWY_AVX3
#include "kernels/cpu/attention_amx-inl.h"
#include "kernels/cpu/dense_amx-inl.h"
#include "kernels/cpu/matmul_amx-inl.h"

HWY_PUSH_ATTRIBUTES(JERICHO_AMX_TARGET)
namespace jericho::kernels::HWY_NAMESPACE {

static void matmul_emulated(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin,
                            Index strip_end, MatrixView<float> y) {
  matmul_on_tiles<EmulatedTiles>(w, x, bias, strip_begin, strip_end, y);
}
static void attention_emulated(const KvHead& kv, const QueryTokens& tokens, AttentionLogits logits,
                               MatrixView<const float> q, MatrixView<float> out) {
  attention_on_tiles<EmulatedTiles>(kv, tokens, logits, q, out);
}

static void dense_emulated(DType type, const DenseLeft& a, const DenseRight& b, std::span<const Index> ends,
                           DenseStore store_as, const FloatRows& c) {
  dense_on_tiles<EmulatedTiles>(type, a, b, ends, store_as, c);
}

template <class Tiles>
HWY_NOINLINE void add_tiles(const TileOperands& operands, void* sum) {
  TileConfig config;
  config.set(0, operands.rows, 64);
  config.set(1, operands.rows, operands.a_bytes);
  config.set(2, operands.a_bytes / 4, 64);
  Tiles::configure(config);
  Tiles::template load<0>(sum, 64);
  Tiles::template load<1>(operands.a, operands.a_bytes);
  Tiles::template load<2>(operands.b, 64);
  if (operands.product == TileProduct::kInt8) {
    Tiles::template dot_i8<0, 1, 2>();
  } else if (operands.product == TileProduct::kInt8Unsigned) {
    Tiles::template dot_i8_u8<0, 1, 2>();
  } else {
    Tiles::template dot_bf16<0, 1, 2>();
  }
  Tiles::template store<0>(sum, 64);
  Tiles::release();
}

static void add_emulated(const TileOperands& operands, void* sum) { add_tiles<EmulatedTiles>(operands, sum); }
static void add_in_hardware(const TileOperands& operands, void* sum) { add_tiles<HardwareTiles>(operands, sum); }

}  // namespace jericho::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES
#endif  // HWY_AVX3

#if HWY_ONCE
namespace jericho {

void matmul_on_emulated_tiles(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin,
                              Index strip_end, MatrixView<float> y) {
  kernels::N_AVX3::matmul_emulated(w, x, bias, strip_begin, strip_end, y);
}
void attention_on_emulated_tiles(const KvHead& kv, const QueryTokens& tokens, AttentionLogits logits,
                                 MatrixView<const float> q, MatrixView<float> out) {
  kernels::N_AVX3::attention_emulated(kv, tokens, logits, q, out);
}

void dense_on_emulated_tiles(DType type, const DenseLeft& a, const DenseRight& b, std::span<const Index> ends,
                             DenseStore store, const FloatRows& c) {
  kernels::N_AVX3::dense_emulated(type, a, b, ends, store, c);
}

Index products_on_emulated_tiles() { return EmulatedTiles::products(); }

std::vector<TestedPath> tested_paths() {
  std::vector<TestedPath> paths;
  for (const CpuPath path : usable_cpu_paths()) {
    paths.push_back({std::string(name(path)), kernels_for(path)});
    if (path == CpuPath::kAvx512) {
      paths.push_back({"emulated_amx", kernels_for(path)});
      paths.back().kernels.matmul = matmul_on_emulated_tiles;
      paths.back().kernels.attention = attention_on_emulated_tiles;
    }
  }
  return paths;
}

void add_tiles_emulated(const TileOperands& operands, void* sum) { kernels::N_AVX3::add_emulated(operands, sum); }
void add_tiles_in_hardware(const TileOperands& operands, void* sum) { kernels::N_AVX3::add_in_hardware(operands, sum); }

}  // namespace jericho
#endif  // HWY_ONCE
