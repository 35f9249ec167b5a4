// Which model, and how it would be asked to run: see audit_model.h.
#include "cli/audit_model.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "audit/command_line.h"
#include "audit/guessed_shape.h"
#include "base/error.h"
#include "cli/generate.h"
#include "cli/sampling_flags.h"
#include "cli/shapes.h"
#include "formats/json_file.h"
#include "kernels/packed_matrix.h"
#include "models/families.h"

namespace jericho::cli {
namespace {

constexpr Index kUsualContext = 4096;

bool has_tensors(const std::filesystem::path& folder) {
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(folder, failed)) {
    if (entry.path().extension() == ".safetensors") return true;
  }
  return false;
}

// The config.json that is all there is of a model; nothing where there are tensors.
std::optional<std::filesystem::path> bare_config(const std::filesystem::path& model) {
  std::error_code unknown;
  if (model.extension() == ".json") return model;
  if (std::filesystem::is_directory(model, unknown) && std::filesystem::exists(model / "config.json", unknown) &&
      !has_tensors(model))
    return model / "config.json";
  return std::nullopt;
}

// "bfloat16" -> BF16, as checkpoints name the type of their tensors.
std::optional<DType> checkpoint_type(const nlohmann::json& config) {
  const auto named = [](const nlohmann::json& object) -> std::optional<DType> {
    for (const char* key : {"dtype", "torch_dtype"}) {
      const auto member = object.find(key);
      if (member == object.end() || !member->is_string()) continue;
      if (*member == "bfloat16") return DType::kBF16;
      if (*member == "float16") return DType::kF16;
      if (*member == "float32") return DType::kF32;
    }
    return std::nullopt;
  };
  if (!config.is_object()) return std::nullopt;
  if (const auto type = named(config)) return type;
  const auto text = config.find("text_config");
  return text != config.end() && text->is_object() ? named(*text) : std::nullopt;
}

DType weight_type(const std::string& name, DType otherwise) {
  if (name.empty()) return otherwise;
  const auto type = dtype_from_name(name);
  if (!type || !is_packable(*type))
    throw Error(ErrorKind::kUsage, fmt::format("--type {}: expected a weight type such as Q4_0, Q8_0, BF16", name));
  return *type;
}

}  // namespace

void AuditModelOptions::add_flags(CLI::App& verb) {
  CLI::Option* model =
      verb.add_option("model,-m,--model", workspace.model,
                      "MODEL: a .gguf file, a Hugging Face directory, a config.json, or the built-in one")
          ->capture_default_str();
  verb.add_option("--shape", shape, "A shape by its name instead: " + shape_names())->excludes(model);
  verb.add_option("--type", type, "Type of weights that have no file [what config.json says, or BF16]");
  verb.add_option("-b,--batch", batch, "Sequences together")->capture_default_str();
  workspace.add_flags(verb);
}

AuditModel::AuditModel(const AuditModelOptions& options) : options_(options) {
  WorkspaceOptions& w = options_.workspace;
  if (!options_.shape.empty()) {
    open_shape();
  } else if (const auto config = bare_config(w.model)) {
    open_config(*config, {});
  } else {
    open_file();
  }
  request_.context = w.context.value_or(std::min(kUsualContext, workspace_->config().max_position_embeddings));
  request_.batch = options_.batch;
  request_.kv_type = w.parsed_kv_type();
  request_.chunk = w.chunk;
  request_.command.threads = workspace_->threads();
  const auto add = [&](const std::string& flags) {
    if (!request_.command.arguments.empty()) request_.command.arguments += flags;
  };
  if (w.kv_rotate) add(" --kv-rotate");
  if (!w.kv_select.empty()) {
    add(" --kv-select " + jericho::quoted(w.kv_select));
    request_.notes.push_back(
        fmt::format("the plan is of --kv-select {}; speeds are of reading all keys and values", w.kv_select));
  }
  if (!w.scratch.empty())
    add(" --scratch " + jericho::quoted(w.scratch) + (w.scratch_encrypt ? " --scratch-encrypt" : ""));
  make_planner();
}

