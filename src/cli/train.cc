// jericho train: a model from texts, as a YAML file describes it, under the budget. Parses the flags, keeps the books,
// reads texts and tokenizer, and prints what train/trainer.h reports: a line per some steps on stderr, a record of each
// in train.log.jsonl of the run's folder (docs/training.md).
#include <malloc.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/progress.h"
#include "cli/threads.h"
#include "cli/train_verbs.h"
#include "cli/verbs.h"
#include "cli/write_file.h"
#include "formats/adapter_file.h"
#include "memory/available.h"
#include "memory/budget.h"
#include "memory/process_memory.h"
#include "models/families.h"
#include "plan/plan.h"
#include "plan/roofs.h"
#include "text/chat_template.h"
#include "text/load_tokenizer.h"
#include "train/event_file.h"
#include "train/frozen_base.h"
#include "train/start_model.h"
#include "train/trainer.h"

namespace jericho::cli {
namespace {

struct Options {
  std::string config{};
  std::vector<std::string> sets{};
  std::string memory = "auto";
  bool overcommit = false;
  int threads = 0;
  bool dry_run = false;
};

// The words of config.json, completed by what the tokenizer says.
nlohmann::json complete_config(nlohmann::json model, const Tokenizer& tokenizer) {
  if (!model.contains("architectures")) model["architectures"] = {"LlamaForCausalLM"};
  if (!model.contains("vocab_size")) model["vocab_size"] = tokenizer.size();
  if (tokenizer.bos()) model["bos_token_id"] = *tokenizer.bos();
  if (tokenizer.eos()) model["eos_token_id"] = *tokenizer.eos();
  if (model["architectures"] == nlohmann::json{"LlamaForCausalLM"} && !model.contains("model_type"))
    model["model_type"] = "llama";
  model["torch_dtype"] = "float32";
  const Index vocabulary = model["vocab_size"].get<Index>();
  if (vocabulary < tokenizer.size()) {
    throw Error(ErrorKind::kUsage,
                fmt::format("model.vocab_size: {} is below the tokenizer's {}", vocabulary, tokenizer.size()));
  }
  return model;
}

constexpr std::array<const char*, 8> kTokenizerFiles = {
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json",     "merges.txt",      "chat_template.jinja"};

std::optional<std::string> read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(in), {});
}

std::vector<SideFile> side_files(const std::filesystem::path& tokenizer, const nlohmann::json& config) {
  std::vector<SideFile> files = {{"config.json", config.dump(2) + "\n"}};
  if (!std::filesystem::is_directory(tokenizer)) {
    files.push_back({tokenizer.filename().string(), read_file(tokenizer).value_or("")});
    return files;
  }
  for (const char* name : kTokenizerFiles) {
    if (auto bytes = read_file(tokenizer / name)) files.push_back({name, std::move(*bytes)});
  }
  return files;
}

// A record per line; what a killed run wrote beyond its last checkpoint is dropped when it goes on.
class RunLog {
 public:
  explicit RunLog(std::filesystem::path path) : path_(std::move(path)) {}
  void keep_until(Index step) const {
    std::ifstream in(path_);
    if (!in) return;
    std::string kept, line;
    while (std::getline(in, line)) {
      const nlohmann::json record = nlohmann::json::parse(line, nullptr, false);
      if (record.is_object() && record.value("step", Index{0}) <= step) kept += line + "\n";
    }
    write_file_atomically(path_, kept);
  }
  void add(const nlohmann::json& record) const {
    std::ofstream out(path_, std::ios::app);
    out << record.dump() << "\n";
    out.close();
    if (!out) fmt::print(stderr, "note: {}: a record could not be written; is the disk full?\n", path_.string());
  }

