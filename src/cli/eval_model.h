// One model measured by `eval`: loaded under the budget, scored, and released. Start at evaluate().
#pragma once

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/error.h"
#include "cli/workspace.h"
#include "eval/choices.h"
#include "eval/perplexity.h"
#include "plan/roofs.h"

namespace jericho::cli {

struct EvalTask {
  std::string text{};                       // perplexity of it
  std::optional<std::string> separator{};   // of its documents, each evaluated alone; none: windows over all of it
  std::vector<ChoiceQuestion> questions{};  // or, where there are any, accuracy on these
  std::string reference{};                  // a model to hold the text's probabilities against; empty: none
};

struct ModelResult {
  std::string model{};             // as it was named
  std::optional<Error> failure{};  // then nothing below is set
  Bytes weights{};                 // of the tensors used, as the file keeps them
  Bytes memory{};                  // the most the ledger had in use, of both models where there is a reference
  bool has_reference = false;
  bool per_document = false;
  Index context = 0;  // tokens per window, the most of a document, or the most of a choice's input
  std::optional<Perplexity> perplexity{};
  std::optional<ChoiceAccuracy> accuracy{};
  double tokens_per_second =
      0;                       // read by the model, of the text or of all choices; a reference beside it counts as work
  std::optional<Held> held{};  // of the roof
  std::string hint{};          // Speeds::hint()
  nlohmann::json memory_json{};
  std::string memory_report{};
};

// Throws what loading and scoring throw; the model is released when this returns.
ModelResult evaluate(const WorkspaceOptions& options, const EvalTask& task, const std::stop_token& stop);

// What the result is worth, larger is better: docs/evaluation.md#quality-per-gib.
struct Quality {
  std::string name{};  // a key of JSON
  double value = 0;
};
std::vector<Quality> qualities(const ModelResult& result);

double per_gib(double quality, Bytes bytes);

}  // namespace jericho::cli
