// Which processor this is, so that a figure measured on one is not taken for another's.
#pragma once

#include <string>

#include "base/bytes.h"

namespace jericho {

struct CacheSizes {    // 0: the processor does not say, as in some virtual machines
  Bytes l1d{};         // of a core
  Bytes l2{};          // of a core
  Bytes l3{};          // of one last-level cache
  int l3_threads = 0;  // hardware threads that share one last-level cache
  auto operator<=>(const CacheSizes&) const = default;
};

struct CpuIdentity {
  std::string model{};  // cpu_model_name()
  int family = 0;
  int model_number = 0;
  int stepping = 0;
  int cores = 0;  // physical_cores()
  CacheSizes caches{};
  bool operator==(const CpuIdentity&) const = default;
};

CpuIdentity cpu_identity();

}  // namespace jericho
