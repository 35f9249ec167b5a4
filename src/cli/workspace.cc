// Setting up a model under its budget: see workspace.h.
#include "cli/workspace.h"

#include <malloc.h>

#include <chrono>
#include <filesystem>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/progress.h"
#include "cli/speeds.h"
#include "cli/threads.h"
#include "memory/available.h"
#include "memory/process_memory.h"
#include "models/families.h"
#include "text/load_tokenizer.h"

namespace jericho::cli {
namespace {

std::shared_ptr<ThreadPool> make_pool(const WorkspaceOptions& options) {
  return std::make_shared<ThreadPool>(thread_count(options.threads));
}

// What is not in memory, and what that costs.
std::string streaming_note(const Plan& plan, const WeightLayout& weights, const Speeds& speeds) {
  const TokenCost cost = decode_cost(weights, plan, 1, 0);
  const std::optional<double> roof = speeds.disk_roof(cost);
  const ExpertCaching& experts = plan.weights.experts;
  const std::string slots =
      experts.slots > 0 ? fmt::format(", and {} of {} experts at a time", experts.slots, experts.experts) : "";
  return fmt::format(
      "note: {} of {} of weights stay in memory{}; a token alone reads {} from disk{}; more --memory keeps more\n",
      format_bytes(plan.weights.resident), format_bytes(weights.bytes()), slots,
      format_bytes(Bytes{static_cast<std::int64_t>(cost.disk_bytes)}),
      roof ? fmt::format(", at most {:.3g} tokens/s", *roof) : "");
}

std::string with_name(const DoesNotFit& refusal, const std::string& name) {
  return fmt::format("{}: {}", name, describe(refusal));
}

}  // namespace

CLI::Option* WorkspaceOptions::add_model_flag(CLI::App& verb) {
  return verb.add_option("-m,--model", model, "MODEL: a .gguf file, a Hugging Face directory, or the built-in one")
      ->capture_default_str();
}

void WorkspaceOptions::add_flags(CLI::App& verb) {
  verb.add_option("--memory", memory, "Most memory the process may take: 8GiB, 80%, auto (90 % of what is free), max")
      ->envname("JERICHO_MEMORY")
      ->capture_default_str();
  verb.add_flag("--memory-overcommit", overcommit, "Allow a budget above what the machine has");
  add_threads_flag(verb, threads);
  verb.add_option("--adapter", adapters,
                  "FOLDER[:SCALE] with a low-rank adapter to run beside the model; may be given again");
  verb.add_option("-c,--context", context, "Tokens of context [the model's own, or what fits]");
  verb.add_option("--chunk", chunk, "Tokens of a prompt computed at once [512, less where memory is short]");
  verb.add_option("--scratch", scratch,
                  "FOLDER on a disk for keys and values that do not fit in memory [they must fit]");
  verb.add_flag("--scratch-encrypt", scratch_encrypt, "Encrypt what goes to --scratch with a key of this process");
  verb.add_option("--kv-type", kv_type, "How keys and values are kept: f32, f16, bf16, q8, q4")->capture_default_str();
  verb.add_option("--kv-type-k", kv_type_k,
                  "How keys are kept: as --kv-type names it, or q4c, four bits per channel [as --kv-type says]");
  verb.add_option("--kv-type-v", kv_type_v, "How values are kept [as --kv-type says]");
  verb.add_flag("--kv-rotate", kv_rotate, "Keep keys and values as Hadamard transforms: few bits then lose less");
  verb.add_option("--kv-select", kv_select,
                  "Read fewer keys and values, which changes the text: streaming:SINKS+WINDOW, quest:TOKENS, "
                  "h2o:TOKENS, snapkv:TOKENS[,WINDOW] [all]");
}

void WorkspaceOptions::add_prefix_flags(CLI::App& verb) {
  verb.add_option("--prefix-store", prefix_store,
                  "FOLDER that keeps keys and values of prompts for those that begin alike");
  verb.add_option("--tenant", tenant, "With --prefix-store: NAME whose prompts these are; others never meet them");
}

void WorkspaceOptions::validate() const {
  static_cast<void>(parsed_kv_type());
  static_cast<void>(parsed_kv_select());
  for (const std::string& adapter : adapters) static_cast<void>(parse_adapter_choice(adapter));
  if (!scratch.empty() && !std::filesystem::is_directory(scratch))
    throw Error(ErrorKind::kUsage, fmt::format("--scratch {}: expected a folder on a disk", scratch));
  static_cast<void>(thread_count(threads));
}

KvTypes WorkspaceOptions::parsed_kv_type() const {
  const auto parsed = [](const char* flag, const std::string& text) {
    const auto type = parse_kv_type(text);
    if (!type)
      throw Error(ErrorKind::kUsage,
                  fmt::format("{} {}: expected f32, f16, bf16, q8 or q4, or for keys q4c", flag, text));
    return *type;
  };
  const KvType both = parsed("--kv-type", kv_type);
  const KvTypes types = {kv_type_k.empty() ? both : parsed("--kv-type-k", kv_type_k),
                         kv_type_v.empty() ? both : parsed("--kv-type-v", kv_type_v)};
  validate_values_type(types.values, kv_type_v.empty() ? "--kv-type" : "--kv-type-v");
  return types;
}

KvSelect WorkspaceOptions::parsed_kv_select() const {
  return kv_select.empty() ? KvSelect{} : parse_kv_select(kv_select);
}

Workspace::Workspace(const WorkspaceOptions& options, NeedsTokenizer needs_tokenizer, Workspace* beside)
    : options_(options), name_(options.model), beside_(beside) {
  options_.validate();
  static_cast<void>(chosen_cpu_path());  // a wrong JERICHO_CPU is said before any work
  pool_ = beside != nullptr ? beside->pool_ : make_pool(options_);
  io_ = beside != nullptr ? beside->io_ : std::shared_ptr<IoBackend>(make_io_backend());
  file_ = open_model(options_.model);
  config_ = with_context([&] { return name_; }, [&] { return read_config(*file_); });
  weights_ = WeightLayout::of_file(config_, *file_);
  open_adapters(file_->format());
  if (needs_tokenizer == NeedsTokenizer::kYes) {
    tokenizer_ = load_tokenizer(*file_);
    for (const std::string& note : tokenizer_->notes()) fmt::print(stderr, "note: {}\n", note);
  }
  std::vector<std::string> big;  // token lists and merges: of no use any more, unlike chat templates
  for (const auto& [key, value] : file_->metadata().entries()) {
    if (key.starts_with("tokenizer.") && !key.starts_with("tokenizer.chat_template")) big.push_back(key);
  }
  for (const std::string& key : big) file_->metadata().erase(key);
}

Workspace::Workspace(const WorkspaceOptions& options, ModelConfig config, DType dtype)
    : options_(options),
      name_(config.architecture),
      config_(std::move(config)),
      weights_(WeightLayout::of_shape(config_, dtype)) {
  options_.validate();
  pool_ = make_pool(options_);
  io_ = make_io_backend();
  open_adapters(ModelFormat::kHuggingFace);
}

void Workspace::open_adapters(ModelFormat base) {
  if (options_.adapters.empty()) return;
  std::vector<AdapterChoice> choices;
  for (const std::string& adapter : options_.adapters) choices.push_back(parse_adapter_choice(adapter));
  adapters_.emplace(choices, config_, base);
}

Workspace::~Workspace() = default;

const Tokenizer& Workspace::tokenizer() const {
  if (!tokenizer_) throw Error(ErrorKind::kInput, name_ + ": this verb was not given a tokenizer");
  return *tokenizer_;
}

Budget Workspace::parsed_budget() const {
  const AvailableMemory memory = available_memory();
  Capacity capacity{.ram_total = memory.total, .ram_available = memory.available};
  if (!options_.scratch.empty())
    capacity.disk_available = {static_cast<std::int64_t>(std::filesystem::space(options_.scratch).available)};
  return parse_budget(options_.memory, capacity, {.overcommit = options_.overcommit});
}

Machine Workspace::machine(Bytes growth) const {
  Machine machine{
      .tokenizer = tokenizer_ ? tokenizer_->memory_bytes() : Bytes{}, .growth = growth, .threads = pool_->threads()};
  machine.scratch_io = io_backend_bytes(io_->name() == "io_uring" ? IoChoice::kUring : IoChoice::kThreads);
  if (beside_ != nullptr) return machine;  // the runtime is in the books already
  prefault_code();
  malloc_trim(0);
  const ProcessMemory now = read_process_memory();
  machine.io_ring = machine.scratch_io;
  machine.runtime = now.rss - machine.tokenizer - machine.io_ring;
  machine.startup_peak = now.peak_rss;
  return machine;
}

void Workspace::refuse(DoesNotFit refusal, Bytes kept) const {
  refusal.budget += kept;
  refusal.smallest_budget += kept;
  refusal.whole_budget += kept;
  if (refusal.with_scratch) *refusal.with_scratch += kept;
  if (options_.json) {
    nlohmann::json table = {{"error", "does not fit"},
                            {"budget_bytes", refusal.budget.count},
                            {"smallest_budget_bytes", refusal.smallest_budget.count},
                            {"weights_bytes", refusal.weights.count},
                            {"kv_bytes", refusal.smallest.of(Purpose::kKvPages).count},
                            {"context", refusal.smallest.context}};
    if (refusal.with_scratch) table["smallest_budget_with_scratch_bytes"] = refusal.with_scratch->count;
    fmt::print("{}\n", table.dump());
  }
  throw Error(ErrorKind::kBudget, with_name(refusal, name_));
}

InferenceWish Workspace::with_flags(InferenceWish wish) const {
  if (options_.context) wish.context = options_.context;
  if (options_.chunk) wish.chunk = options_.chunk;
  wish.kv_type = options_.parsed_kv_type();
  wish.kv_rotate = options_.kv_rotate;
  wish.kv_select = options_.parsed_kv_select();
  wish.scratch = !options_.scratch.empty();
  if (adapters_) wish.adapters = adapters_->shape(weights_, pool_->threads());
  wish.prefix_store = !options_.prefix_store.empty() && config_.state_space_layers() == 0;
  return wish;
}

Bytes Workspace::cost_beside(const InferenceWish& wish) const {
  constexpr Bytes kUnlimited{std::int64_t{1} << 62};
  return std::get<Plan>(plan_inference(config_, weights_, machine({}), kUnlimited, with_flags(wish))).peak();
}

std::optional<Plan> Workspace::outlook(const InferenceWish& wish, Bytes growth) const {
  auto outcome = plan_inference(config_, weights_, machine(growth), parsed_budget().ram, with_flags(wish));
  if (auto* plan = std::get_if<Plan>(&outcome)) return std::move(*plan);
  return std::nullopt;
}

void Workspace::plan_and_load(const InferenceWish& wish, Bytes growth, const std::stop_token& stop, Bytes kept) {
  const auto start = std::chrono::steady_clock::now();
  budget_ = beside_ != nullptr ? beside_->budget_ : parsed_budget();
  const Bytes free = (beside_ != nullptr ? beside_->ledger_->free(Tier::kRam) : budget_.ram) - kept;
  auto outcome = plan_inference(config_, weights_, machine(growth), free, with_flags(wish));
  if (const auto* refusal = std::get_if<DoesNotFit>(&outcome)) refuse(*refusal, budget_.ram - free);
  plan_ = std::get<Plan>(std::move(outcome));
  if (!plan_.weights.whole)
    fmt::print(stderr, "{}", streaming_note(plan_, weights_, Speeds(threads(), chosen_cpu_path())));
  if (plan_.selection) fmt::print(stderr, "note: approximate attention: {}\n", jericho::name(plan_.selection->select));
  ledger_ = beside_ != nullptr ? beside_->ledger_ : std::make_shared<Ledger>(LedgerCaps{.ram = budget_.ram});
  context_.emplace(Context{*ledger_, *pool_, kernels_for(chosen_cpu_path())});
  for (const Purpose purpose : {Purpose::kRuntime, Purpose::kTokenizer, Purpose::kIoRing, Purpose::kMargin}) {
    standing_.push_back(ledger_->require(Tier::kRam, purpose, plan_.of(purpose)));
    if (purpose != Purpose::kMargin) standing_.back().commit(standing_.back().size());
  }
  const Bytes disk = plan_.cold.scratch.total() + (plan_.prefix ? plan_.prefix->disk_bytes() : Bytes{});
  ledger_->set_cap(Tier::kDisk, budget_.disk ? *budget_.disk : ledger_->cap(Tier::kDisk) + disk);
  Progress progress("loading " + name_);
  const auto show = [&](Bytes done, Bytes total) { progress.update(done.count, total.count); };
  model_ =
      file_ ? with_context([&] { return "load " + name_; },
                           [&] { return Model::load(*context_, config_, weights_, *file_, plan_, *io_, stop, show); })
            : Model::random(*context_, config_, weights_, 1, plan_.limits.adapter_rank);
  if (adapters_) {
    adapters_->load(*context_, config_, weights_, file_.get(), *io_, stop);
    fmt::print(stderr, "{}", adapters_->describe());
  }
  // A budget that was named is a promise: its memory is taken now. What `auto` chose is taken as it is used.
  session_ = std::make_unique<Session>(*context_, *model_, plan_,
                                       budget_.automatic ? KvBacking::kOnDemand : KvBacking::kPopulate,
                                       ScratchOptions{.dir = options_.scratch, .encrypt = options_.scratch_encrypt});
  if (adapters_) session_->adapt_by_default(adapters_->list());
  open_prefix_store();
  least_context_ = options_.context ? plan_.context : std::min(plan_.context, wish.context_needed);
  if (beside_ == nullptr) pressure_ = std::make_unique<PressureWatch>();
  load_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void Workspace::open_prefix_store() {
  if (options_.prefix_store.empty() || !file_) return;
  if (!plan_.prefix) {
    fmt::print(stderr, "note: --prefix-store: {} keeps states beside keys and values, which no store holds yet\n",
               name_);
    return;
  }
  const Sha256 model = model_fingerprint(*file_), kv = kv_fingerprint(plan_.kv, plan_.long_context);
  const std::string adapter = adapters_ ? adapters_->fingerprint() : std::string();
  const PrefixStoreOptions options = {options_.prefix_store, *plan_.prefix,
                                      root_key({.model = model, .kv = kv, .adapter = adapter, .tenant = {}})};
  Arena buffer(ledger_->require(Tier::kRam, Purpose::kKvPrefix, arena_bytes(options.shape.record_bytes())),
               {.populate = true});
  prefix_index_ = ledger_->require(Tier::kRam, Purpose::kKvPrefix, options.shape.meta_bytes());
  prefix_index_.commit(prefix_index_.size());
  prefix_store_ = std::make_unique<PrefixStore>(
      options, std::move(buffer), ledger_->require(Tier::kDisk, Purpose::kKvPrefix, options.shape.disk_bytes()),
      make_io_backend());
  prefixes_.emplace(*prefix_store_, *session_,
                    root_key({.model = model, .kv = kv, .adapter = adapter, .tenant = options_.tenant}));
}

void Workspace::relieve() {
  const std::string who = pressure_ ? pressure_->take() : std::string();
  if (who.empty()) return;
  const Bytes before = ledger_->cap(Tier::kRam);
  const Bytes target{before.count / 10 * 9};
  const auto reserved = [&] { return ledger_->snapshot().total(Tier::kRam).reserved; };
  ledger_->set_cap(Tier::kRam, target);
  Bytes given = reserved() > target ? session_->give_back(reserved() - target, least_context_) : Bytes{};
  if (reserved() > target) given += model_->give_back(reserved() - target);
  ledger_->set_cap(Tier::kRam, std::max(target, reserved()));
  fmt::print(stderr, "\nnote: {} asks for memory: {} given back, the budget is {} now, was {}{}\n", who,
             format_bytes(given), format_bytes(ledger_->cap(Tier::kRam)), format_bytes(before),
             reserved() > target ? "; the rest is in use" : "");
}

std::string Workspace::memory_report() const {
  const LedgerSnapshot books = ledger_->snapshot();
  const ProcessMemory kernel = read_process_memory();
  std::string text =
      fmt::format("memory            {:>10}  {:>10}   budget {}\n", "planned", "peak", format_bytes(budget_.ram));
  for (std::size_t i = 0; i < kPurposes; ++i) {
    const LedgerCount& cell = books.cell(Tier::kRam, static_cast<Purpose>(i));
    if (cell.peak_reserved == Bytes{}) continue;
    text += fmt::format("  {:<16}{:>10}  {:>10}\n", jericho::name(static_cast<Purpose>(i)),
                        format_bytes(cell.peak_reserved), format_bytes(cell.peak_used));
  }
  const LedgerCount& total = books.total(Tier::kRam);
  text += fmt::format("  {:<16}{:>10}  {:>10}   kernel (VmHWM) {}\n", "at once", format_bytes(total.peak_reserved),
                      format_bytes(total.peak_used), format_bytes(kernel.peak_rss));
  if (const auto counts = model_->weights().expert_counts()) {
    const std::int64_t asked = counts->hits + counts->foreseen + counts->reads - counts->expected;
    text += fmt::format("  experts: {} slots for {}; {} asked for, {} of them in memory, {} on their way; {} read\n",
                        plan_.weights.experts.slots, plan_.weights.experts.experts, asked, counts->hits,
                        counts->foreseen, counts->reads);
  }
  if (const Bytes disk = books.cell(Tier::kDisk, Purpose::kKvPages).peak_used; disk > Bytes{})
    text += fmt::format("  {:<16}{:>10}  {:>10}   in {}\n", "disk", format_bytes(disk), format_bytes(disk),
                        options_.scratch);
  return text;
}

std::optional<Bytes> Workspace::cold_bytes() const {
  if (session_->cold() == nullptr) return std::nullopt;
  return session_->cold()->step_bytes();
}

nlohmann::json Workspace::memory_json() const {
  const LedgerSnapshot books = ledger_->snapshot();
  nlohmann::json purposes = nlohmann::json::object();
  for (std::size_t i = 0; i < kPurposes; ++i) {
    const LedgerCount& cell = books.cell(Tier::kRam, static_cast<Purpose>(i));
    if (cell.peak_reserved == Bytes{}) continue;
    purposes[std::string(jericho::name(static_cast<Purpose>(i)))] = {{"planned_bytes", cell.peak_reserved.count},
                                                                     {"peak_bytes", cell.peak_used.count}};
  }
  const LedgerCount& total = books.total(Tier::kRam);
  nlohmann::json experts = nullptr;
  if (const auto counts = model_->weights().expert_counts()) {
    experts = {{"slots", plan_.weights.experts.slots},
               {"of", plan_.weights.experts.experts},
               {"hits", counts->hits},
               {"foreseen", counts->foreseen},
               {"reads", counts->reads},
               {"expected", counts->expected}};
  }
  return {{"budget_bytes", budget_.ram.count},
          {"planned_peak_bytes", total.peak_reserved.count},
          {"ledger_peak_bytes", total.peak_used.count},
          {"kernel_peak_bytes", read_process_memory().peak_rss.count},
          {"disk_bytes", books.total(Tier::kDisk).peak_used.count},
          {"experts", experts},
          {"purposes", purposes}};
}

}  // namespace jericho::cli