 private:
  std::filesystem::path path_;
};

std::string duration(double seconds) {
  const auto whole = static_cast<long>(seconds);
  if (whole >= 3600) return fmt::format("{}h{:02}m", whole / 3600, whole % 3600 / 60);
  if (whole >= 60) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  return fmt::format("{}s", whole);
}

std::string recompute_text(const Recompute& recompute, Index blocks) {
  if (recompute.kept >= blocks) return "no block computed again";
  if (recompute.every > 1) {
    return fmt::format("{} of {} blocks computed again from the input of every {}th", blocks - 1, blocks,
                       recompute.every);
  }
  return fmt::format("{} of {} blocks computed again", blocks - recompute.kept, blocks);
}

std::string plan_text(const TrainingPlan& p, const TrainOptions& options, Index blocks, Bytes runtime, Bytes data,
                      Bytes margin, Bytes budget) {
  std::string text =
      fmt::format("plan: {} of {} sequences of {} tokens at once, {}, {} products{}\n", p.pass.sequences,
                  options.step_sequences, options.sequence_tokens, recompute_text(p.pass.recompute, blocks),
                  options.compute == DType::kBF16 ? "bf16" : "fp32",
                  !p.fused           ? ""
                  : options.clip > 0 ? ", updates within a second backward pass"
                                     : ", updates within the backward pass");
  const auto row = [&](const char* what, Bytes bytes) {
    text += fmt::format("  {:<24}{:>12}\n", what, format_bytes(bytes));
  };
  const auto word = [](DType type) { return type == DType::kF32 ? "fp32" : type == DType::kBF16 ? "bf16" : "int8"; };
  const WeightTypes& types = options.weights;
  if (p.base > 0_B) row(options.adapter.base == BaseForm::kNf4 ? "base (nf4)" : "base, frozen", p.base);
  row(fmt::format("{} ({})", p.base > 0_B ? "adapters" : "weights",
                  types.projections == types.embeddings
                      ? word(types.projections)
                      : fmt::format("{}, {}", word(types.projections), word(types.embeddings)))
          .c_str(),
      p.weights);
  row("gradients", p.gradients);
  row("optimizer", p.optimizer + p.scratch + p.heap);
  row("activations, saved", p.activations.saved);
  row("activations, live", p.activations.live);
  row("logits of a chunk", p.activations.logits);
  row("data", data);
  row("code and tokenizer", runtime);
  row("margin", margin);
  row("together", p.total() + runtime + data + margin);
  row("budget", budget);
  return text;
}

// PEFT's settings of what is trained.
std::vector<SideFile> adapter_files(const TrainOptions& options) {
  const AdapterTraining& a = options.adapter.training;
  AdapterSettings settings{.base_model = options.start.string(),
                           .rank = a.rank,
                           .alpha = a.alpha,
                           .rslora = a.rslora,
                           .dora = a.dora,
                           .target_modules = a.targets};
  if (a.targets.empty())
    settings.target_modules = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
  return {{kAdapterConfig, to_json(settings).dump(2) + "\n"}};
}

std::optional<ChatTemplate> chat_template(const TrainOptions& options, const std::vector<SideFile>& files) {
  if (!options.chat_template.empty()) {
    const std::optional<std::string> source = read_file(options.chat_template);
    if (!source)
      throw Error(ErrorKind::kInput,
                  fmt::format("data.template: {}: no such file, or it cannot be read", options.chat_template.string()));
    return with_context([&] { return options.chat_template.string(); }, [&] { return ChatTemplate::parse(*source); });
  }
  const auto source = find_chat_template([&](std::string_view name, Bytes) -> std::optional<std::string> {
    const auto found = std::find_if(files.begin(), files.end(), [&](const SideFile& f) { return f.name == name; });
    return found == files.end() ? std::nullopt : std::optional(found->bytes);
  });
  if (!source) return std::nullopt;
  return with_context([] { return "the chat template"; }, [&] { return ChatTemplate::parse(*source); });
}

DocumentOptions document_options(const TrainOptions& options, const std::optional<ChatTemplate>& chat,
                                 const Tokenizer& tokenizer) {
  const auto piece = [&](std::optional<TokenId> id) { return id ? std::optional(tokenizer.piece(*id)) : std::nullopt; };
  return {.separator = options.separator,
          .train_on = options.train_on,
          .chat_template = chat ? &*chat : nullptr,
          .bos_token = piece(tokenizer.bos()),
          .eos_token = piece(tokenizer.eos())};
}

std::string data_text(const TokenStore& texts) {
  std::string text = fmt::format("{} documents, {} tokens, ", texts.documents(), texts.tokens());
  if (texts.trained_tokens() + texts.documents() < texts.tokens()) {
    text += fmt::format("of which {} are trained\n", texts.trained_tokens());
  } else if (texts.text_bytes() == Bytes{}) {
    text += "in part on the disk\n";
  } else {
    text += fmt::format("{:.2f} bytes each\n",
                        static_cast<double>(texts.text_bytes().count) / static_cast<double>(texts.tokens()));
  }
  if (texts.cut_documents() > 0 || texts.left_out() > 0) {
    text += fmt::format(
        "note: {} documents are longer than data.sequence_tokens and cut off, {} more left out: "
        "nothing of them would be trained\n",
        texts.cut_documents(), texts.left_out());
  }
  return text;
}

// The most that reading the texts and keeping their tokens takes.
Bytes data_bytes(const TrainOptions& options) {
  return TokenStore::reading_bytes(options.train_files) + TokenStore::reading_bytes(options.valid_files);
}

class Watch {
 public:
  Watch(const TrainOptions& options, const TrainingLayout& layout, Roof peak, const Ledger& ledger, Bytes budget)
      : log_(options.output / "train.log.jsonl"),
        events_(options.output, now()),
        flops_per_token_(layout.flops_per_token()),
        peak_(std::move(peak)),
        ledger_(ledger),
        budget_(budget) {}

