// jericho eval: what models are worth on a text or on multiple-choice questions, one after the other under one budget,
// and how much of it a GiB buys (docs/evaluation.md).
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/eval_model.h"
#include "cli/eval_report.h"
#include "cli/read_text.h"
#include "cli/verbs.h"
#include "eval/choices_file.h"
#include "memory/process_memory.h"

namespace jericho::cli {
namespace {

struct EvalOptions {
  WorkspaceOptions workspace{};
  std::vector<std::string> models{};
  std::string text{};
  std::string choices{};
  std::string reference{};
  bool per_document = false;
  std::string separator = "<|endoftext|>";

  void validate() const {
    if (text.empty() == choices.empty()) {
      throw Error(ErrorKind::kUsage, fmt::format("eval: expected --text FILE or --choices FILE, found {}",
                                                 text.empty() ? "none" : "both"));
    }
    if (!choices.empty() && !reference.empty()) {
      throw Error(ErrorKind::kUsage,
                  "--reference: compares on a --text, not on --choices; name both models to compare their answers");
    }
    if (per_document && text.empty())
      throw Error(ErrorKind::kUsage, "--per-document: is about the documents of a --text");
    if (separator.empty()) throw Error(ErrorKind::kUsage, "--separator: expected a text");
    workspace.validate();
  }

  [[nodiscard]] EvalTask task() const {
    EvalTask task;
    if (choices.empty()) {
      task.text = read_text_file(text);
      if (per_document) task.separator = separator;
      task.reference = reference;
    } else {
      task.questions = parse_choices(read_text_file(choices), choices);
    }
    return task;
  }
};

int evaluate_one(const EvalOptions& options, const EvalTask& task, const std::stop_token& stop) {
  WorkspaceOptions workspace = options.workspace;
  workspace.model = options.models.front();
  const ModelResult result = evaluate(workspace, task, stop);
  if (workspace.json) {
    fmt::print("{}\n", to_json(result).dump());
  } else {
    fmt::print("{}", report(result));
    fmt::print(stderr, "{}{}", result.hint, result.memory_report);
  }
  return 0;
}

// A model is a task of its own here: what fails with it is its row, and the others go on.
int evaluate_all(const EvalOptions& options, const EvalTask& task, const std::stop_token& stop) {
  std::vector<ModelResult> results;
  std::optional<Error> interrupted;
  int code = 0;
  for (const std::string& model : options.models) {
    WorkspaceOptions workspace = options.workspace;
    workspace.model = model;
    workspace.json = false;  // a refusal is part of the object printed at the end
    reset_peak();            // the peak of the model before is none of this one's
    try {
      results.push_back(evaluate(workspace, task, stop));
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kInterrupted) {
        interrupted = error;
        break;
      }
      fmt::print(stderr, "error: {}\n", error.what());
      ModelResult& failed = results.emplace_back();
      failed.model = model;
      failed.failure = error;
      if (code == 0) code = exit_code(error.kind());
    }
  }
  if (options.workspace.json) {
    fmt::print("{}\n", to_json(std::span<const ModelResult>(results)).dump());
  } else if (!results.empty()) {
    fmt::print("{}", table(results));
  }
  if (interrupted) throw Error(*interrupted);
  return code;
}

}  // namespace

void add_eval(CLI::App& app, Run& chosen) {
  CLI::App* verb = app.add_subcommand(
      "eval", "Measure models on a text (perplexity, divergence from a reference) or on multiple-choice questions");
  verb->footer(
      "--text: windows of -c tokens [512, or the model's context], the first token of each replaced by BOS, the second "
      "half scored.\n--choices: log-likelihood of each choice after its context, as lm-eval-harness; -c is the most "
      "that "
      "is read [the model's context].\nSeveral models are loaded one after the other under the same --memory, and "
      "printed as one table.");
  auto options = std::make_shared<EvalOptions>();
  verb->add_option("-m,--model,MODEL", options->models,
                   "MODELs: .gguf files, Hugging Face directories, or the built-in one")
      ->default_val(std::vector<std::string>{"builtin"});
  verb->add_option("--text", options->text, "FILE with the text");
  verb->add_flag("--per-document", options->per_document,
                 "Evaluate each document of the text alone, every token scored, cut at -c tokens");
  verb->add_option("--separator", options->separator, "TEXT between documents")->capture_default_str();
  verb->add_option("--choices", options->choices,
                   "FILE of JSON lines: {\"context\": \"...\", \"choices\": [\"...\", \"...\"], \"label\": 0}");
  verb->add_option("--reference", options->reference,
                   "MODEL to compare with on the text: KL divergence and agreement of the top token");
  options->workspace.add_flags(*verb);
  verb->add_flag("--json", options->workspace.json,
                 "Print one object: ppl, ppl_stderr, bits_per_byte, tokens, acc, acc_stderr, per_gib, ...");
  verb->callback([options, &chosen] {
    chosen = [options](const std::stop_token& stop) {
      options->validate();
      const EvalTask task = options->task();
      return options->models.size() == 1 ? evaluate_one(*options, task, stop) : evaluate_all(*options, task, stop);
    };
  });
}

}  // namespace jericho::cli
