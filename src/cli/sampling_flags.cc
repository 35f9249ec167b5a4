// Flags of the sampler: names and defaults of llama.cpp's command line.
#include "cli/sampling_flags.h"

#include <charconv>
#include <random>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/json_file.h"

namespace jericho::cli {

void SamplingFlags::add_flags(CLI::App& verb) {
  const char* group = "Sampling";
  const auto flag = [&](const char* name, auto& value, const char* help) {
    return verb.add_option(name, value, help)->capture_default_str()->group(group);
  };
  flag("--temp,--temperature", options_.temperature, "Temperature; 0 takes the most likely token always");
  flag("--top-k", options_.top_k, "Keep the k most likely tokens; 0: all");
  flag("--top-p", options_.top_p, "Keep the most likely tokens up to this probability together; 1: all");
  flag("--min-p", options_.min_p, "Keep tokens at least this likely, relative to the best; 0: all");
  flag("--typical", options_.typical_p, "Keep the most typical tokens up to this probability; 1: all");
  flag("--top-n-sigma", options_.top_n_sigma, "Keep logits within n standard deviations of the best; 0 or less: all");
  flag("--repeat-penalty", options_.repeat_penalty, "Divides the logits of tokens seen before; 1: off");
  flag("--repeat-last-n", options_.repeat_last_n, "Tokens the penalties look back at; -1: all");
  flag("--presence-penalty", options_.presence_penalty, "Subtracted once from tokens seen before");
  flag("--frequency-penalty", options_.frequency_penalty, "Subtracted per earlier occurrence");
  flag("--dry-multiplier", options_.dry_multiplier, "Penalty for repeating sequences; 0: off");
  flag("--dry-base", options_.dry_base, "Growth of the penalty with the length repeated");
  flag("--dry-allowed-length", options_.dry_allowed_length, "Tokens that may repeat without penalty");
  flag("--dry-penalty-last-n", options_.dry_penalty_last_n, "Tokens it looks back at; -1: all");
  flag("--xtc-probability", options_.xtc_probability, "How often to drop the most likely tokens; 0: never");
  flag("--xtc-threshold", options_.xtc_threshold, "Which tokens count as most likely");
  flag("--dynatemp-range", options_.dynatemp_range, "Temperature moves within this range by entropy; 0: fixed");
  flag("--dynatemp-exp", options_.dynatemp_exponent, "Exponent of that movement");
  flag("--mirostat", options_.mirostat, "1 or 2: aim at a surprise instead of the chain; 0: off");
  flag("--mirostat-ent", options_.mirostat_tau, "The surprise aimed at, in bits");
  flag("--mirostat-lr", options_.mirostat_eta, "How fast mirostat adapts");
  flag("--min-keep", options_.min_keep, "Samplers leave at least so many tokens");
  verb.add_option("--samplers", samplers_, "The chain's order: names with ; between, or letters such as kpmt")
      ->group(group);
  verb.add_option("--logit-bias", logit_bias_, "ID+BIAS or ID-BIAS, added to that token's logit; may be repeated")
      ->group(group);
  verb.add_option("-s,--seed", seed_, "Seed of the random draws [from the system; printed]")->group(group);
}

SamplingOptions SamplingFlags::options(const ModelFile& model) const {
  SamplingOptions options = options_;
  nlohmann::json file;
  constexpr std::string_view kFile = "generation_config.json";
  if (const auto text = model.side_file(kFile, kMaxConfigJson)) file = parse_json(*text, kFile);
  for (const Recommended& number : recommended_) {
    if (number.flag->count() > 0) continue;
    if (const auto value = model.metadata().number(fmt::format("general.sampling.{}", number.gguf)))
      number.set(options, *value);
    const auto member = file.is_object() ? file.find(number.hugging_face) : file.end();
    if (member != file.end() && member->is_number()) number.set(options, member->get<double>());
  }
  if (!samplers_.empty()) options.order = parse_sampler_order(samplers_);
  std::random_device system;
  options.seed = seed_ ? *seed_ : std::uint64_t{system()};
  for (const std::string& bias : logit_bias_) {
    TokenId id = 0;
    float value = 0;
    const char* end = bias.data() + bias.size();
    const auto [sign, id_error] = std::from_chars(bias.data(), end, id);
    const char* number = sign != end && *sign == '+' ? sign + 1 : sign;
    const auto [rest, value_error] = std::from_chars(number, end, value);
    if (id_error != std::errc{} || value_error != std::errc{} || rest != end || id < 0) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("--logit-bias {}: expected a token id, a sign and a number, such as 15+2.5", bias));
    }
    options.logit_bias.emplace_back(id, value);
  }
  return options;
}

}  // namespace jericho::cli
