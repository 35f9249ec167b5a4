// Probes the processor: CPUID leaves 1, 7 and 7.1 and XCR0 (Intel SDM vol. 2A, CPUID; vol. 1, 13.3 and 18.2).
#include "base/cpu.h"

#include <cpuid.h>
#include <immintrin.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho {
namespace {

constexpr std::array<std::pair<CpuPath, std::string_view>, 4> kNames = {
    {{CpuPath::kScalar, "scalar"}, {CpuPath::kAvx2, "avx2"}, {CpuPath::kAvx512, "avx512"}, {CpuPath::kAmx, "amx"}}};

constexpr bool bit(unsigned word, int index) { return ((word >> index) & 1u) != 0; }

// XCR0 without the xsave target attribute.
std::uint64_t enabled_states() {
  unsigned low = 0;
  unsigned high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return std::uint64_t{high} << 32 | low;
}

CpuPath best_path() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c1 = 0;
  unsigned d = 0;
  if (__get_cpuid(1, &a, &b, &c1, &d) == 0 || !bit(c1, 27)) return CpuPath::kScalar;
  const bool fma_f16c = bit(c1, 12) && bit(c1, 29);
  unsigned b7 = 0;
  unsigned c7 = 0;
  unsigned d7 = 0;
  if (__get_cpuid_count(7, 0, &a, &b7, &c7, &d7) == 0) return CpuPath::kScalar;
  const std::uint64_t states = enabled_states();
  const bool avx2 = fma_f16c && bit(b7, 5) && (states & 0x6u) == 0x6u;
  if (!avx2) return CpuPath::kScalar;
  const bool avx512 =
      bit(b7, 16) && bit(b7, 17) && bit(b7, 30) && bit(b7, 31) && bit(c7, 11) && (states & 0xe6u) == 0xe6u;
  if (!avx512) return CpuPath::kAvx2;
  const bool amx = bit(d7, 22) && bit(d7, 24) && bit(d7, 25) && (states & 0x60000u) == 0x60000u;
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  if (!amx || syscall(SYS_arch_prctl, kRequestPermission, kTileData) != 0) return CpuPath::kAvx512;
  return CpuPath::kAmx;
}

}  // namespace

std::string_view name(CpuPath path) { return kNames[static_cast<std::size_t>(path)].second; }

std::optional<CpuPath> parse_cpu_path(std::string_view text) {
  for (const auto& [path, path_name] : kNames) {
    if (path_name == text) return path;
  }
  return std::nullopt;
}

std::vector<CpuPath> usable_cpu_paths() {
  static const CpuPath best = best_path();
  std::vector<CpuPath> paths;
  for (const auto& [path, path_name] : kNames) {
    if (path <= best) paths.push_back(path);
  }
  return paths;
}

CpuPath chosen_cpu_path() {
  const CpuPath best = usable_cpu_paths().back();
  const char* wish = std::getenv("JERICHO_CPU");
  if (wish == nullptr || *wish == '\0') return best;
  const std::optional<CpuPath> path = parse_cpu_path(wish);
  if (!path) {
    throw Error(ErrorKind::kUsage, fmt::format("JERICHO_CPU={}: expected scalar, avx2, avx512 or amx", wish));
  }
  if (*path > best) {
    throw Error(
        ErrorKind::kUsage,
        fmt::format("JERICHO_CPU={}: this processor goes up to {}; unset it or name a lower path", wish, name(best)));
  }
  return *path;
}

int physical_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return 1;
  std::set<std::string> cores;  // the sibling list names a core
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::ifstream siblings(fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu));
    std::string list;
    if (!std::getline(siblings, list)) list = std::to_string(cpu);
    cores.insert(list);
  }
  return std::max(1, static_cast<int>(cores.size()));
}

std::string cpu_model_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos)
      return line.substr(line.find(": ") + 2);
  }
  return {};
}

void flush_subnormals() { _mm_setcsr(_mm_getcsr() | 0x8040u); }  // FTZ bit 15, DAZ bit 6

}  // namespace jericho
