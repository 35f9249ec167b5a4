// Federated averaging of low-rank adapters that were trained apart beside one base, each by its share of all samples.
// The average of B_k A_k is not the product of the averages of A_k and B_k, so there are three ways:
//   stack     A = [A_1; ...; A_K], B = [w_1 s_1 B_1, ..., w_K s_K B_K], scale 1: exact, of rank sum r_k (FLoRA,
//             Wang et al. 2024, arXiv:2409.05976, section 3)
//   freeze-a  all A_k are the same bits, and B = sum w_k B_k: exact (FFA-LoRA, Sun et al. 2024, arXiv:2403.12313)
//   avg       A = sum w_k A_k, B = sum w_k B_k, magnitudes alike: small, and biased by what the clients differ in
// Sums are those of average.h. Start at AdapterAverage::write().
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "formats/adapter_file.h"
#include "train/average.h"

namespace jericho {

enum class AdapterMode { kStack, kFreezeA, kAverage };

// "stack", "freeze-a", "avg". Error(kUsage).
AdapterMode parse_adapter_mode(const std::string& text);

class AdapterAverage {  // one thread
 public:
  // From headers. Error(kUsage) for samples that are no share, Error(kInput) that names the client that does not adapt
  // what the first does, or not in a way that the mode can average, Error(kUnsupported) for DoRA where it is stacked.
  AdapterAverage(std::vector<Client> clients, AdapterMode mode);

  [[nodiscard]] Bytes buffer_bytes() const;
  [[nodiscard]] Index parameters() const;
  // A PEFT folder of fp32 tensors, which takes its name when all is on the disk. `buffers` has buffer_bytes().
  // Error(kInput) for a value that is no number, and under freeze-a for matrices A that differ.
  void write(const std::filesystem::path& output, std::span<std::byte> buffers, const std::stop_token& stop);

 private:
  [[nodiscard]] Bytes part_bytes() const;
  // The values of one client's tensor; Error(kInput) where one is no number.
  void read(const TensorInfo& tensor, std::size_t client, std::span<std::byte> staging, std::span<float> to) const;
  [[nodiscard]] Index rank(std::size_t module) const;  // of the result
  [[nodiscard]] float share(std::size_t client) const;
  [[nodiscard]] AdapterSettings settings() const;

  std::vector<Client> clients_;
  AdapterMode mode_;
  std::vector<std::unique_ptr<AdapterFile>> files_;
  double samples_ = 0;
};

}  // namespace jericho
