// Reading, growing, and following month by month: see roadmap.h.
#include "audit/roadmap.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "audit/json_fields.h"
#include "base/error.h"
#include "formats/json_file.h"

namespace jericho {
namespace {

using Json = nlohmann::json;

constexpr double kMostGrowth = 1000;  // per year

double rate(const JsonFields& fields, const char* key) {
  const double value = fields.positive(key).value_or(1);
  if (value > kMostGrowth) fields.fail(key, fmt::format("a factor per year of at most {}", kMostGrowth));
  return value;
}

Growth read_growth(const Json* object, std::string_view what) {
  if (object == nullptr) return {};
  const JsonFields fields(*object, fmt::format("{}: growth", what));
  fields.only({"compute", "bandwidth", "capacity"});
  return {rate(fields, "compute"), rate(fields, "bandwidth"), rate(fields, "capacity")};
}

Workload read_workload(const Json& object, std::string_view what, std::size_t number) {
  const JsonFields fields(object, fmt::format("{}: workload {}", what, number));
  fields.only({"name", "context", "batch", "tokens_per_second", "prompt", "first_token_seconds", "cards", "growth"});
  Workload w;
  w.name = fields.text("name").value_or(fmt::format("workload {}", number));
  constexpr Index kMost = Index{1} << 40;
  const auto take = [&](const char* key, double& to) {
    if (const auto value = fields.whole(key, 1, kMost)) to = static_cast<double>(*value);
  };
  take("context", w.context);
  take("batch", w.batch);
  take("prompt", w.prompt);
  take("cards", w.cards);
  if (const auto value = fields.positive("tokens_per_second")) w.tokens_per_second = *value;
  if (const auto value = fields.positive("first_token_seconds")) w.first_token_seconds = *value;
  if (const Json* growth = fields.object("growth")) {
    const JsonFields rates(*growth, fmt::format("{}: growth", fields.where()));
    rates.only({"context", "batch", "parameters"});
    w.context_growth = rate(rates, "context");
    w.batch_growth = rate(rates, "batch");
    w.parameters_growth = rate(rates, "parameters");
  }
  return w;
}

Device read_device(const Json& entry, std::string_view what, const DeviceList& known) {
  if (entry.is_string()) {
    try {
      return known.named(entry.get<std::string>());
    } catch (const Error& error) {
      throw Error(ErrorKind::kInput, fmt::format("{}: {}", what, error.what()));
    }
  }
  const Device* base = nullptr;
  for (const Device& device : known.all()) {
    if (entry.is_object() && entry.contains("name") && entry["name"] == device.name) base = &device;
  }
  return parse_device(entry, base, what);
}

double growth_over(double per_year, int months) { return std::pow(per_year, months / 12.0); }

Shortage shortage_on(const ModelView& model, KvTypes type, const Workload& w, const Device& one, int months) {
  const Device device = one.times(w.cards);
  const double context = w.context * growth_over(w.context_growth, months);
  const double batch = w.batch * growth_over(w.batch_growth, months);
  const double size = growth_over(w.parameters_growth, months);
  const auto grown = [&](std::vector<Op> ops) {
    for (Op& op : ops) {
      op.weight_bytes *= size;
      if (op.part != Part::kAttention && op.part != Part::kNorms) {
        for (double& operations : op.operations) operations *= size;
      }
    }
    return ops;
  };
  const Bound step = bound_of(grown(decode_ops(model, type, batch, context)), batch, device);
  const Bound prompt = bound_of(grown(prefill_ops(model, type, w.prompt, w.prompt)), w.prompt, device);
  const double bytes =
      size * static_cast<double>(checkpoint_bytes(model.weights).count) +
      batch * (kv_need(model.config, type, context) + static_cast<double>(state_bytes(model.config, type).count));
  return {
      .capacity = bytes / static_cast<double>(device.memory.count),
      .bandwidth = std::max(step.read_seconds * w.tokens_per_second, prompt.read_seconds / w.first_token_seconds),
      .compute = std::max(step.compute_seconds * w.tokens_per_second, prompt.compute_seconds / w.first_token_seconds)};
}

}  // namespace

Roadmap read_roadmap(std::string_view text, std::string_view what, const DeviceList& known) {
  const Json json = parse_json(text, what);
  const JsonFields fields(json, std::string(what));
  fields.only({"start", "end", "devices", "growth", "workloads"});
  Roadmap roadmap;
  const auto start = fields.month("start"), end = fields.month("end");
  if (!start) fields.fail("start", "a month such as 2025-01");
  if (!end || *end < *start || *end - *start > 12 * 100)
    fields.fail("end", "a month after the start, within a century");
  roadmap.start = *start;
  roadmap.end = *end;
  const Json* devices = fields.list("devices");
  if (devices == nullptr || devices->empty()) fields.fail("devices", "a list of names or devices");
  for (const Json& entry : *devices) {
    roadmap.devices.push_back(read_device(entry, what, known));
    if (!parse_month(roadmap.devices.back().available))
      fields.fail("devices", fmt::format("a month 'available' of '{}'", roadmap.devices.back().name));
  }
  roadmap.growth = read_growth(fields.object("growth"), what);
  const Json* workloads = fields.list("workloads");
  if (workloads == nullptr || workloads->empty()) fields.fail("workloads", "a list of workloads");
  for (const Json& entry : *workloads)
    roadmap.workloads.push_back(read_workload(entry, what, roadmap.workloads.size() + 1));
  return roadmap;
}

Resource Shortage::resource() const {
  if (capacity >= bandwidth && capacity >= compute) return Resource::kCapacity;
  return bandwidth >= compute ? Resource::kBandwidth : Resource::kCompute;
}

RoadmapPoint best_at(const ModelView& model, KvTypes type, const Roadmap& roadmap, const Workload& workload,
                     int month) {
  RoadmapPoint best{.month = month};
  int newest = 0;
  for (const Device& device : roadmap.devices) newest = std::max(newest, *parse_month(device.available));
  for (Device device : roadmap.devices) {
    const int since = *parse_month(device.available);
    if (since > month) continue;
    const bool grows = since == newest && month > newest;
    if (grows) {
      device.bytes_per_second *= growth_over(roadmap.growth.bandwidth, month - newest);
      for (double& peak : device.peaks) peak *= growth_over(roadmap.growth.compute, month - newest);
      device.memory = {static_cast<std::int64_t>(std::min(
          0x1p62, static_cast<double>(device.memory.count) * growth_over(roadmap.growth.capacity, month - newest)))};
    }
    const Shortage shortage = shortage_on(model, type, workload, device, month - roadmap.start);
    if (best.device.empty() || shortage.worst() < best.shortage.worst())
      best = {.month = month, .device = device.name, .extrapolated = grows, .shortage = shortage};
  }
  return best;
}

std::vector<WorkloadFate> follow(const ModelView& model, KvTypes type, const Roadmap& roadmap) {
  std::vector<WorkloadFate> fates;
  for (const Workload& workload : roadmap.workloads) {
    WorkloadFate fate{.workload = workload.name};
    for (int month = roadmap.start; month <= roadmap.end; ++month) {
      const bool year = (month - roadmap.start) % 12 == 0;
      if (!year && fate.starves) continue;
      RoadmapPoint point = best_at(model, type, roadmap, workload, month);
      const bool starves = !point.device.empty() && point.shortage.worst() > 1;
      if (starves && !fate.starves) fate.starves = point;
      if (year) fate.years.push_back(std::move(point));
    }
    fates.push_back(std::move(fate));
  }
  return fates;
}

}  // namespace jericho
