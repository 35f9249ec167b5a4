// What this processor can do, as far as the kernels care: four paths, each of which gives the same bits
// (docs/numerics.md). Also the floating-point mode every thread of the process runs in.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace jericho {

// In ascending order: a processor that has one has those before it.
enum class CpuPath {
  kScalar,  // the reference twins, plain C++
  kAvx2,    // AVX2, FMA, F16C
  kAvx512,  // AVX-512 F, BW, VL, DQ and VNNI
  kAmx,     // AVX-512 and the AMX tiles for int8 and bf16
};

std::string_view name(CpuPath path);
std::optional<CpuPath> parse_cpu_path(std::string_view text);  // "scalar", "avx2", "avx512", "amx"

// The paths this processor and kernel allow, ascending; scalar is always there. Asks the kernel for the tile state,
// which Linux grants per process and only on request.
std::vector<CpuPath> usable_cpu_paths();

// The best usable path, or the one JERICHO_CPU names. Throws Error(kUsage) when that name is unknown or not usable
// here.
CpuPath chosen_cpu_path();

// Physical cores this process may run on: hyper-threads of one core count once. At least 1.
int physical_cores();

// "Intel(R) Xeon(R) Processor", from /proc/cpuinfo; empty when the kernel does not say.
std::string cpu_model_name();

// Flush-to-zero and denormals-are-zero for the calling thread. Every thread of the process calls this first: the AMX
// bf16 instruction always works so, and all other paths must agree with it (docs/numerics.md 1).
void flush_subnormals();

}  // namespace jericho
