// What a request may ask of the sampler: the same struct for the command line, a YAML file and the API. Defaults are
// those of llama.cpp's command line, whose names and letters `order` takes too. sampler.h has the formula behind each
// member.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/index.h"
#include "text/vocabulary.h"

namespace jericho {

// One link of the chain; the letter is its short name.
enum class SamplerStep {
  kPenalties,    // penalties     e
  kDry,          // dry           d
  kTopNSigma,    // top_n_sigma   s
  kTopK,         // top_k         k
  kTypical,      // typ_p         y
  kTopP,         // top_p         p
  kMinP,         // min_p         m
  kXtc,          // xtc           x
  kTemperature,  // temperature   t
};

// llama.cpp: temperature last, so that it shapes what the other steps have left.
std::vector<SamplerStep> llama_cpp_order();
// vLLM: temperature right after the penalties, so that top_p, min_p and typ_p see the tempered probabilities.
std::vector<SamplerStep> vllm_order();
// "top_k;top_p;temperature", or letters: "kpt". An empty text is an empty chain. Throws Error(kUsage) for an unknown
// name.
std::vector<SamplerStep> parse_sampler_order(std::string_view text);

// Which tokens the penalties count.
enum class PenaltyScope {
  kWindow,  // llama.cpp: the last repeat_last_n tokens, the prompt among them, for all three penalties
  kOutput,  // OpenAI, vLLM: repeat_penalty as above; presence and frequency count the output alone, all of it
};

struct SamplingOptions {
  double temperature = 0.8;  // below 1e-5: greedy
  Index top_k = 40;          // tokens kept; 0 or -1: off
  double top_p = 0.95;       // (0, 1]; 1: off
  double min_p = 0.05;       // [0, 1), of the largest probability; 0: off
  double typical_p = 1.0;    // (0, 1]; 1: off
  double top_n_sigma = -1;   // standard deviations below the largest logit; 0 or less: off

  double repeat_penalty = 1.0;     // above 0, divides positive logits; 1: off
  Index repeat_last_n = 64;        // tokens looked back at by the penalties; 0: none, -1: all
  double presence_penalty = 0.0;   // [-2, 2], subtracted once from a token that has occurred; 0: off
  double frequency_penalty = 0.0;  // [-2, 2], subtracted once per occurrence; 0: off
  PenaltyScope penalty_scope = PenaltyScope::kWindow;

  double dry_multiplier = 0.0;                                           // 0 or more; 0: off
  double dry_base = 1.75;                                                // 1 or more
  Index dry_allowed_length = 2;                                          // tokens repeated without penalty; 1 or more
  Index dry_penalty_last_n = 64;                                         // tokens looked back at; 0: none, -1: all
  std::vector<std::string> dry_sequence_breakers{"\n", ":", "\"", "*"};  // a repetition does not reach across these

  double xtc_probability = 0.0;  // [0, 1], how often it acts; 0: off
  double xtc_threshold = 0.1;    // [0, 1]; above 0.5: off

  double dynatemp_range = 0.0;     // 0 or more: the temperature lies within this distance of `temperature`; 0: fixed
  double dynatemp_exponent = 1.0;  // above 0

  int mirostat = 0;           // 1, 2: its two versions, in place of all but the penalties; 0: off
  double mirostat_tau = 5.0;  // aimed-at surprise in bits, above 0
  double mirostat_eta = 0.1;  // learning rate, [0, 1]

  Index min_keep = 0;                                   // typ_p, top_p, min_p and xtc leave at least so many tokens
  std::vector<std::pair<TokenId, float>> logit_bias{};  // added to the logit; -infinity forbids a token
  std::uint64_t seed = 0;                               // of the request; verbs take one from the system and print it
  std::uint32_t choice = 0;                             // index of this answer among the n of a request
  std::vector<SamplerStep> order = llama_cpp_order();

  // Throws Error(kUsage) that names the flag, its value and the accepted range.
  void validate() const;
};

}  // namespace jericho
