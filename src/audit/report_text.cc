// The sections, one function each: see report_text.h.
#include "audit/report_text.h"

#include <iterator>

#include <fmt/format.h>

namespace jericho {
namespace {

std::string plural(Index n, std::string_view word) { return fmt::format("{} {}{}", n, word, n == 1 ? "" : "s"); }

std::string rate_text(double per_second) {
  if (per_second >= 1e12) return fmt::format("{:.3g} TOP/s", per_second / 1e12);
  return fmt::format("{:.3g} GOP/s", per_second / 1e9);
}

std::string waits_for(Resource resource) { return resource == Resource::kCompute ? "arithmetic" : "memory"; }

std::string model_section(const Audit& a) {
  std::string text = fmt::format("\nmodel           {} ({}, {})\n", a.request.model, a.architecture, a.request.source);
  text += fmt::format("  parameters    {}", count_text(static_cast<double>(a.parameters.total)));
  if (a.parameters.active < static_cast<double>(a.parameters.total))
    text += fmt::format("; a token uses {}", count_text(a.parameters.active));
  text += fmt::format("\n  weights       {}, {:.4g} bits each:", format_bytes(a.weights), a.bits_per_weight);
  for (const TypeShare& share : a.types) text += fmt::format(" {} {}", name(share.dtype), format_bytes(share.bytes));
  text += "\n";
  Bytes per_token{};
  for (const auto& [type, bytes] : a.kv_per_token) {
    if (type == a.request.kv_type) per_token = bytes;
  }
  if (per_token > Bytes{}) {
    text += fmt::format("  KV ({})      {} a token; {} for {} tokens\n", name(a.request.kv_type),
                        format_bytes(per_token), format_bytes(a.kv_at_context), a.request.context);
  }
  if (a.state > Bytes{})
    text += fmt::format("  state         {} a sequence, whatever its length\n", format_bytes(a.state));
  text += fmt::format("  logits        {} a row\n", format_bytes(a.logits));
  return text;
}

std::string plan_section(const Audit& a) {
  const PlanReport& p = a.plan;
  const Plan& plan = p.shown();
  std::string text =
      fmt::format("\nplan            {} of {} tokens in {}: {}\n", plural(a.request.batch, "sequence"),
                  a.request.context, format_bytes(p.budget), p.plan ? "fits" : "does not fit; the least it takes:");
  for (const auto* rows : {&plan.always, &plan.load, &plan.run}) {
    for (const PlanRow& row : *rows) {
      if (row.bytes == Bytes{}) continue;
      text += fmt::format("  {:<18}{:>10}{}\n", name(row.purpose), format_bytes(row.bytes),
                          rows == &plan.load ? "   while loading" : "");
    }
  }
  text += fmt::format("  {:<18}{:>10}   chunk {}\n", "peak", format_bytes(plan.peak()), plan.limits.rows);
  if (const Bytes scratch = plan.cold.scratch.total(); scratch > Bytes{})
    text += fmt::format("  {:<18}{:>10}   scratch file; {} of {} pages in memory\n", "disk", format_bytes(scratch),
                        plan.pages, plan.all_pages());
  text += fmt::format("  smallest budget that works: --memory {}\n", budget_argument(p.smallest.smallest_budget));
  for (const auto& [type, tokens] : p.smallest.largest_context) {
    if (p.plan) break;
    text += tokens > 0 ? fmt::format("  largest context that fits with {} KV: {} tokens\n", name(type), tokens)
                       : fmt::format("  no context fits with {} KV\n", name(type));
  }
  return text;
}

std::string speed_section(const Audit& a) {
  if (!a.speed) return {};
  const SpeedReport& s = *a.speed;
  const PeakKind unit = main_unit(a.decode);
  std::string text = fmt::format("\nat most         {}: {:.4g} GB/s", s.device.label, s.device.bytes_per_second / 1e9);
  if (s.device.peak(unit) > 0) text += fmt::format(", {} {}", rate_text(s.device.peak(unit)), s.device.arithmetic);
  text += fmt::format(" ({})\n", s.device.source);
  text +=
      fmt::format("  decode        {:>9.1f} tokens/s, {} at {} tokens; waits for {}\n", s.decode.tokens_per_second(),
                  plural(a.request.batch, "sequence"), a.request.context, waits_for(s.decode.resource));
  if (s.disk_seconds) {
    text += fmt::format(
        "  with its disk {:>9.1f} tokens/s: a step reads {} of it at {:.3g} GB/s\n", s.decode_tokens_per_second(),
        format_bytes({static_cast<std::int64_t>(a.plan.disk_bytes_per_step)}), *s.device.disk_bytes_per_second / 1e9);
  }
  text += fmt::format("  prefill       {:>9.1f} tokens/s, a prompt of {}; waits for {}\n",
                      s.prefill.tokens_per_second(), a.request.prompt, waits_for(s.prefill.resource));
  return text;
}

std::string work_section(const Audit& a) {
  std::string text =
      fmt::format("\nwork            {:>22}{:>22}\n  {:<14}{:>12}{:>10}{:>12}{:>10}\n",
                  fmt::format("a step of {}", plural(a.request.batch, "token")),
                  fmt::format("a prompt of {}", a.request.prompt), "", "bytes", "op/byte", "bytes", "op/byte");
  for (const Op& op : a.decode) {
    text += fmt::format("  {:<14}{:>12}{:>10.3g}", name(op.part),
                        format_bytes({static_cast<std::int64_t>(op.memory_bytes())}), op.intensity());
    for (const Op& other : a.prefill) {
      if (other.part != op.part) continue;
      text += fmt::format("{:>12}{:>10.3g}", format_bytes({static_cast<std::int64_t>(other.memory_bytes())}),
                          other.intensity());
    }
    text += "\n";
  }
  return text;
}

std::string starvation_section(const Audit& a) {
  if (!a.speed) return {};
  const Starvation& s = a.speed->starvation;
  std::string text = fmt::format("\nstarves first   of {}", name(s.first));
  if (!s.fits) {
    text += ": what is asked for does not fit\n";
  } else if (s.first == Resource::kCapacity) {
    text += fmt::format(", from {} of {} tokens on\n", plural(*s.batch_of_capacity, "sequence"), a.request.context);
  } else if (s.first == Resource::kCompute) {
    text += fmt::format(", from {} of {} tokens on\n", plural(*s.batch_of_compute, "sequence"), a.request.context);
  } else {
    text += ", whatever the batch: every sequence reads its own keys and values\n";
  }
  const auto from = [](const std::optional<Index>& n, const std::string& unit, const std::string& never) {
    return n ? fmt::format("from {} {} on", *n, unit) : never;
  };
  text += fmt::format("  capacity      {}, or {}\n", from(s.batch_of_capacity, "sequences", "not by sequences"),
                      from(s.context_of_capacity, "tokens", fmt::format("not within {} tokens", a.model_context)));
  text += fmt::format("  bandwidth     {}\n",
                      s.single == Resource::kBandwidth ? "from the first sequence on" : "not with one sequence");
  text += fmt::format("  compute       {}; prompts {}", from(s.batch_of_compute, "sequences", "never at this context"),
                      from(s.tokens_of_compute, "tokens", "never"));
  if (a.speed->critical_batch > 0) text += fmt::format(" (weights alone: {:.0f})", a.speed->critical_batch);
  text += "\n";
  if (s.crossover > 0) text += fmt::format("  KV = weights  at {:.0f} tokens of all sequences\n", s.crossover);
  return text;
}

std::string training_section(const Audit& a) {
  std::string text =
      fmt::format("\ntraining        {:>10}{:>12}{:>12}   rank {}\n", "state", "B/param", "trainable", a.request.rank);
  for (const TrainingState& t : a.training) {
    text += fmt::format("  {:<20}{:>6}{:>12.3g}{:>12}\n", name(t.method), format_bytes(t.total()),
                        static_cast<double>(t.total().count) / static_cast<double>(a.parameters.total),
                        count_text(static_cast<double>(t.trainable)));
  }
  text += fmt::format("  activations of {} tokens: {}, {} with layers computed again; logits {}\n",
                      a.request.training_tokens, format_bytes(a.saved_activations),
                      format_bytes(a.recomputed_activations), format_bytes(a.training_logits));
  return text;
}

std::string advice_section(const AuditReport& r) {
  std::string text;
  for (const Advice& advice : r.advice) {
    text += fmt::format("\nscenario        {}\n", name(advice.scenario));
    for (const Fact& fact : advice.facts) text += fmt::format("  {}\n", fact.text);
    for (const bool applies : {true, false}) {
      for (const Rule& rule : advice.rules) {
        if (rule.applies != applies) continue;
        text += fmt::format("  {} {}: {}{}{}\n", applies ? "+" : "-", rule.what, rule.why,
                            applies && !rule.gain.empty() ? "; gain: " + rule.gain : "",
                            applies && !rule.price.empty() ? "; price: " + rule.price : "");
      }
    }
    if (!advice.command.empty()) text += fmt::format("  $ {}\n", advice.command);
  }
  return text;
}

std::string comparison_section(const AuditReport& r) {
  if (r.comparison.empty()) return {};
  std::string text = fmt::format("\n{:<32}{:>6}{:>11}{:>12}{:>11}{:>11}{:>10}{:>10}\n", "devices, at most", "cards",
                                 "tok/s, one", "prefill", "sequences", "tok/s, all", "$/Mtok", "J/Mtok");
  const auto or_dash = [](const std::optional<double>& value) {
    return value ? fmt::format("{:.3g}", *value) : std::string("-");
  };
  for (const ComparedDevice& c : r.comparison) {
    text += fmt::format("  {:<30}", c.one.label.substr(0, 29));
    text += c.cards == 0
                ? "  no number of them holds it\n"
                : fmt::format("{:>6}{:>11.1f}{:>12.0f}{:>11}{:>11.1f}{:>10}{:>10}\n", c.cards,
                              c.single.tokens_per_second(), c.prefill.tokens_per_second(), c.sequences,
                              c.full.tokens_per_second(), or_dash(c.usd_per_million), or_dash(c.joules_per_million));
  }
  return text + fmt::format("  $: rent, or the price over {:.0f} years and electricity at {} $ per kWh\n", kYearsOfUse,
                            kUsdPerKilowattHour);
}

std::string roadmap_section(const AuditReport& r) {
  std::string text;
  for (const WorkloadFate& fate : r.fates) {
    text += fmt::format("{}  {:<24}", text.empty() ? "\nroadmap\n" : "", fate.workload.substr(0, 60));
    if (fate.starves) {
      const RoadmapPoint& p = *fate.starves;
      text += fmt::format("starves of {} from {} on ({}{})\n", name(p.shortage.resource()), month_text(p.month),
                          p.device, p.extrapolated ? ", grown" : "");
    } else {
      text += "does not starve within the roadmap\n";
    }
  }
  return text;
}

std::string verification_section(const AuditReport& r) {
  if (!r.verification) return {};
  std::string text = fmt::format("\n{:<16}{:>16}{:>16}{:>10}\n", "verified", "predicted", "measured", "off by");
  for (const Checked& c : r.verification->figures) {
    text += fmt::format("  {:<14}{:>16}{:>16}{:>+9.1f} %{}\n", c.what, fmt::format("{:.4g} {}", c.predicted, c.unit),
                        fmt::format("{:.4g} {}", c.measured, c.unit), 100 * c.error(),
                        c.holds() ? "" : fmt::format("   more than {:.0f} %", 100 * kTolerance));
  }
  return text + fmt::format("  {}; {:.0f} % are allowed\n", r.verification->how, 100 * kTolerance);
}

std::string notes_section(const Audit& a) {
  std::string text;
  for (const std::string& note : a.request.notes) text += fmt::format("{}note: {}\n", text.empty() ? "\n" : "", note);
  return text;
}

}  // namespace

std::string count_text(double count) {
  if (count >= 1e9) return fmt::format("{:.4g} B", count / 1e9);
  if (count >= 1e6) return fmt::format("{:.4g} M", count / 1e6);
  return fmt::format("{:.0f}", count);
}

std::string verdict_line(const AuditReport& r) {
  const Audit& a = r.audit;
  if (r.verification) {
    const Utilization& u = r.verification->decode;
    const std::string disk = u.disk > 0 ? fmt::format(", {:.0f} % of the disk", 100 * u.disk) : "";
    return fmt::format("{}, measured: decoding used {:.0f} % of the bandwidth and {:.0f} % of the arithmetic{}; {}",
                       name(verdict_of(u)), 100 * u.bandwidth, 100 * u.compute, disk, explanation(u));
  }
  const double needed = intensity(a.decode);
  if (!a.speed) return fmt::format("decoding does {:.3g} operations per byte of memory", needed);
  const SpeedReport& s = *a.speed;
  if (s.waits_for_disk())
    return fmt::format("disk-bound: a step reads {} from disk",
                       format_bytes({static_cast<std::int64_t>(a.plan.disk_bytes_per_step)}));
  const bool memory = s.decode.resource == Resource::kBandwidth;
  std::string text = fmt::format("{}: decoding does {:.3g} operations per byte of memory",
                                 memory ? "memory-bound" : "compute-bound", needed);
  if (s.ridge > 0)
    text += fmt::format(", {} balances at {:.3g}", s.device.measured ? "this machine" : s.device.label, s.ridge);
  return text;
}

std::string report_text(const AuditReport& r) {
  const Audit& a = r.audit;
  return verdict_line(r) + "\n" + verification_section(r) + model_section(a) + plan_section(a) + speed_section(a) +
         work_section(a) + starvation_section(a) + advice_section(r) + comparison_section(r) + roadmap_section(r) +
         (r.advice.empty() && r.comparison.empty() && r.fates.empty() ? training_section(a) : std::string()) +
         notes_section(a);
}

}  // namespace jericho
