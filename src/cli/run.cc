// jericho run: reads a prompt and writes what the model continues it with, as it comes; then says how fast it was and
// where every byte went. Start at run().
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/generate.h"
#include "cli/printer.h"
#include "cli/progress.h"
#include "cli/read_text.h"
#include "cli/sampling_flags.h"
#include "cli/speeds.h"
#include "cli/verbs.h"
#include "cli/workspace.h"
#include "engine/sampler.h"

namespace jericho::cli {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct RunOptions {
  WorkspaceOptions workspace{};
  SamplingFlags sampling{};
  std::optional<std::string> prompt{};
  std::optional<std::string> file{};
  GenerateOptions generate{};
  bool echo = false;
};

struct Outcome {
  std::string text{};
  Index prompt_tokens = 0;
  Index stored_tokens = 0;  // of them, from the store of prefixes
  double prefill_seconds = 0;
  Generated generated{};
};

std::string prompt_text(const RunOptions& options, const std::stop_token& stop) {
  if (options.prompt) return *options.prompt;
  if (options.file) return read_text_file(*options.file);
  return standard_input_is_terminal() ? "" : read_standard_input(stop);
}

std::vector<TokenId> prompt_ids(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<TokenId> ids = tokenizer.encode(text);
  if (!ids.empty()) return ids;
  if (tokenizer.bos()) return {*tokenizer.bos()};
  throw Error(ErrorKind::kUsage, "the prompt is empty and this model has no token to begin with; give one with -p");
}

Outcome continue_prompt(const RunOptions& options, Workspace& workspace, const std::vector<TokenId>& prompt,
                        Sampler& sampler, Printer& printer, const std::stop_token& stop) {
  Session& session = workspace.session();
  Outcome outcome;
  outcome.prompt_tokens = static_cast<Index>(prompt.size());
  const SequenceId sequence = session.open();
  const auto prefill_start = Clock::now();
  std::span<const float> logits;
  {
    Progress progress("reading the prompt");
    StoredPrefixes* const prefixes = workspace.prefixes();
    if (prefixes != nullptr) outcome.stored_tokens = prefixes->restore(sequence, prompt);
    const std::span<const TokenId> rest = std::span(prompt).subspan(static_cast<std::size_t>(outcome.stored_tokens));
    logits = session.prefill(sequence, rest, stop, [&](Index done, Index total) {
      if (prefixes != nullptr) prefixes->keep(sequence, prompt);
      progress.update(done, total);
    });
    if (prefixes != nullptr) prefixes->sync();
  }
  outcome.prefill_seconds = seconds_since(prefill_start);
  sampler.accept_prompt(prompt);
  outcome.generated = generate(workspace, sequence, logits, sampler, options.generate, stop,
                               [&](TokenId token) { printer.push(token); });
  printer.finish();
  outcome.text = printer.text();
  return outcome;
}

double per_second(Index tokens, double seconds) { return seconds > 0 ? static_cast<double>(tokens) / seconds : 0; }

// The three speeds of a run, each beside its roof where there is one.
struct RunSpeeds {
  RunSpeeds(const Outcome& outcome, const Workspace& workspace)
      : speeds(workspace.threads(), workspace.context().kernels.path),
        prefill(per_second(outcome.prompt_tokens - outcome.stored_tokens, outcome.prefill_seconds)),
        decode(per_second(std::ssize(outcome.generated.ids), outcome.generated.seconds)) {
    const Plan& plan = workspace.plan();
    load_of = speeds.disk(plan.weights.loaded, {}, workspace.load_seconds());
    prefill_of =
        speeds.tokens(prefill, prefill_cost(workspace.weights(), plan, outcome.prompt_tokens, plan.limits.rows, 0, 0));
    const double depth =
        static_cast<double>(outcome.prompt_tokens) + static_cast<double>(outcome.generated.ids.size()) / 2;
    decode_of = speeds.tokens(decode, decode_cost(workspace.weights(), plan, 1, depth));
  }

