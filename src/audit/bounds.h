// How fast a device can be at most at what a model asks, and which of capacity, bandwidth and arithmetic gives out
// first (Williams et al. 2009; Pope et al. 2022, arXiv:2211.05102). Start at decode_bound() and find_starvation().
#pragma once

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "audit/device.h"
#include "audit/model_work.h"
#include "base/index.h"

namespace jericho {

enum class Resource { kCapacity, kBandwidth, kCompute };
std::string_view name(Resource resource);

struct Bound {
  double seconds = 0;          // of one step
  double tokens = 0;           // that it makes
  double read_seconds = 0;     // of memory alone
  double compute_seconds = 0;  // of arithmetic alone
  Resource resource{};         // that takes longer

  [[nodiscard]] double tokens_per_second() const { return seconds > 0 ? tokens / seconds : 0; }
};

// The sum over the parts, each of which waits for memory or for arithmetic, whichever takes longer. Arithmetic that is
// not known takes no time.
Bound bound_of(const std::vector<Op>& ops, double tokens, const Device& device);

Bound decode_bound(const ModelView& model, const Device& device, KvTypes type, double batch, double context);
Bound prefill_bound(const ModelView& model, const Device& device, KvTypes type, double tokens, double chunk);

// Rows that share one reading of a weight before arithmetic takes longer: ridge x bytes per weight / 2.
double critical_batch(double ridge, double bits_per_weight);

// Whether so many sequences of so many tokens fit.
using Fits = std::function<bool(Index batch, Index context)>;

struct Starvation {
  bool fits = false;                           // what was asked for
  Resource single{};                           // what bounds one sequence's decoding at this context
  std::optional<Index> batch_of_capacity{};    // the first that does not fit at this context
  std::optional<Index> context_of_capacity{};  // the first that does not fit at this batch
  std::optional<Index> batch_of_compute{};     // the first whose step waits for arithmetic at this context
  std::optional<Index> tokens_of_compute{};    // of a prompt, from which on reading it waits for arithmetic
  double crossover = 0;  // tokens of all sequences whose keys and values weigh as much as the weights; 0: never
  Resource first{};      // that gives out when the batch grows
};

inline constexpr Index kMostSequences = 4096;

Starvation find_starvation(const ModelView& model, const Device& device, KvTypes type, Index batch, Index context,
                           Index model_context, const Fits& fits);

// The parts of a machine's work held against its roofs, each 0 to 1 and a little above.
struct Utilization {
  double bandwidth = 0;
  double compute = 0;
  double disk = 0;  // of weights that stream
};
enum class Verdict { kMemoryBound, kComputeBound, kOverheadBound, kBalanced, kDiskBound };
Verdict verdict_of(const Utilization& utilization);
std::string_view name(Verdict verdict);                        // "memory-bound", ...
std::string_view explanation(const Utilization& utilization);  // what that level of use means, and what helps

}  // namespace jericho