  [[nodiscard]] const RunLog& log() const { return log_; }
  void step(const StepReport& r) {
    const double share = flops_per_token_ * r.tokens_per_second / (peak_.value * 1e12);
    const Bytes used = read_process_memory().peak_rss;
    fmt::print(
        stderr, "step {}/{}  loss {:.4f}  lr {:.2e}  |g| {:.3f}  {:.0f} tok/s  {:.1f} % of {}  mem {}/{}  eta {}\n",
        r.step, r.steps, r.loss, r.learning_rate, r.gradient_norm, r.tokens_per_second, 100 * share, peak_.name,
        format_bytes(used), format_bytes(budget_), duration(static_cast<double>(r.steps - r.step) * r.step_seconds));
    log_.add({{"step", r.step},
              {"epoch", r.epoch},
              {"tokens", r.tokens},
              {"loss", r.loss},
              {"lr", r.learning_rate},
              {"grad_norm", r.gradient_norm},
              {"tok_s", r.tokens_per_second},
              {"step_s", r.step_seconds},
              {"of_peak", share},
              {"rss", used.count},
              {"ledger_peak", ledger_.snapshot().total(Tier::kRam).peak_reserved.count},
              {"time", now()}});
    event(r.step, "train/loss", r.loss);
    event(r.step, "train/lr", r.learning_rate);
    event(r.step, "train/grad_norm", r.gradient_norm);
    event(r.step, "train/tok_s", r.tokens_per_second);
  }
  void eval(const EvalReport& r) {
    const std::string bits = r.bits_per_byte > 0 ? fmt::format(", {:.4f} bits per byte", r.bits_per_byte) : "";
    fmt::print(stderr, "eval at {}: loss {:.4f} over {} tokens{}{}\n", r.step, r.loss, r.tokens, bits,
               r.best ? ", the best so far" : "");
    nlohmann::json record = {{"step", r.step}, {"eval_loss", r.loss}, {"eval_tokens", r.tokens}};
    if (r.bits_per_byte > 0) record["eval_bits_per_byte"] = r.bits_per_byte;
    log_.add(record);
    event(r.step, "eval/loss", r.loss);
    if (r.bits_per_byte > 0) event(r.step, "eval/bits_per_byte", r.bits_per_byte);
  }

