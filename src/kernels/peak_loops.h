// What a core can do at most, for comparison: loops that only read (as STREAM does, McCalpin 1995, without its stores),
// or only multiply. Speeds of models are printed as fractions of what these reach in the same run (plan/roofs.h times
// them). Start at read_all() and multiply().
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/cpu.h"
#include "base/index.h"
#include "kernels/activations.h"
#include "tensor/dtype.h"

namespace jericho {

struct ReadPattern {
  int streams = 1;        // 1, 2, 4 or 8 equal parts of the bytes read side by side
  bool prefetch = false;  // by instructions, 4 KiB ahead in each stream, beside what the processor does by itself
};

// All that are worth trying on `path`: which one comes nearest to the memory differs between processors. Plain code
// reads one stream.
std::span<const ReadPattern> read_patterns(CpuPath path);

// Reads every byte once with the widest loads of `path`. The result depends on all of them, so that none is skipped.
// `bytes` starts on a 64-byte boundary and is a multiple of 4096 long.
std::uint64_t read_all(CpuPath path, std::span<const std::byte> bytes, ReadPattern pattern);

enum class PeakKind {
  kInt8,       // 8-bit integer products: AMX tiles, VNNI, or AVX2 multiply-add
  kBF16,       // AMX tiles; on other paths the fp32 units do this work
  kF32,        // fused multiply-add
  kBF16Pairs,  // vdpbf16ps, which no kernel uses: for comparison only
};

// The units that products with such a weight are for.
constexpr PeakKind multiplied_by(DType weight) {
  switch (activation_form(weight)) {
    case ActivationForm::kQ8:
    case ActivationForm::kQ8Of128:
    case ActivationForm::kQ8OfRow: return PeakKind::kInt8;
    case ActivationForm::kBF16: return PeakKind::kBF16;
    case ActivationForm::kF32: break;
  }
  return PeakKind::kF32;
}

// Whether this processor has units of this kind on `path`, itself usable. All but kBF16Pairs, and kBF16 below AMX,
// which is the fp32 units' work there.
bool has_units(PeakKind kind, CpuPath path);

std::string_view name(PeakKind kind, CpuPath path);  // "amx_int8", "vnni", "avx512_fma", ...

// Runs `rounds` rounds of independent products from registers and returns how many operations that were (a multiply and
// an add count as two).
double multiply(CpuPath path, PeakKind kind, Index rounds);

}  // namespace jericho
