// The tables of the vector paths; until a path has kernels of its own it takes those below it.
#include "kernels/cpu/tables.h"

namespace jericho::kernels {
namespace {

Kernels with_path(Kernels table, CpuPath path) {
  table.path = path;
  return table;
}

}  // namespace

Kernels avx2_table(const Kernels& below) { return with_path(below, CpuPath::kAvx2); }
Kernels avx512_table(const Kernels& below) { return with_path(below, CpuPath::kAvx512); }
Kernels amx_table(const Kernels& below) { return with_path(below, CpuPath::kAmx); }

}  // namespace jericho::kernels
