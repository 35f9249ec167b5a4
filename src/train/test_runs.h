// Whole training runs on a small text, for tests.
#pragma once

#include <csignal>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/test_data.h"
#include "kernels/kernels.h"
#include "memory/temp_folder.h"
#include "models/families.h"
#include "text/load_tokenizer.h"
#include "train/trainer.h"

namespace jericho {

inline constexpr const char* kStories[] = {"the cat sat on the mat", "the dog ran to the cat and the cat ran away",
                                           "a bird sang", "once there was a dog who sat on a mat all day"};

struct RunSetup {
  RunSetup() {
    std::ofstream text(folder.path() / "text.txt");
    for (int copies = 0; copies < 10; ++copies) {
      for (const char* story : kStories) text << story << "\n<|endoftext|>\n";
    }
  }
  TrainOptions options(const std::string& name = "run") const {
    TrainOptions o;
    o.output = folder.path() / name;
    o.tokenizer = test_source("text/testdata/byte-level/tokenizer.json");
    o.train_files = o.valid_files = {(folder.path() / "text.txt").string()};
    o.model = {{"architectures", {"LlamaForCausalLM"}},
               {"hidden_size", 32},
               {"intermediate_size", 48},
               {"num_hidden_layers", 2},
               {"num_attention_heads", 4},
               {"num_key_value_heads", 2},
               {"vocab_size", tokenizer(o)->size()},
               {"max_position_embeddings", 64},
               {"rms_norm_eps", 1e-5},
               {"tie_word_embeddings", true}};
    o.sequence_tokens = 64;
    o.step_sequences = 4;
    o.steps = 12;
    o.schedule = {.peak = 0.01, .warmup = 2};
    o.eval_every = 5;
    o.save_every = 3;
    o.log_every = 1;
    return o;
  }
  static std::unique_ptr<Tokenizer> tokenizer(const TrainOptions& o) { return load_tokenizer_file(o.tokenizer); }
  TempFolder folder;
};

struct Outcome {
  bool done = false;
  bool fused = false;
  std::vector<double> losses{}, norms{};
  double eval_loss = 0;
  std::vector<std::byte> weights{};
};

struct How {
  int threads = 2;
  Bytes room = 1_GiB;
  Index stop_after = -1;  // this step
  Index die_after = -1;   // steps of this start: as if another process had killed this one
};

inline Outcome train(const TrainOptions& options, const How& how = {}) {
  Outcome outcome;
  flush_subnormals();
  Ledger ledger(LedgerCaps{.ram = 1_GiB});
  ThreadPool pool(how.threads);
  const Context context{ledger, pool, kernels_for(chosen_cpu_path())};
  const ModelConfig config = config_from_json(options.model);
  const TrainingLayout layout(config, options.weights);
  const auto tokenizer = RunSetup::tokenizer(options);
  const TokenStore texts = TokenStore::read(context, options.train_files, {}, 65, *tokenizer, {}, {});
  const TrainingPlan plan = plan_training(config, layout, options, how.threads, how.room);
  outcome.fused = plan.fused;
  Trainer trainer(context, options, config, layout, plan, texts, &texts, nullptr,
                  {{"config.json", options.model.dump()}});
  std::stop_source stop;
  TrainWatch watch;
  watch.step = [&](const StepReport& r) {
    outcome.losses.push_back(r.loss);
    outcome.norms.push_back(r.gradient_norm);
    if (r.step == how.stop_after) stop.request_stop();
    if (std::ssize(outcome.losses) == how.die_after) std::raise(SIGKILL);
  };
  watch.eval = [&](const EvalReport& r) { outcome.eval_loss = r.loss; };
  outcome.done = trainer.run(stop.get_token(), watch);
  std::ifstream in(options.output / "checkpoints" / "latest" / "model.safetensors", std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(in), {});
  const auto span = std::as_bytes(std::span(bytes));
  outcome.weights.assign(span.begin(), span.end());
  return outcome;
}

}  // namespace jericho
