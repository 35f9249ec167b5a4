// The sampler's options as flags, one struct for run and chat.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/sampling_options.h"
#include "formats/model_file.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace jericho::cli {

class SamplingFlags {
 public:
  void add_flags(CLI::App& verb);
  // What the flags say and, where they are silent, what `model` recommends: general.sampling.* of a GGUF or the
  // directory's generation_config.json. Without --seed the seed comes from the system. Error(kUsage) for a sampler or
  // bias that cannot be read.
  [[nodiscard]] SamplingOptions options(const ModelFile& model) const;

 private:
  // One number that a model may recommend, under its names in the two formats.
  struct Recommended {
    CLI::Option* flag;
    const char* gguf;
    const char* hugging_face;
    std::function<void(SamplingOptions&, double)> set;
  };
  SamplingOptions options_{};
  std::vector<Recommended> recommended_{};
  std::optional<std::uint64_t> seed_{};
  std::string samplers_{};
  std::vector<std::string> logit_bias_{};
};

}  // namespace jericho::cli
