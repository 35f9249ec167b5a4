// The rules: see scenario.h.
#include "audit/scenario.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "audit/report_text.h"
#include "base/error.h"

namespace jericho {
namespace {

constexpr Index kMostOfBench = 1024;   // sequences that bench steps together
constexpr double kFourBits = 4.5;      // Q4_0 and its like, scales included
constexpr double kFourBitsAtMost = 5;  // weights with no more have had their turn

double floating(Index n) { return static_cast<double>(n); }

// Of [least, most], the largest for which `holds`, of a property that is lost once; least - 1: none.
template <class Holds>
Index largest(Index least, Index most, const Holds& holds) {
  Index yes = least - 1, no = most + 1;
  while (no - yes > 1) {
    const Index middle = yes + (no - yes) / 2;
    (holds(middle) ? yes : no) = middle;
  }
  return yes;
}

class Adviser {
 public:
  Adviser(Scenario scenario, const ModelView& model, const AuditRequest& request, const ScenarioTargets& targets,
          const Planner& planner, const Planner& here, const Device& device)
      : model_(model), request_(request), targets_(targets), planner_(planner), here_(here), device_(device) {
    advice_.scenario = scenario;
    advice_.ask = {1, request.context, request.kv_type, request.chunk};
    ridge_ = device.ridge(main_unit(decode_ops(model, request.kv_type, 1, 0)));
    bits_ = bits_per_weight(model.weights);
    critical_ = critical_batch(ridge_, bits_);
    weights_ = checkpoint_bytes(model.weights);
    kv_token_ = kv_layout(model.config, request.kv_type).bytes_per_token();
  }

  Advice api() {
    const Index fits = sequences_that_fit(request_.kv_type);
    const Index in_time = sequences_in_time();
    const bool short_of_room = floating(fits) < critical_;
    fact("sequences_that_fit", floating(fits), fmt::format("{} sequences of {} tokens fit", fits, request_.context));
    fact("critical_batch", critical_, fmt::format("arithmetic is saturated from {:.0f} rows on", critical_));
    fact("sequences_in_time", floating(in_time),
         fmt::format("{} sequences step within {:.0f} ms", in_time, 1000 * targets_.tpot_seconds));
    const std::string room = fmt::format("{} sequences fit, {:.0f} would saturate arithmetic", fits, critical_);
    eight_bit_kv(short_of_room && fits > 0, room);
    four_bit_weights(short_of_room && bits_ > kFourBitsAtMost, room);
    rule("a prefix cache", targets_.shared_prefix > 0.2,
         fmt::format("{:.0f} % of prompts are shared (--shared-prefix)", 100 * targets_.shared_prefix),
         fmt::format("up to {:.0f} % less prefill", 100 * targets_.shared_prefix),
         "memory for pages that nobody uses now");
    rule("more devices, weights split", short_of_room, room, "twice the room and bandwidth with two",
         "a second device and the link between them");
    rule("8-bit weights and activations instead of 4-bit weights", !short_of_room, room,
         device_.peak_8bit > 0 && device_.peak(PeakKind::kBF16) > 0
             ? fmt::format("{:.1f}x the arithmetic", device_.peak_8bit / device_.peak(PeakKind::kBF16))
             : "more arithmetic where the device has 8-bit units",
         "activations lose bits: look at eval first");
    ask().batch = std::clamp<Index>(std::min(fits, in_time), 1, kMostOfBench);
    const Index chunk = chunk_in_time();
    rule(fmt::format("prompts in chunks of {} (--chunk)", chunk), chunk < kLargestChunk,
         fmt::format("a step with a larger chunk would take longer than {:.0f} ms", 1000 * targets_.tpot_seconds),
         "no sequence waits for another's prompt", "more passes over the weights per prompt");
    rule("speculative decoding", floating(ask().batch) < critical_ / 4,
         fmt::format("{} rows of {:.0f} are used", ask().batch, critical_), "acceptance x idle arithmetic",
         "rows that are thrown away");
    if (chunk < kLargestChunk) ask().chunk = chunk;
    if (short_of_room && fits > 0) use_eight_bit_kv();
    return finish();
  }

