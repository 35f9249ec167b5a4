// For tests only: the AMX path's kernels on emulated tiles, so that they are tested on any processor with AVX-512. No
// program links this.
#pragma once

#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "kernels/dense.h"
#include "kernels/kernels.h"

namespace jericho {

// As kernels::N_AVX3::matmul_amx(), attention_amx() and dense_multiply_amx(). One thread at a time: the tiles are a
// static object.
void matmul_on_emulated_tiles(const PackedMatrix& w, const Activations& x, const float* bias, Index strip_begin,
                              Index strip_end, MatrixView<float> y);
void attention_on_emulated_tiles(const KvHead& kv, const QueryTokens& tokens, AttentionLogits logits,
                                 MatrixView<const float> q, MatrixView<float> out);

void dense_on_emulated_tiles(DType type, const DenseLeft& a, const DenseRight& b, std::span<const Index> ends,
                             DenseStore store, const FloatRows& c);

Index products_on_emulated_tiles();  // so far

// What a kernel is tested on: the paths of this machine, and that of AMX on emulated tiles.
struct TestedPath {
  std::string name;
  Kernels kernels;
};
inline void PrintTo(const TestedPath& path, std::ostream* out) { *out << path.name; }
std::vector<TestedPath> tested_paths();

// One sum of tiles both ways, for the comparison of the emulation with the processor. a [rows][a_bytes], b
// [a_bytes / 4][64] and sum [rows][16] are packed without gaps.
enum class TileProduct { kInt8, kInt8Unsigned, kBF16 };  // signed a; b signed or not
struct TileOperands {
  TileProduct product{};
  Index rows = 0;     // of a and of the sum
  Index a_bytes = 0;  // in a row of a
  const void* a = nullptr;
  const void* b = nullptr;
};
void add_tiles_emulated(const TileOperands& operands, void* sum);
void add_tiles_in_hardware(const TileOperands& operands, void* sum);  // where CpuPath::kAmx is usable

}  // namespace jericho
