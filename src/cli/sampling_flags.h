// The sampler's options as flags, one struct for run and later chat.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/sampling_options.h"

namespace CLI {
class App;
}

namespace jericho::cli {

class SamplingFlags {
 public:
  void add_flags(CLI::App& verb);
  // What the flags say; without --seed the seed comes from the system. Error(kUsage) for a sampler or bias that cannot
  // be read.
  [[nodiscard]] SamplingOptions options() const;

 private:
  SamplingOptions options_{};
  std::optional<std::uint64_t> seed_{};
  std::string samplers_{};
  std::vector<std::string> logit_bias_{};
};

}  // namespace jericho::cli
