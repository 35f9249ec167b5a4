// jericho audit: what a model asks of memory and arithmetic, the plan that would run it, how fast a device could be at it,
// and what gives out first; from headers or a bare config.json, no weights needed. Start at audit().
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "audit/audit.h"
#include "audit/report_json.h"
#include "audit/report_text.h"
#include "base/cpu.h"
#include "base/error.h"
#include "cli/audit_model.h"
#include "cli/machine_file.h"
#include "cli/verbs.h"

namespace jericho::cli {
namespace {

struct AuditOptions {
  AuditModelOptions model{};
  std::string device{};
  std::string devices{};
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

int audit(const AuditOptions& options) {
  const DeviceList devices = known_devices(options);
  std::optional<Device> device;
  if (!options.device.empty()) device = devices.named(options.device);
  const AuditModel model(options.model);
  AuditRequest request = model.request();
  request.prompt = options.prompt;
  request.rank = options.rank;
  request.training_tokens = options.tokens;
  Planner planner = model.planner();
  if (device) {
    planner = planner_for(model.view(), request.kv_type, device->memory);
  } else {
    device = measured_machine(model, request.notes);
  }
  const Audit audited = make_audit(model.view(), request, planner, device);
  if (options.model.workspace.json) {
    fmt::print("{}\n", to_json(audited).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    fmt::print("{}", report_text(audited));
  }
  return 0;
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
  verb->add_flag("--json", options->model.workspace.json, "Print one object");
  verb->callback([options, &chosen] { chosen = [options](const std::stop_token&) { return audit(*options); }; });
}

}  // namespace jericho::cli
