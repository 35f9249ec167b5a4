// The ranges of the sampler's options and the names of its steps: see sampling_options.h.
#include "engine/sampling_options.h"

#include <array>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho {
namespace {

struct StepName {
  std::string_view name;
  char letter;
  SamplerStep step;
};
constexpr std::array<StepName, 9> kSteps = {{
    {"penalties", 'e', SamplerStep::kPenalties},
    {"dry", 'd', SamplerStep::kDry},
    {"top_n_sigma", 's', SamplerStep::kTopNSigma},
    {"top_k", 'k', SamplerStep::kTopK},
    {"typ_p", 'y', SamplerStep::kTypical},
    {"top_p", 'p', SamplerStep::kTopP},
    {"min_p", 'm', SamplerStep::kMinP},
    {"xtc", 'x', SamplerStep::kXtc},
    {"temperature", 't', SamplerStep::kTemperature},
}};

const StepName* find_step(std::string_view name) {
  if (name == "typical_p") name = "typ_p";
  for (const StepName& step : kSteps) {
    if (step.name == name) return &step;
  }
  return nullptr;
}

const StepName* find_step(char letter) {
  for (const StepName& step : kSteps) {
    if (step.letter == letter) return &step;
  }
  return nullptr;
}

[[noreturn]] void refuse(std::string_view flag, const std::string& value, std::string_view range) {
  throw Error(ErrorKind::kUsage, fmt::format("--{} {}: expected {}", flag, value, range));
}

// NaN satisfies no range.
template <class Value>
void require(bool within, std::string_view flag, Value value, std::string_view range) {
  if (!within) refuse(flag, fmt::format("{}", value), range);
}

}  // namespace

std::vector<SamplerStep> llama_cpp_order() { return parse_sampler_order("edskypmxt"); }

std::vector<SamplerStep> vllm_order() { return parse_sampler_order("edstmkypx"); }

std::vector<SamplerStep> parse_sampler_order(std::string_view text) {
  std::vector<SamplerStep> order;
  if (text.find(';') == std::string_view::npos && find_step(text) == nullptr) {
    for (const char letter : text) {
      const StepName* step = find_step(letter);
      if (step == nullptr)
        refuse("samplers", fmt::format("'{}'", text), "letters of edskypmxt, or names separated by ';'");
      order.push_back(step->step);
    }
    return order;
  }
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(';', begin), text.size());
    const std::string_view name = text.substr(begin, end - begin);
    const StepName* step = find_step(name);
    if (step == nullptr) {
      refuse("samplers", fmt::format("'{}'", name),
             "penalties, dry, top_n_sigma, top_k, typ_p, top_p, min_p, xtc or temperature");
    }
    order.push_back(step->step);
    begin = end + 1;
  }
  return order;
}

void SamplingOptions::validate() const {
  require(std::isfinite(temperature), "temperature", temperature, "a number; 0 is greedy");
  require(top_k >= -1, "top-k", top_k, "a number of tokens, or 0 for all");
  require(top_p > 0 && top_p <= 1, "top-p", top_p, "(0, 1]");
  require(min_p >= 0 && min_p < 1, "min-p", min_p, "[0, 1)");
  require(typical_p > 0 && typical_p <= 1, "typical-p", typical_p, "(0, 1]");
  require(std::isfinite(top_n_sigma), "top-n-sigma", top_n_sigma, "a number; 0 or less is off");
  require(repeat_penalty > 0 && std::isfinite(repeat_penalty), "repeat-penalty", repeat_penalty, "a number above 0");
  require(repeat_last_n >= -1, "repeat-last-n", repeat_last_n, "a number of tokens, or -1 for all");
  require(std::abs(presence_penalty) <= 2, "presence-penalty", presence_penalty, "[-2, 2]");
  require(std::abs(frequency_penalty) <= 2, "frequency-penalty", frequency_penalty, "[-2, 2]");
  require(dry_multiplier >= 0 && std::isfinite(dry_multiplier), "dry-multiplier", dry_multiplier, "0 or more");
  require(dry_base >= 1 && std::isfinite(dry_base), "dry-base", dry_base, "1 or more");
  require(dry_allowed_length >= 1, "dry-allowed-length", dry_allowed_length, "1 or more tokens");
  require(dry_penalty_last_n >= -1, "dry-penalty-last-n", dry_penalty_last_n, "a number of tokens, or -1 for all");
  require(xtc_probability >= 0 && xtc_probability <= 1, "xtc-probability", xtc_probability, "[0, 1]");
  require(xtc_threshold >= 0 && xtc_threshold <= 1, "xtc-threshold", xtc_threshold, "[0, 1]");
  require(dynatemp_range >= 0 && std::isfinite(dynatemp_range), "dynatemp-range", dynatemp_range, "0 or more");
  require(dynatemp_exponent > 0 && std::isfinite(dynatemp_exponent), "dynatemp-exp", dynatemp_exponent, "above 0");
  require(mirostat >= 0 && mirostat <= 2, "mirostat", mirostat, "0, 1 or 2");
  require(mirostat_tau > 0 && std::isfinite(mirostat_tau), "mirostat-tau", mirostat_tau, "bits, above 0");
  require(mirostat_eta >= 0 && mirostat_eta <= 1, "mirostat-eta", mirostat_eta, "[0, 1]");
  require(min_keep >= 0, "min-keep", min_keep, "0 or more tokens");
  for (const auto& [token, bias] : logit_bias) {
    require(token >= 0, "logit-bias", token, "a token id of the model");
    require(bias < std::numeric_limits<float>::infinity(), "logit-bias", bias, "a number, or -infinity to forbid");
  }
}

}  // namespace jericho
