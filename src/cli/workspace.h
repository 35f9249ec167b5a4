// What every verb that runs a model sets up, in the one order that keeps the books honest: allocator and code first, so
// that the runtime's own memory is measured; then file and tokenizer; then the plan; then the ledger and everything
// leased from it. Start at Workspace; plan_and_load() is the middle of it.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/thread_pool.h"
#include "engine/adapters.h"
#include "engine/model.h"
#include "engine/prefix_store.h"
#include "engine/session.h"
#include "engine/stored_prefixes.h"
#include "formats/model_file.h"
#include "kernels/kernels.h"
#include "memory/budget.h"
#include "memory/io.h"
#include "memory/ledger.h"
#include "memory/pressure.h"
#include "models/config.h"
#include "models/weights.h"
#include "ops/context.h"
#include "plan/plan.h"
#include "text/tokenizer.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace jericho::cli {

struct WorkspaceOptions {
  std::string model = "builtin";        // -m, formats/model_file.h
  std::string memory = "auto";          // --memory, memory/budget.h
  bool overcommit = false;              // --memory-overcommit
  int threads = 0;                      // 0: as many as can be kept busy
  std::optional<Index> context{};       // -c
  std::optional<Index> chunk{};         // --chunk
  std::string kv_type = "f16";          // --kv-type, of keys and values
  std::string kv_type_k{};              // --kv-type-k; empty: that
  std::string kv_type_v{};              // --kv-type-v; empty: that
  bool kv_rotate = false;               // --kv-rotate
  std::string kv_select{};              // --kv-select, ops/kv_select.h; empty: every token reads all keys and values
  std::string scratch{};                // --scratch: a folder for keys and values beyond RAM; empty: they must fit
  bool scratch_encrypt = false;         // --scratch-encrypt
  std::string prefix_store{};           // --prefix-store: a folder of pages of earlier prompts; empty: none
  std::string tenant{};                 // --tenant: whose prompts they are
  std::vector<std::string> adapters{};  // --adapter: FOLDER[:SCALE], in the order in which they are added
  bool json = false;

  CLI::Option* add_model_flag(CLI::App& verb);
  void add_flags(CLI::App& verb);
  void add_prefix_flags(CLI::App& verb);
  void validate() const;  // Error(kUsage)
  [[nodiscard]] KvTypes parsed_kv_type() const;
  [[nodiscard]] KvSelect parsed_kv_select() const;
};

enum class NeedsTokenizer { kYes, kNo };

class Workspace {
 public:
  // `beside`, which outlives this one and is loaded before it, shares its threads, its ledger and so its budget.
  Workspace(const WorkspaceOptions& options, NeedsTokenizer needs_tokenizer, Workspace* beside = nullptr);
  // A model without a file: random weights of this shape.
  Workspace(const WorkspaceOptions& options, ModelConfig config, DType dtype);
  ~Workspace();

  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] const ModelFile& file() const { return *file_; }  // of a workspace with a file
  [[nodiscard]] const Tokenizer& tokenizer() const;
  [[nodiscard]] const WeightLayout& weights() const { return weights_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] int threads() const { return pool_->threads(); }

  // What `wish` will take beside another model, with the options' context, chunk and KV type.
  [[nodiscard]] Bytes cost_beside(const InferenceWish& wish) const;

  [[nodiscard]] bool has_tokenizer() const { return tokenizer_ != nullptr; }

  // What the process holds now and what a plan would be made for; `growth` is heap the verb will add.
  [[nodiscard]] Machine machine(Bytes growth) const;
  [[nodiscard]] Bytes named_budget() const { return parsed_budget().ram; }

  // What plan_and_load() of a model that stands alone would do; nothing where it does not fit. Error(kUsage) as there.
  [[nodiscard]] std::optional<Plan> outlook(const InferenceWish& wish, Bytes growth) const;

  // Plans `wish` under the budget, less what is `kept` for a model to be loaded beside this one, and loads the model.
  // When it does not fit, throws Error(kBudget) that says by how much. `growth` is heap the verb will add.
  void plan_and_load(const InferenceWish& wish, Bytes growth, const std::stop_token& stop, Bytes kept = {});

  [[nodiscard]] const Context& context() const { return *context_; }
  [[nodiscard]] const Plan& plan() const { return plan_; }
  [[nodiscard]] Session& session() { return *session_; }
  [[nodiscard]] StoredPrefixes* prefixes() { return prefixes_ ? &*prefixes_ : nullptr; }  // null without --prefix-store
  [[nodiscard]] std::span<const std::byte> weight_bytes() const { return model_->weights().bytes(); }
  [[nodiscard]] double load_seconds() const { return load_seconds_; }

  // Between two steps: where the machine runs short of memory or SIGUSR1 came, lowers the budget by a tenth, gives back
  // what the verb can do without and says so on stderr. Lowers it no further than to what is in use.
  void relieve();

  // What a step reads of keys and values that are not in RAM; nothing where all are.
  [[nodiscard]] std::optional<Bytes> cold_bytes() const;

  // The ledger by purpose, its peak beside the kernel's own: for people, and for scripts.
  [[nodiscard]] std::string memory_report() const;
  [[nodiscard]] nlohmann::json memory_json() const;

 private:
  [[nodiscard]] Budget parsed_budget() const;
  [[nodiscard]] InferenceWish with_flags(InferenceWish wish) const;
  void open_adapters(ModelFormat base);
  void open_prefix_store();
  void refuse(DoesNotFit refusal, Bytes kept) const;

  WorkspaceOptions options_;
  std::string name_;
  Workspace* beside_ = nullptr;
  std::shared_ptr<ThreadPool> pool_;
  std::shared_ptr<IoBackend> io_;
  std::unique_ptr<ModelFile> file_;
  ModelConfig config_;
  WeightLayout weights_;
  std::unique_ptr<Tokenizer> tokenizer_;
  Plan plan_{};
  Budget budget_{};
  std::shared_ptr<Ledger> ledger_;
  std::optional<Context> context_;
  std::vector<Lease> standing_;  // runtime, tokenizer, margin
  std::optional<AdapterSet> adapters_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Session> session_;
  Lease prefix_index_;
  std::unique_ptr<PrefixStore> prefix_store_;
  std::optional<StoredPrefixes> prefixes_;
  double load_seconds_ = 0;
  std::unique_ptr<PressureWatch> pressure_;
  Index least_context_ = 0;  // that relieve() leaves
};

}  // namespace jericho::cli