  void sample(Index step, const std::string& text) {
    fmt::print(stderr, "sample at {}: {}\n", step, text);
    log_.add({{"step", step}, {"sample", text}});
  }

 private:
  static double now() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  }
  void event(Index step, std::string_view tag, double value) {
    if (events_.add(now(), step, tag, value) || events_failed_) return;
    events_failed_ = true;
    fmt::print(stderr, "note: the event file cannot be written; is the disk full?\n");
  }

  RunLog log_;
  EventFile events_;
  bool events_failed_ = false;
  double flops_per_token_;
  Roof peak_;
  const Ledger& ledger_;
  Bytes budget_;
};

SamplingOptions sampling(const TrainOptions& options) {
  SamplingOptions sampling;
  sampling.temperature = static_cast<double>(options.sample_temperature);
  sampling.seed = options.seed;
  return sampling;
}

std::unique_ptr<Tokenizer> tokenizer_at(const std::filesystem::path& path) {
  return std::filesystem::is_directory(path) ? load_tokenizer_directory(path) : load_tokenizer_file(path);
}

int train(const Options& flags, const std::stop_token& stop) {
  const int threads = thread_count(flags.threads);
  TrainOptions options = read_train_options(flags.config, flags.sets);
  std::optional<StartModel> start;
  if (!options.start.empty()) start.emplace(options.start);
  const std::unique_ptr<Tokenizer> tokenizer = start ? load_tokenizer(start->file()) : tokenizer_at(options.tokenizer);
  if (start) options.model = start->words();
  const nlohmann::json json = start ? options.model : complete_config(options.model, *tokenizer);
  const ModelConfig config = with_context([] { return std::string("model"); }, [&] { return config_from_json(json); });
  const TrainingLayout layout(config, options.weights,
                              options.adapter.any() ? std::optional(options.adapter.training) : std::nullopt);
  std::optional<FrozenBase> base;
  if (options.adapter.any()) base.emplace(*start, layout, options.adapter.base);
  const AvailableMemory available = available_memory();
  const Bytes budget = parse_budget(flags.memory, {.ram_total = available.total, .ram_available = available.available},
                                    {.overcommit = flags.overcommit})
                           .ram;
  ThreadPool pool(threads);
  prefault_code();
  malloc_trim(0);
  const Bytes runtime = read_process_memory().rss, data = data_bytes(options);
  const auto margin = [&](Bytes planned) { return plan_margin(planned) + 4_MiB; };
  const auto together = [&](Bytes planned) { return planned + runtime + data + margin(planned + runtime + data); };
  Bytes room = budget - runtime - data;
  room -= margin(budget);
  const Bytes starting = base ? base->scratch_bytes(threads) : start ? start->scratch_bytes(threads) : 0_B;
  const Bytes frozen = base ? base->bytes() : 0_B;
  const TrainingPlan plan = plan_training(config, layout, options, threads, room, starting, frozen);
  fmt::print(stderr, "{} parameters, {} multiplied per token\n", layout.parameters(), layout.multiplied_parameters());
  fmt::print(stderr, "{}",
             plan_text(plan, options, config.num_hidden_layers * config.layer_passes, runtime, data,
                       margin(plan.total() + runtime + data), budget));
  if (plan.total() > room) {
    const TrainingPlan least = plan_training(config, layout, options, threads, 0_B, starting, frozen);
    throw Error(ErrorKind::kBudget,
                fmt::format("the run needs more memory than --memory {} allows\n"
                            "smallest budget that works: --memory {}",
                            format_bytes(budget), budget_argument(together(least.total()) + 16_MiB)));
  }
  if (flags.dry_run) return 0;
  Ledger ledger(LedgerCaps{.ram = budget});
  Lease standing = ledger.require(Tier::kRam, Purpose::kRuntime, runtime);
  standing.commit(standing.size());
  const Context context{ledger, pool, kernels_for(chosen_cpu_path())};
  const std::vector<SideFile> side = start ? start->side_files() : side_files(options.tokenizer, json);
  const std::optional<ChatTemplate> chat = chat_template(options, side);
  const DocumentOptions documents = document_options(options, chat, *tokenizer);
  const auto read = [&](const std::vector<std::string>& files, const char* what) {
    Progress progress(what);
    return TokenStore::read(context, files, documents, options.sequence_tokens + 1, *tokenizer, stop,
                            [&](Bytes done, Bytes total) { progress.update(done.count, total.count); });
  };
  const TokenStore texts = read(options.train_files, "reading texts");
  std::optional<TokenStore> valid;
  if (!options.valid_files.empty()) valid = read(options.valid_files, "reading held-out texts");
  fmt::print(stderr, "{}", data_text(texts));
  const PeakKind kind = options.compute != DType::kBF16                         ? PeakKind::kF32
                        : has_units(PeakKind::kBF16, context.kernels.path)      ? PeakKind::kBF16
                        : has_units(PeakKind::kBF16Pairs, context.kernels.path) ? PeakKind::kBF16Pairs
                                                                                : PeakKind::kF32;
  Trainer trainer(context, options, config, layout, plan, texts, valid ? &*valid : nullptr, start ? &*start : nullptr,
                  base ? adapter_files(options) : side, base ? &*base : nullptr);
  Watch watch(options, layout, measure_multiply(context, kind, context.kernels.path), ledger, budget);
  const Index begun = Checkpoints(options.output, options.keep_last)
                          .latest_progress()
                          .value_or(nlohmann::json::object())
                          .value("step", Index{0});
  watch.log().keep_until(begun);
  if (begun > 0) fmt::print(stderr, "going on from step {} of {}\n", begun, trainer.steps());
  TrainWatch calls = {
      .step = [&](const StepReport& r) { watch.step(r); },
      .eval = [&](const EvalReport& r) { watch.eval(r); },
      .saved = [&](Index, const std::filesystem::path& folder,
                   double seconds) { fmt::print(stderr, "saved {} in {:.1f} s\n", folder.string(), seconds); }};
  if (!options.sample_prompt.empty()) {
    calls.sample = [&](Index step) {
      const std::vector<TokenId> prompt = tokenizer->encode(options.sample_prompt);
      const std::vector<TokenId> more =
          trainer.continue_text(prompt, options.sample_tokens, sampling(options), tokenizer->end_of_generation());
      std::vector<TokenId> all = prompt;
      all.insert(all.end(), more.begin(), more.end());
      watch.sample(step, tokenizer->decode(all));
    };
  }
  const bool done = trainer.run(stop, calls);
  if (!done) {
    throw Error(ErrorKind::kInterrupted, "stopped; a checkpoint is saved, the same command goes on from it");
  }
  fmt::print("{}\n", (options.output / "checkpoints" / "latest").string());
  return 0;
}

}  // namespace

void add_train(CLI::App& app, Run& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("train", "Train a model on texts, as CONFIG.yaml describes it");
  CLI::Option* config = verb->add_option("CONFIG", options->config, "a YAML file: docs/training.md lists the keys");
  verb->add_option("--set", options->sets, "KEY=VALUE in place of what the file says; may be given again");
  verb->add_option("--memory", options->memory,
                   "Most memory the process may take: 8GiB, 80%, auto (90 % of what is free), max")
      ->envname("JERICHO_MEMORY")
      ->capture_default_str();
  verb->add_flag("--memory-overcommit", options->overcommit, "Allow a budget above what the machine has");
  add_threads_flag(*verb, options->threads);
  verb->add_flag("--dry-run", options->dry_run, "print the plan and end; exit code 3 where it does not fit");
  add_train_plot(*verb, chosen);
  add_train_average(*verb, chosen);
  verb->callback([options, config, verb, &chosen] {
    if (!verb->get_subcommands().empty()) return;  // has said what runs
    if (config->count() == 0) throw CLI::RequiredError("CONFIG");
    chosen = [options](const std::stop_token& stop) { return train(*options, stop); };
  });
}

}  // namespace jericho::cli
