// When a workload outgrows the machines there will be: devices with dates, rates at which arithmetic, bandwidth and
// capacity grow after the newest of them, workloads that grow too; and for each the first month in which it starves,
// and of what.
// Start at read_roadmap() and follow().                                              Details: docs/audit.md#roadmaps
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "audit/bounds.h"
#include "audit/device.h"
#include "audit/model_work.h"

namespace jericho {

struct Growth {  // factors per year
  double compute = 1, bandwidth = 1, capacity = 1;
};

struct Workload {
  std::string name{};
  double context = 4096;  // at the roadmap's start, as all that follows
  double batch = 1;
  double tokens_per_second = 1;  // of each sequence, at least
  double prompt = 512;
  double first_token_seconds = 5;                                      // at most
  double cards = 1;                                                    // of the device, split without loss
  double context_growth = 1, batch_growth = 1, parameters_growth = 1;  // factors per year
};

struct Roadmap {
  int start = 0, end = 0;  // months, parse_month()
  std::vector<Device> devices{};
  Growth growth{};
  std::vector<Workload> workloads{};
};

// Error(kInput) names `what`, the object and the field. `known` are devices that it may name.
Roadmap read_roadmap(std::string_view text, std::string_view what, const DeviceList& known);

// What a workload needs of what there is, each as a part of it: above 1 it starves.
struct Shortage {
  double capacity = 0, bandwidth = 0, compute = 0;
  [[nodiscard]] double worst() const { return std::max(capacity, std::max(bandwidth, compute)); }
  [[nodiscard]] Resource resource() const;  // of the worst
};

struct RoadmapPoint {
  int month = 0;
  std::string device{};  // that does best; empty: there is none yet
  bool extrapolated = false;
  Shortage shortage{};
};

struct WorkloadFate {
  std::string workload{};
  std::optional<RoadmapPoint> starves{};  // first; nothing: not within the roadmap
  std::vector<RoadmapPoint> years{};      // the start, and every year after it
};

std::vector<WorkloadFate> follow(const ModelView& model, KvTypes type, const Roadmap& roadmap);

// At `month`: of the devices that there are, the one with the least shortage.
RoadmapPoint best_at(const ModelView& model, KvTypes type, const Roadmap& roadmap, const Workload& workload, int month);

}  // namespace jericho
