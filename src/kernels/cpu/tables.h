// What kernels/cpu offers: each path's table, made from the table of the path below it.
#pragma once

#include "kernels/kernels.h"

namespace jericho::kernels {

Kernels avx2_table(const Kernels& below);
Kernels avx512_table(const Kernels& below);
Kernels amx_table(const Kernels& below);

}  // namespace jericho::kernels