  Advice edge() {
    const Bound bound = decode_bound(model_, device_, request_.kv_type, 1, floating(request_.context));
    fact("bytes_per_token", total_bytes(decode_ops(model_, request_.kv_type, 1, floating(request_.context))),
         fmt::format("a token reads {}", format_bytes({static_cast<std::int64_t>(total_bytes(
                                             decode_ops(model_, request_.kv_type, 1, floating(request_.context))))})));
    fact("tokens_per_second_at_most", bound.tokens_per_second(),
         fmt::format("at most {:.1f} tokens/s", bound.tokens_per_second()));
    four_bit_weights(bits_ > kFourBitsAtMost, fmt::format("{:.3g} bits a weight are read for every token", bits_));
    eight_bit_kv(
        kv_token_ > Bytes{},
        fmt::format("{} of keys and values at {} tokens",
                    format_bytes(kv_bytes(model_.config, request_.kv_type, request_.context)), request_.context));
    const bool experts = model_.config.moe.experts > 0;
    rule("a model of experts", !experts, experts ? "it has experts" : "every token reads every weight",
         "only the experts that a token meets are read", "all experts take room");
    const bool whole = in_memory(planner_.plan(planner_.budget, ask()));
    rule(whole ? "all weights in memory" : "weights streamed from disk beside a pinned part", true,
         whole ? "they fit" : "they do not fit", whole ? "no disk in the loop" : "the model runs at all",
         whole ? "none" : "a token waits for the disk");
    const double idle = critical_ > 0 ? critical_ - 1 : 0;
    rule("speculative decoding, by n-grams or a draft", idle >= 1,
         fmt::format("one sequence uses 1 of {:.0f} rows that arithmetic could do meanwhile", std::max(1.0, critical_)),
         "acceptance x tokens drafted", "a draft takes memory; n-grams take none");
    if (kv_token_ > Bytes{}) use_eight_bit_kv();
    return finish();
  }

  Advice long_context() {
    const double crossover = crossover_context(weights_, kv_token_);
    const double need = floating(request_.context);
    const bool dominates = crossover > 0 && need > 0.3 * crossover;
    const std::string share =
        crossover > 0 ? fmt::format("{} tokens, {:.0f} have the weight of the weights", request_.context, crossover)
                      : "no layer keeps keys and values";
    fact("kv_equals_weights_at_tokens", crossover,
         crossover > 0 ? fmt::format("keys and values weigh as much as the weights at {:.0f} tokens", crossover)
                       : "no keys and values");
    fact("kv_bytes", static_cast<double>(kv_bytes(model_.config, request_.kv_type, request_.context).count),
         fmt::format("{} of keys and values at {} tokens",
                     format_bytes(kv_bytes(model_.config, request_.kv_type, request_.context)), request_.context));
    eight_bit_kv(dominates, share);
    rule("sparse attention that keeps everything (Quest)", dominates, share, "pages read, not pages kept",
         "approximate: by name only");
    reuse(dominates);
    const bool bounded = std::any_of(model_.config.layers.begin(), model_.config.layers.end(),
                                     [](const LayerConfig& layer) { return layer.window > 0 || !layer.attention; });
    rule("a model with windows or states", dominates && !bounded,
         bounded ? "some layers' memory is bounded already" : "every layer keeps every token",
         "bytes that no longer grow with the context", "another model");
    rule("prompts in chunks", true, fmt::format("a prompt of {} tokens", request_.context),
         "activations of a chunk, not of the prompt", "none: the bits are the same");
    rule("dropping tokens (H2O, StreamingLLM)", false,
         "what is dropped cannot be found again: never where something must be retrieved", "", "");
    if (dominates && request_.kv_type != KvType::kQ8) use_eight_bit_kv();
    return finish();
  }

