// CPUID leaves 1 (family, model, stepping), 4 (Intel SDM vol. 2A, CPUID: deterministic cache parameters) and 8000001Dh,
// which has the same form (AMD APM vol. 3, E.4.15); 80000005h and 80000006h where a hypervisor hides those.
#include "base/cpu_identity.h"

#include <cpuid.h>

#include "base/cpu.h"

namespace jericho {
namespace {

struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

bool ask(unsigned leaf, unsigned sub, Registers& r) {
  return __get_cpuid_count(leaf, sub, &r.a, &r.b, &r.c, &r.d) != 0;
}

// Bits [low, low + count) of a register.
constexpr unsigned field(unsigned word, unsigned low, unsigned count) { return word >> low & ((1u << count) - 1); }

CacheSizes described_caches(unsigned leaf) {
  CacheSizes sizes;
  Registers r;
  constexpr unsigned kMostCaches = 16;
  for (unsigned i = 0; i < kMostCaches && ask(leaf, i, r); ++i) {
    const unsigned type = field(r.a, 0, 5);
    constexpr unsigned kNone = 0, kInstructions = 2;
    if (type == kNone) break;
    if (type == kInstructions) continue;
    const std::int64_t ways = field(r.b, 22, 10) + 1;
    const std::int64_t partitions = field(r.b, 12, 10) + 1;
    const std::int64_t line = field(r.b, 0, 12) + 1;
    const Bytes size{ways * partitions * line * (std::int64_t{r.c} + 1)};
    switch (field(r.a, 5, 3)) {
      case 1: sizes.l1d = size; break;
      case 2: sizes.l2 = size; break;
      case 3:
        sizes.l3 = size;
        sizes.l3_threads = static_cast<int>(field(r.a, 14, 12)) + 1;
        break;
      default: break;
    }
  }
  return sizes;
}

CacheSizes caches() {
  Registers r;
  CacheSizes sizes = described_caches(4);
  if (sizes.l2 == Bytes{} && ask(0x80000001, 0, r) && field(r.c, 22, 1) == 1) sizes = described_caches(0x8000001d);
  if (sizes.l2 != Bytes{} || !ask(0x80000006, 0, r)) return sizes;
  sizes.l2 = Bytes{std::int64_t{field(r.c, 16, 16)} << 10};
  sizes.l3 = Bytes{std::int64_t{field(r.d, 18, 14)} << 19};
  if (ask(0x80000005, 0, r)) sizes.l1d = Bytes{std::int64_t{field(r.c, 24, 8)} << 10};
  return sizes;
}

}  // namespace

CpuIdentity cpu_identity() {
  CpuIdentity identity{.model = cpu_model_name(), .cores = physical_cores(), .caches = caches()};
  Registers r;
  if (!ask(1, 0, r)) return identity;
  const unsigned base = field(r.a, 8, 4);  // the extended fields count from family 15, the model's also at 6
  identity.family = static_cast<int>(base == 15 ? base + field(r.a, 20, 8) : base);
  identity.model_number = static_cast<int>(field(r.a, 4, 4) | (base == 15 || base == 6 ? field(r.a, 16, 4) << 4 : 0));
  identity.stepping = static_cast<int>(field(r.a, 0, 4));
  return identity;
}

}  // namespace jericho
