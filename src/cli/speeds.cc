// Speeds beside their roofs: see speeds.h.
#include "cli/speeds.h"

#include <array>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace jericho::cli {

Speeds::Speeds(int threads, CpuPath path) : path_(path), kept_(kept_record(machine_identity(threads, path))) {}

std::optional<Held> Speeds::tokens(double per_second, const TokenCost& cost) const {
  if (!kept_.record) return std::nullopt;
  return hold(per_second, cost, (*kept_.record)[MachineFigure::kDramRead],
              kept_.record->multiply_roof(cost.kind, path_), (*kept_.record)[MachineFigure::kDiskRead]);
}

std::optional<Held> Speeds::disk(Bytes read, Bytes written, double seconds) const {
  if (!kept_.record || seconds <= 0) return std::nullopt;
  const MachineRecord& record = *kept_.record;
  const auto demand = [&](MachineFigure figure, Bytes bytes) {
    return Demand{record[figure].value_or(Roof{}), static_cast<double>(bytes.count) / seconds};
  };
  const std::array demands = {demand(MachineFigure::kDiskRead, read), demand(MachineFigure::kDiskWrite, written)};
  return hold(demands);
}

std::optional<double> Speeds::disk_roof(const TokenCost& cost) const {
  if (!kept_.record || cost.disk_bytes <= 0) return std::nullopt;
  const std::optional<Roof> read = (*kept_.record)[MachineFigure::kDiskRead];
  if (!read) return std::nullopt;
  return read->value * 1e9 / cost.disk_bytes;
}

std::string Speeds::hint() const {
  if (kept_.record) return {};
  const std::string why = kept_.note.empty() ? "" : kept_.note + "; ";
  return fmt::format("note: {}jericho bench --machine measures the roofs of these speeds, once\n", why);
}

std::string of_roof(const std::optional<Held>& held) {
  if (!held) return {};
  return fmt::format("{:.1f} % of {} {:.3g} {}", 100 * held->fraction, held->roof.name, held->roof.value,
                     held->roof.unit);
}

std::string after_speed(const std::optional<Held>& held) { return held ? " " + of_roof(held) : ""; }

nlohmann::json to_json(const std::optional<Held>& held) {
  if (!held) return nullptr;
  return {
      {"name", held->roof.name}, {"value", held->roof.value}, {"unit", held->roof.unit}, {"fraction", held->fraction}};
}

}  // namespace jericho::cli