  Advice realtime() {
    const Index in_time = sequences_in_time();
    const Index fits = sequences_that_fit(request_.kv_type);
    ask().batch = std::clamp<Index>(std::min(in_time, fits), 1, kMostOfBench);
    const Index chunk = chunk_in_time();
    const Bound prompt = prefill_bound(model_, device_, request_.kv_type, floating(request_.prompt), floating(chunk));
    fact("sequences_in_time", floating(in_time),
         fmt::format("{} sequences step within {:.0f} ms", in_time, 1000 * targets_.tpot_seconds));
    fact("ttft_seconds_at_least", prompt.seconds,
         fmt::format("a prompt of {} takes at least {:.0f} ms", request_.prompt, 1000 * prompt.seconds));
    rule(fmt::format("{} sequences at once, no more", ask().batch), in_time >= 1,
         in_time >= 1 ? fmt::format("more would step slower than {:.0f} ms", 1000 * targets_.tpot_seconds)
                      : fmt::format("not even one steps within {:.0f} ms: fewer bytes are needed first",
                                    1000 * targets_.tpot_seconds),
         "no token is late", "requests beyond wait");
    four_bit_weights(in_time < 1 && bits_ > kFourBitsAtMost, "a step is too slow");
    rule(fmt::format("prompts in chunks of {} (--chunk)", chunk), chunk < kLargestChunk,
         "a step must leave time for a chunk", "steps stay even", "more passes per prompt");
    rule("shorter prompts or a faster machine", prompt.seconds > targets_.ttft_seconds,
         fmt::format("the first token after {:.0f} ms, {:.0f} are allowed", 1000 * prompt.seconds,
                     1000 * targets_.ttft_seconds),
         "", "");
    rule("everything in memory before the first request", true, "a named budget is taken at the start",
         "no page fault and no disk in the loop", "the memory is taken whether used or not");
    rule("speculation with few tokens", critical_ > 4 * floating(ask().batch),
         fmt::format("{} rows of {:.0f} are used", ask().batch, critical_), "up to acceptance x tokens drafted",
         "a little more spread");
    ask().chunk = chunk;
    return finish();
  }

 private:
  Ask& ask() { return advice_.ask; }

  void fact(std::string key, double value, std::string text) {
    advice_.facts.push_back({std::move(key), value, std::move(text)});
  }
  void rule(std::string what, bool applies, std::string why, std::string gain, std::string price) {
    advice_.rules.push_back({std::move(what), applies, std::move(why), std::move(gain), std::move(price)});
  }

  [[nodiscard]] Index sequences_that_fit(KvTypes type) const {
    return largest(1, kMostSequences, [&](Index batch) {
      return in_memory(planner_.plan(planner_.budget, {batch, request_.context, type, request_.chunk}));
    });
  }
  [[nodiscard]] Index sequences_in_time() const {
    return largest(1, kMostSequences, [&](Index batch) {
      return decode_bound(model_, device_, request_.kv_type, floating(batch), floating(request_.context)).seconds <=
             targets_.tpot_seconds;
    });
  }
  // The largest chunk whose arithmetic fits between two tokens, beside a step of the batch.
  [[nodiscard]] Index chunk_in_time() {
    const double step =
        decode_bound(model_, device_, request_.kv_type, floating(ask().batch), floating(request_.context)).seconds;
    for (Index chunk = kLargestChunk; chunk > kSmallestChunk; chunk /= 2) {
      const double more =
          prefill_bound(model_, device_, request_.kv_type, floating(chunk), floating(chunk)).compute_seconds;
      if (step + more <= targets_.tpot_seconds) return chunk;
    }
    return kSmallestChunk;
  }

