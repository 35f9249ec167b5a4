// jericho audit: what a model asks of memory and arithmetic, the plan that would run it, how fast a device could be at
// it, and what gives out first; from headers or a bare config.json, no weights needed. Start at audit().
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "audit/audit.h"
#include "audit/comparison.h"
#include "audit/report_html.h"
#include "audit/report_json.h"
#include "audit/report_text.h"
#include "audit/roadmap.h"
#include "audit/scenario.h"
#include "base/cpu.h"
#include "base/error.h"
#include "cli/audit_model.h"
#include "cli/audit_verify.h"
#include "cli/machine_file.h"
#include "cli/verbs.h"
#include "cli/write_file.h"
#include "formats/json_file.h"
#include "memory/budget.h"

namespace jericho::cli {
namespace {

struct AuditOptions {
  AuditModelOptions model{};
  std::string device{};
  std::string devices{};
  std::vector<std::string> scenarios{};
  std::vector<std::string> compare{};
  std::string roadmap{};
  std::string html{};
  double tpot_ms = 50;
  double ttft_ms = 500;
  double shared_prefix = 0;
  bool verify = false;
  Index prompt = 512;
  Index rank = 16;
  Index tokens = 2048;
};

// What the user keeps for every audit: $XDG_CONFIG_HOME or ~/.config, jericho/devices.json.
std::optional<std::filesystem::path> user_devices() {
  const char* config = std::getenv("XDG_CONFIG_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path folder;
  if (config != nullptr && *config == '/')
    folder = config;
  else if (home != nullptr && *home == '/')
    folder = std::filesystem::path(home) / ".config";
  else
    return std::nullopt;
  const std::filesystem::path file = folder / "jericho" / "devices.json";
  std::error_code unknown;
  return std::filesystem::exists(file, unknown) ? std::optional(file) : std::nullopt;
}

DeviceList known_devices(const AuditOptions& options) {
  DeviceList list = DeviceList::built_in();
  if (const auto file = user_devices()) list.merge_file(*file);
  if (!options.devices.empty()) list.merge_file(options.devices);
  return list;
}

// The machine here, by what was kept of it; nothing, and a note, where there is nothing.
std::optional<Device> measured_machine(const AuditModel& model, std::vector<std::string>& notes) {
  const CpuPath path = chosen_cpu_path();
  const KeptRecord kept = kept_record(machine_identity(model.threads(), path));
  if (kept.record) return this_machine(*kept.record, path, model.planner().budget);
  const std::string why = kept.note.empty() ? "" : kept.note + "; ";
  notes.push_back(fmt::format(
      "{}no speeds: jericho bench --machine measures this machine, once; --device NAME asks about another", why));
  return std::nullopt;
}

// Scenarios without a device are asked about the machine here; without its figures they have no answer.
std::vector<Advice> advice(const AuditOptions& options, const AuditModel& model, const AuditReport& report,
                           const Planner& planner) {
  if (options.scenarios.empty()) return {};
  if (!report.audit.speed) {
    throw Error(
        ErrorKind::kUsage,
        "--scenario needs a machine: jericho bench --machine measures this one, --device NAME asks about another");
  }
  const ScenarioTargets targets{.tpot_seconds = options.tpot_ms / 1000,
                                .ttft_seconds = options.ttft_ms / 1000,
                                .shared_prefix = options.shared_prefix};
  targets.validate();
  std::vector<Advice> list;
  for (const std::string& text : options.scenarios) {
    AuditRequest request = report.audit.request;
    const Scenario scenario = parse_scenario(text);
    constexpr Index kLong = 131072;
    if (scenario == Scenario::kLongContext && !options.model.workspace.context)
      request.context = std::min(kLong, report.audit.model_context);
    list.push_back(
        advise(scenario, model.view(), request, targets, planner, model.planner(), report.audit.speed->device));
  }
  return list;
}

// All of the device's memory, or as much of it as --memory says.
Bytes budget_on(const Device& device, const WorkspaceOptions& options) {
  if (options.memory == "auto") return device.memory;
  return parse_budget(options.memory, {.ram_total = device.memory, .ram_available = device.memory},
                      {.overcommit = options.overcommit})
      .ram;
}

int audit(const AuditOptions& options, const std::stop_token& stop) {
  for (const std::string& text : options.scenarios) static_cast<void>(parse_scenario(text));
  if (options.verify && !options.device.empty())
    throw Error(ErrorKind::kUsage, "--verify runs the plan here; it cannot be asked about another --device");
  AuditModel model(options.model);
  const DeviceList devices = known_devices(options);  // after the model, whose process is measured
  std::optional<Device> device;
  if (!options.device.empty()) device = devices.named(options.device);
  AuditRequest request = model.request();
  request.prompt = options.prompt;
  request.rank = options.rank;
  request.training_tokens = options.tokens;
  Planner planner = model.planner();
  if (device) {
    planner = planner_for(model.view(), budget_on(*device, options.model.workspace));
  } else {
    device = measured_machine(model, request.notes);
  }
  AuditReport report{.audit = make_audit(model.view(), request, planner, device)};
  report.advice = advice(options, model, report, planner);
  for (const std::string& name : options.compare)
    report.comparison.push_back(compare(model.view(), request, devices.named(name)));
  if (!options.roadmap.empty()) {
    const Roadmap roadmap = read_roadmap(read_json_file(options.roadmap).dump(), options.roadmap, devices);
    report.fates = follow(model.view(), request.kv_type, roadmap);
  }
  if (options.verify) report.verification = verify(model, report.audit, stop);
  if (!options.html.empty()) write_file_atomically(options.html, report_html(report, model.view()));
  if (options.model.workspace.json) {
    fmt::print("{}\n", to_json(report).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    fmt::print("{}", report_text(report));
  }
  return report.verification && !report.verification->holds() ? 1 : 0;
}

}  // namespace

void add_audit(CLI::App& app, Run& chosen) {
  CLI::App* verb = app.add_subcommand("audit", "Say what a model needs, how fast it can be, and what starves first");
  verb->footer(
      "MODEL may be a bare config.json: no weights are needed. Without --device the machine is this one, as jericho "
      "bench\n"
      "--machine measured it.");
  auto options = std::make_shared<AuditOptions>();
  options->model.add_flags(*verb);
  verb->add_option("-p,--prompt", options->prompt, "Tokens of a prompt to be read")->capture_default_str();
  verb->add_option("--device", options->device, "Another machine, by its NAME in the devices file");
  verb->add_option("--devices", options->devices, "FILE of devices, over those that are built in and the user's own");
  verb->add_option("--rank", options->rank, "Rank of LoRA, GaLore, APOLLO")->capture_default_str();
  verb->add_option("--tokens", options->tokens, "Tokens of a training step whose activations are held")
      ->capture_default_str();
  verb->add_option("--scenario", options->scenarios, "What to change first for: api, edge, long-context, realtime")
      ->delimiter(',');
  verb->add_option("--tpot-ms", options->tpot_ms, "Of scenarios: between two tokens of a sequence, at most")
      ->capture_default_str();
  verb->add_option("--ttft-ms", options->ttft_ms, "Of scenarios: until the first token, at most")
      ->capture_default_str();
  verb->add_option("--shared-prefix", options->shared_prefix,
                   "Of scenarios: part of prompts that others began with too");
  verb->add_option("--compare", options->compare, "DEVICES side by side: NAME,NAME,...")->delimiter(',');
  verb->add_option("--roadmap", options->roadmap,
                   "FILE of devices with dates and workloads that grow: when they starve");
  verb->add_flag("--verify", options->verify,
                 "Run the plan and print what was predicted beside what was measured; exit code 1 beyond 20 %");
  verb->add_option("--html", options->html, "FILE for the report as one page");
  verb->add_flag("--json", options->model.workspace.json, "Print one object");
  verb->callback(
      [options, &chosen] { chosen = [options](const std::stop_token& stop) { return audit(*options, stop); }; });
}

}  // namespace jericho::cli
