// Federated averaging (McMahan et al. 2017, arXiv:1602.05629, algorithm 1): the weights of models that were trained
// apart from one start, each by its share of all samples. Clients are read one after the other, so that memory does not
// depend on how many there are. Per value, over the clients in the order given, from +0: sum = fma(float(n_k / n), w_k,
// sum). Start at ModelAverage::write().
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "base/bytes.h"
#include "models/training_layout.h"
#include "ops/context.h"
#include "train/start_model.h"

namespace jericho {

struct Client {
  std::filesystem::path model{};
  double samples = 1;
};

class ModelAverage {  // one thread
 public:
  // From headers alone. Error(kUsage) for samples that are no share, Error(kInput) that names the client whose model is
  // not that of the first; others as StartModel.
  explicit ModelAverage(std::vector<Client> clients);

  [[nodiscard]] Bytes buffer_bytes(int threads) const;
  [[nodiscard]] Index parameters() const { return layout_->parameters(); }
  // A Hugging Face directory of fp32 weights with the first client's words and tokenizer; it takes its name when all is
  // on the disk. `buffers` has buffer_bytes() and starts on a multiple of 4096. Error(kUsage) when `output` is there
  // already, Error(kIo), Error(kInterrupted).
  void write(const Context& context, const std::filesystem::path& output, std::span<std::byte> buffers,
             const std::stop_token& stop, const std::function<void(Index done, Index clients)>& progress);

 private:
  std::vector<Client> clients_;
  std::vector<std::unique_ptr<StartModel>> models_;
  std::unique_ptr<TrainingLayout> layout_;
};

}  // namespace jericho