  void eight_bit_kv(bool applies, const std::string& why) {
    const Bytes small = kv_layout(model_.config, KvType::kQ8).bytes_per_token();
    const bool can = kv_token_ > small;
    rule("keys and values in 8 bits (--kv-type q8)", applies && can, can ? why : "they are no larger now",
         can ? fmt::format("{:.2f}x less of them; {} sequences of {} tokens fit",
                           static_cast<double>(kv_token_.count) / static_cast<double>(small.count),
                           sequences_that_fit(KvType::kQ8), request_.context)
             : "",
         "rounded: other answers, look at eval first");
  }
  void four_bit_weights(bool applies, const std::string& why) {
    const double ratio = bits_ / kFourBits;
    const Bytes freed{static_cast<std::int64_t>(static_cast<double>(weights_.count) * std::max(0.0, 1 - 1 / ratio))};
    rule(command_for_four_bits(), applies,
         bits_ > kFourBitsAtMost ? why : fmt::format("they have {:.3g} bits now", bits_),
         fmt::format("{} less; decoding up to {:.2f}x as fast", format_bytes(freed), std::max(1.0, ratio)),
         "rounded: other answers, look at eval first");
  }
  [[nodiscard]] std::string command_for_four_bits() const {
    if (request_.command.path.empty()) return "weights in 4 bits (--type Q4_0)";
    return fmt::format("weights in 4 bits (jericho convert {} OUT.gguf --type Q4_0)", request_.command.path);
  }
  void reuse(bool dominates) {
    const double prefill =
        prefill_bound(model_, device_, request_.kv_type, floating(request_.context), kLargestChunk).tokens_per_second();
    const auto disk = device_.disk_bytes_per_second;
    const double read = disk && kv_token_ > Bytes{} ? *disk / static_cast<double>(kv_token_.count) : 0;
    if (read > 0) {
      fact("kv_read_tokens_per_second", read,
           fmt::format("the disk gives back {:.0f} tokens/s of keys and values", read));
      fact("prefill_tokens_per_second_at_most", prefill,
           fmt::format("computing them again gives {:.0f} tokens/s at most", prefill));
    }
    rule("a store of prefixes on disk: agents send their history again", read > prefill,
         read > 0 ? fmt::format("{:.0f} tokens/s from disk, {:.0f} computed", read, prefill)
                  : "the disk's speed is not known",
         read > 0 ? fmt::format("{:.1f}x as fast as reading the text again", read / std::max(1e-9, prefill)) : "",
         "disk space, and whom to share with");
    rule("one session's pages kept for it", dominates, "agents return within seconds", "no prefill of what was there",
         "fewer sessions at once");
  }

  void use_eight_bit_kv() {
    if (kv_layout(model_.config, KvType::kQ8).bytes_per_token() < kv_token_) ask().kv_type = KvType::kQ8;
  }

  Advice finish() {
    const PlanReport report = plan_report(here_, ask());
    advice_.command = command_line(request_.command, {.context = ask().context,
                                                      .batch = ask().batch,
                                                      .kv_type = ask().kv_type,
                                                      .chunk = ask().chunk,
                                                      .budget = report.smallest.smallest_budget});
    return std::move(advice_);
  }

  const ModelView& model_;
  const AuditRequest& request_;
  const ScenarioTargets& targets_;
  const Planner& planner_;
  const Planner& here_;
  const Device& device_;
  double ridge_ = 0, bits_ = 0, critical_ = 0;
  Bytes weights_{}, kv_token_{};
  Advice advice_{};
};

}  // namespace

std::string_view name(Scenario scenario) {
  constexpr std::array<std::string_view, 4> kNames = {"api", "edge", "long-context", "realtime"};
  return kNames[static_cast<std::size_t>(scenario)];
}

Scenario parse_scenario(std::string_view text) {
  for (const Scenario scenario : kScenarios) {
    if (name(scenario) == text) return scenario;
  }
  throw Error(ErrorKind::kUsage, fmt::format("--scenario {}: expected api, edge, long-context or realtime", text));
}

void ScenarioTargets::validate() const {
  const auto expect = [](bool holds, const char* flag, double value, const char* range) {
    if (!holds) throw Error(ErrorKind::kUsage, fmt::format("{} {}: expected {}", flag, value, range));
  };
  expect(tpot_seconds > 0 && tpot_seconds <= 3600, "--tpot-ms", 1000 * tpot_seconds, "more than 0, at most an hour");
  expect(ttft_seconds > 0 && ttft_seconds <= 3600, "--ttft-ms", 1000 * ttft_seconds, "more than 0, at most an hour");
  expect(shared_prefix >= 0 && shared_prefix <= 1, "--shared-prefix", shared_prefix, "a part, 0 to 1");
}

Advice advise(Scenario scenario, const ModelView& model, const AuditRequest& request, const ScenarioTargets& targets,
              const Planner& planner, const Planner& here, const Device& device) {
  Adviser adviser(scenario, model, request, targets, planner, here, device);
  switch (scenario) {
    case Scenario::kApi: return adviser.api();
    case Scenario::kEdge: return adviser.edge();
    case Scenario::kLongContext: return adviser.long_context();
    case Scenario::kRealtime: break;
  }
  return adviser.realtime();
}

}  // namespace jericho
