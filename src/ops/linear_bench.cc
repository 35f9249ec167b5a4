// How near do the products of whole layers come to the memory, shared out as ops share them? The seven weights of each
// of sixteen layers of the 1.1B shape (hidden 2048, 8192 within, 8 KV heads of 64), one after the other, by one thread
// and by two, for 1, 4, 8 and 32 tokens. The roof is these threads reading as many bytes, or multiplying, whichever is
// nearer.
#include <benchmark/benchmark.h>

#include <array>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/cpu.h"
#include "kernels/bench_roof.h"
#include "kernels/matmul_cases.h"
#include "kernels/random_row.h"
#include "memory/arena.h"
#include "ops/bench_read.h"
#include "ops/linear.h"

namespace jericho {
namespace {

constexpr Index kLayers = 16, kHidden = 2048, kInner = 8192, kKeys = 512;
constexpr std::array kTypes = {DType::kQ4_0, DType::kQ4_K, DType::kQ6_K,  DType::kQ8_0,
                               DType::kF16,  DType::kBF16, DType::kTQ2_0, DType::kQC8};

struct Weight {
  Index rows, cols;
};
constexpr std::array kWeights = {Weight{kHidden, kHidden}, Weight{kKeys, kHidden},  Weight{kKeys, kHidden},
                                 Weight{kHidden, kHidden}, Weight{kInner, kHidden}, Weight{kInner, kHidden},
                                 Weight{kHidden, kInner}};  // q, k, v, o, gate, up, down

// All layers in one mapping, as loading leaves them; strips of random weights again and again.
class Layers {
 public:
  Layers(Ledger& ledger, DType type)
      : arena_(ledger.require(Tier::kRam, Purpose::kWeightsResident, arena_bytes(bytes_of(type))), {.populate = true}) {
    std::byte* at = arena_.bytes().data();
    for (Index layer = 0; layer < kLayers; ++layer) {
      for (const Weight& w : kWeights) {
        const CaseMatrix strip(type, kStripRows, w.cols, 1);
        matrices_.push_back({type, w.rows, w.cols, default_unit(type), at});
        for (Index s = 0; s < w.rows / kStripRows; ++s, at += strip_bytes(type, w.cols).count)
          std::memcpy(at, strip.view.data, strip_bytes(type, w.cols).size());
      }
    }
  }
  [[nodiscard]] const PackedMatrix& at(Index layer, std::size_t weight) const {
    return matrices_[static_cast<std::size_t>(layer) * kWeights.size() + weight];
  }
  [[nodiscard]] std::span<const std::byte> bytes() const { return arena_.bytes(); }
  static Bytes bytes_of(DType type) {
    Bytes layer{};
    for (const Weight& w : kWeights) layer += strip_bytes(type, w.cols) * (w.rows / kStripRows);
    return layer * kLayers;
  }

 private:
  Arena arena_;
  std::vector<PackedMatrix> matrices_;
};

// x in the form of one type, and room for what comes of it.
struct Rows {
  Rows(const Context& context, Index tokens, Index cols, ActivationForms forms)
      : x(random_row(tokens * cols, 2)),
        room(context.ledger.require(Tier::kRam, Purpose::kAct, arena_bytes(size_of(tokens, cols, forms)))),
        scratch(room.bytes()),
        input(context, {x.data(), tokens, cols}, forms, LinearBuffers::take(scratch, forms, tokens, cols)) {}
  static Bytes size_of(Index tokens, Index cols, ActivationForms forms) {
    ScratchSize size;
    static_cast<void>(LinearBuffers::take(size, forms, tokens, cols));
    return size.peak();
  }

  std::vector<float> x;
  Arena room;
  Scratch scratch;
  LinearInput input;
};

void run(benchmark::State& state, DType type, Index tokens, int threads) {
  Ledger ledger{LedgerCaps{.ram = 4_GiB}};
  ThreadPool pool(threads);
  const Context context{ledger, pool, kernels_for(chosen_cpu_path())};
  flush_subnormals();
  const Layers layers(ledger, type);
  ActivationForms forms;
  forms.add(type);
  const Rows narrow(context, tokens, kHidden, forms), wide(context, tokens, kInner, forms);
  std::vector<std::vector<float>> out;
  for (const Weight& w : kWeights) out.emplace_back(static_cast<std::size_t>(tokens * w.rows));
  const auto task = [&](Index layer, std::size_t i) {
    return LinearTask{&layers.at(layer, i), 0, {out[i].data(), tokens, kWeights[i].rows}};
  };
  for (auto _ : state) {
    for (Index layer = 0; layer < kLayers; ++layer) {
      linear_each(context, std::array{task(layer, 0), task(layer, 1), task(layer, 2)}, narrow.input);
      linear_each(context, std::array{task(layer, 3)}, narrow.input);
      linear_gated(context, Activation::kSilu, std::array{GatedTask{task(layer, 4), task(layer, 5)}}, narrow.input);
      linear_each(context, std::array{task(layer, 6)}, wide.input);
    }
    benchmark::DoNotOptimize(out.back().data());
  }
  static std::map<std::pair<DType, int>, double> roofs;
  double& roof = roofs[{type, threads}];
  if (roof == 0) roof = all_threads_read(context, layers.bytes());
  const double bytes = static_cast<double>(Layers::bytes_of(type).count);
  double weights = 0;
  for (const Weight& w : kWeights) weights += static_cast<double>(w.rows * w.cols * kLayers);
  const double operations = 2 * weights * static_cast<double>(tokens);
  const double multiplies = multiply_roof(context.kernels.path, multiplied_by(type)) * threads;
  report_rate(state, "GB/s", bytes * 1e-9);
  report_rate(state, "GOP/s", operations * 1e-9);
  report_rate(state, "of_roof", std::max(bytes / roof, operations / multiplies));
}

void register_all() {
  const std::string path(name(chosen_cpu_path()));
  for (const DType type : kTypes) {
    for (const Index tokens : {1, 4, 8, 32}) {
      for (const int threads : {1, 2}) {
        const std::string id = "layers/" + path + "/" + std::string(name(type)) + "/tokens" + std::to_string(tokens) +
                               "/threads" + std::to_string(threads);
        benchmark::RegisterBenchmark(id.c_str(), [=](benchmark::State& state) {
          run(state, type, tokens, threads);
        })->UseRealTime();
      }
    }
  }
}
[[maybe_unused]] const bool kRegistered = (register_all(), true);

}  // namespace
}  // namespace jericho
