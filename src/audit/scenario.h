// Four ways a model is used, and for each what to change first: rules in a fixed order over the figures of the model
// and the device, and the plan as a command to run.
// Start at advise().                                                              Details: docs/audit.md#scenarios
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "audit/audit.h"

namespace jericho {

enum class Scenario {
  kApi,          // as many tokens per second as possible, each sequence still fast enough
  kEdge,         // one sequence, little memory
  kLongContext,  // agents over 128K tokens and more
  kRealtime,     // voice: no token may be late
};
inline constexpr std::array kScenarios = {Scenario::kApi, Scenario::kEdge, Scenario::kLongContext, Scenario::kRealtime};
std::string_view name(Scenario scenario);        // "api", "edge", "long-context", "realtime"
Scenario parse_scenario(std::string_view text);  // Error(kUsage) naming them

struct ScenarioTargets {
  double tpot_seconds = 0.05;  // between two tokens of a sequence, at most
  double ttft_seconds = 0.5;   // until the first
  double shared_prefix = 0;    // part of prompts that others began with as well, 0 to 1

  void validate() const;  // Error(kUsage)
};

struct Fact {
  std::string key{};  // with its unit: "sequences_that_fit"
  double value = 0;
  std::string text{};  // the same for people
};

struct Rule {
  std::string what{};
  bool applies = false;
  std::string why{};   // with the figures that decided
  std::string gain{};  // predicted
  std::string price{};
};

struct Advice {
  Scenario scenario{};
  std::vector<Fact> facts{};
  std::vector<Rule> rules{};
  Ask ask{};              // of the command
  std::string command{};  // works with this program, given the memory it names
};

// `here` plans what would run on this machine, whatever device is asked about: the command is for here.
Advice advise(Scenario scenario, const ModelView& model, const AuditRequest& request, const ScenarioTargets& targets,
              const Planner& planner, const Planner& here, const Device& device);

}  // namespace jericho