  Speeds speeds;
  double prefill, decode;  // tokens per second
  std::optional<Held> load_of{}, prefill_of{}, decode_of{};
};

// Steps that read keys and values from the disk: how long they took beside what the disk alone would have.
struct ColdSteps {
  Bytes bytes{};                            // of the last step
  double median = 0, p99 = 0, slowest = 0;  // seconds
  std::optional<Held> disk{};
};

std::optional<ColdSteps> cold_steps(const Outcome& outcome, const Workspace& workspace, const Speeds& speeds) {
  const auto bytes = workspace.cold_bytes();
  std::vector<float> steps = outcome.generated.steps;
  if (!bytes || *bytes == Bytes{} || steps.empty()) return std::nullopt;
  std::sort(steps.begin(), steps.end());
  const double median = static_cast<double>(steps[steps.size() / 2]);
  return ColdSteps{*bytes, median, static_cast<double>(steps[steps.size() * 99 / 100]),
                   static_cast<double>(steps.back()), speeds.disk(*bytes, {}, median)};
}

void report(const Outcome& outcome, Workspace& workspace, const SamplingOptions& sampling) {
  const RunSpeeds of(outcome, workspace);
  fmt::print(stderr,
             "\nload    {:>6.2f} s{}\nprefill {:>6} tokens  {:>9.1f} tok/s{}\ndecode  {:>6} tokens  {:>9.1f} tok/s{}"
             "   seed {}\n{}",
             workspace.load_seconds(), after_speed(of.load_of), outcome.prompt_tokens, of.prefill,
             after_speed(of.prefill_of), outcome.generated.ids.size(), of.decode, after_speed(of.decode_of),
             sampling.seed, of.speeds.hint());
  if (outcome.generated.stopped_by == "context") {
    fmt::print(stderr, "note: stopped because the context of {} tokens is full; -c gives more\n",
               workspace.plan().context);
  }
  if (const auto* prefixes = workspace.prefixes()) {
    fmt::print(stderr, "prefix  {:>6} of the prompt's tokens came from the store\n", outcome.stored_tokens);
    if (!prefixes->store().note().empty()) fmt::print(stderr, "note: {}\n", prefixes->store().note());
  }
  if (const auto cold = cold_steps(outcome, workspace, of.speeds)) {
    fmt::print(stderr,
               "cold    {:>6} of keys and values read per token; a token takes {:.1f} ms, one in a hundred {:.1f}, the "
               "slowest {:.1f}{}\n",
               format_bytes(cold->bytes), 1e3 * cold->median, 1e3 * cold->p99, 1e3 * cold->slowest,
               after_speed(cold->disk));
  }
  fmt::print(stderr, "{}", workspace.memory_report());
}

void report_json(const Outcome& outcome, const Workspace& workspace, const SamplingOptions& sampling) {
  const Generated& generated = outcome.generated;
  const RunSpeeds of(outcome, workspace);
  nlohmann::json result = {
      {"text", outcome.text},
      {"tokens", generated.ids},
      {"stopped_by", generated.stopped_by},
      {"prompt_tokens", outcome.prompt_tokens},
      {"stored_tokens", outcome.stored_tokens},
      {"generated_tokens", std::ssize(generated.ids)},
      {"seed", sampling.seed},
      {"context", workspace.plan().context},
      {"load_seconds", workspace.load_seconds()},
      {"prefill_tokens_per_second", of.prefill},
      {"decode_tokens_per_second", of.decode},
      {"of_roof",
       {{"load", to_json(of.load_of)}, {"prefill", to_json(of.prefill_of)}, {"decode", to_json(of.decode_of)}}},
      {"memory", workspace.memory_json()}};
  if (const auto cold = cold_steps(outcome, workspace, of.speeds)) {
    result["cold"] = {{"bytes_per_token", cold->bytes.count},
                      {"median_seconds", cold->median},
                      {"p99_seconds", cold->p99},
                      {"slowest_seconds", cold->slowest},
                      {"of_roof", to_json(cold->disk)}};
  }
  fmt::print("{}\n", result.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

int run(const RunOptions& options, const std::stop_token& stop) {
  options.generate.validate();
  const Index predict = std::min(options.generate.predict, kLargestContext);  // no context holds more
  Workspace workspace(options.workspace, NeedsTokenizer::kYes);
  const SamplingOptions sampling = options.sampling.options(workspace.file());
  sampling.validate();
  const Tokenizer& tokenizer = workspace.tokenizer();
  const std::string text = prompt_text(options, stop);
  const std::vector<TokenId> prompt = prompt_ids(tokenizer, text);
  const auto prompt_tokens = static_cast<Index>(prompt.size());
  validate(InferenceWish{.context = options.workspace.context}, workspace.config());
  const Index model_context = options.workspace.context.value_or(workspace.config().max_position_embeddings);
  if (prompt_tokens > model_context) {
    throw Error(ErrorKind::kInput,
                fmt::format("the prompt has {} tokens, the context {}; shorten it{}", prompt_tokens, model_context,
                            options.workspace.context ? " or give more with -c" : ""));
  }
  constexpr Index kRoomForAnAnswer = 256;  // when -n does not say
  const Index wanted = prompt_tokens + (predict >= 0 ? predict : kRoomForAnAnswer);
  const Index needed = std::min(wanted, workspace.config().max_position_embeddings);
  Sampler sampler = make_sampler(sampling, workspace);
  const GenerationHeap heap(sampler);
  workspace.plan_and_load({.context_needed = needed, .heap_per_token = heap.per_token}, heap.fixed, stop);
  Printer printer(tokenizer, {.at_start = text.empty(), .print = !options.workspace.json});
  if (options.echo) printer.write(text);
  const Outcome outcome = continue_prompt(options, workspace, prompt, sampler, printer, stop);
  if (options.workspace.json) {
    report_json(outcome, workspace, sampling);
  } else {
    report(outcome, workspace, sampling);
  }
  return stop.stop_requested() ? exit_code(ErrorKind::kInterrupted) : 0;
}

}  // namespace

void add_run(CLI::App& app, Run& chosen) {
  CLI::App* verb = app.add_subcommand("run", "Continue a text with a model");
  verb->footer(
      "The text goes to stdout as it comes; speed and memory go to stderr. Without -p and -f the prompt is standard "
      "input,\n"
      "or, on a terminal, just the model's beginning of text.");
  auto options = std::make_shared<RunOptions>();
  options->workspace.add_model_flag(*verb);
  CLI::Option* prompt = verb->add_option("-p,--prompt", options->prompt, "TEXT to continue");
  verb->add_option("-f,--file", options->file, "File with the text to continue")->excludes(prompt);
  verb->add_option("-n,--predict", options->generate.predict,
                   "Tokens to generate at most [until the model ends or the context is full]");
  options->workspace.add_flags(*verb);
  options->workspace.add_prefix_flags(*verb);
  options->sampling.add_flags(*verb);
  verb->add_flag("--ignore-eos", options->generate.ignore_eos, "Go on after the model's end tokens");
  verb->add_flag("--echo", options->echo, "Print the prompt before its continuation");
  verb->add_flag("--json", options->workspace.json, "Print one object with text, speeds and memory instead of text");
  verb->callback(
      [options, &chosen] { chosen = [options](const std::stop_token& stop) { return run(*options, stop); }; });
}

}  // namespace jericho::cli