void AuditModel::open_shape() {
  const DType type = weight_type(options_.type, DType::kBF16);
  workspace_ = std::make_unique<Workspace>(options_.workspace, shape_named(options_.shape), type);
  request_.model = "--shape " + options_.shape;
  request_.source = "a shape";
  request_.command.arguments = fmt::format("--shape {} --type {}", options_.shape, name(type));
}

void AuditModel::open_config(const std::filesystem::path& path, const std::string& why) {
  const nlohmann::json json = read_json_file(path);
  const DType type = weight_type(options_.type, checkpoint_type(json).value_or(DType::kBF16));
  request_.model = path.string();
  request_.source = "config.json alone";
  ModelConfig config;
  try {
    config = with_context([&] { return path.string(); }, [&] { return config_from_json(json); });
    request_.command.arguments = fmt::format("--config {} --type {}", quoted(path.string()), name(type));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUnsupported) throw;
    GuessedShape guess = with_context([&] { return path.string(); }, [&] { return guess_shape(json); });
    config = std::move(guess.config);
    request_.notes.push_back(why.empty() ? error.what() : why);
    for (std::string& note : guess.notes) request_.notes.push_back(std::move(note));
  }
  workspace_ = std::make_unique<Workspace>(options_.workspace, std::move(config), type);
}

void AuditModel::open_file() {
  const WorkspaceOptions& w = options_.workspace;
  if (!options_.type.empty()) {
    throw Error(ErrorKind::kUsage, "--type is for a model without a file; jericho convert changes the types of one");
  }
  try {
    try {
      workspace_ = std::make_unique<Workspace>(w, NeedsTokenizer::kYes);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kInput && error.kind() != ErrorKind::kUnsupported) throw;
      workspace_ = std::make_unique<Workspace>(w, NeedsTokenizer::kNo);
      request_.notes.push_back(fmt::format("without a tokenizer: {}", error.what()));
    }
  } catch (const Error& error) {  // sizes are known all the same where there is a config.json
    const std::filesystem::path config = std::filesystem::path(w.model) / "config.json";
    std::error_code unknown;
    if (error.kind() != ErrorKind::kUnsupported || !std::filesystem::exists(config, unknown)) throw;
    return open_config(config, error.what());
  }
  request_.model = w.model;
  request_.source = workspace_->file().format() == ModelFormat::kGguf ? "GGUF" : "Hugging Face directory";
  request_.command = {
      .arguments = "-m " + quoted(w.model), .has_text = workspace_->has_tokenizer(), .path = quoted(w.model)};
}

void AuditModel::make_planner() {
  planner_.budget = workspace_->named_budget();
  GenerationHeap heap;
  if (workspace_->has_tokenizer())
    heap = GenerationHeap(make_sampler(SamplingFlags().options(workspace_->file()), *workspace_));
  constexpr Bytes kHeapOfBench = 1_MiB;
  const Machine of_run = workspace_->machine(workspace_->has_tokenizer() ? heap.fixed : kHeapOfBench);
  Machine of_bench = of_run;
  of_bench.growth = kHeapOfBench;
  const bool has_text = workspace_->has_tokenizer();
  planner_.plan = [this, of_run, of_bench, has_text, per_token = heap.per_token](Bytes budget, const Ask& ask) {
    const bool runs = ask.batch == 1 && has_text;
    return plan_inference(workspace_->config(), workspace_->weights(), runs ? of_run : of_bench, budget,
                          {.context = ask.context,
                           .sequences = ask.batch,
                           .heap_per_token = runs ? per_token : Bytes{},
                           .kv_type = ask.kv_type,
                           .kv_rotate = options_.workspace.kv_rotate,
                           .kv_select = options_.workspace.parsed_kv_select(),
                           .chunk = ask.chunk,
                           .scratch = !options_.workspace.scratch.empty()});
  };
}

}  // namespace jericho::cli
