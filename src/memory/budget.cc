// The grammar of --memory. Start at parse_budget(); parse_size() reads one SPEC.
#include "memory/budget.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "memory/proc_text.h"

namespace jericho {
namespace {

constexpr std::string_view kAccepted =
    "accepted are sizes such as 8GiB or 8GB, 80%, auto and max, and for other tiers ram=, disk=, dev=";

struct TierCapacity {
  std::string_view name;
  Bytes total{};      // what percent is of
  Bytes available{};  // what auto and max are of
  int auto_percent = 0;
  Bytes margin{};
};

std::string lower(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

[[noreturn]] void refuse(const BudgetOptions& options, std::string_view value, std::string_view why) {
  throw Error(ErrorKind::kUsage, fmt::format("{} {}: {}; {}", options.flag, value, why, kAccepted));
}

// A decimal number that fills `text`, without sign or exponent.
std::optional<double> parse_decimal(std::string_view text) {
  double number = 0;
  if (text.empty() || std::isdigit(static_cast<unsigned char>(text.front())) == 0) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

Bytes percent_of(Bytes total, double percent) {
  return {static_cast<std::int64_t>(std::floor(static_cast<double>(total.count) * percent / 100))};
}

Bytes parse_size(const std::string& spec, const TierCapacity& tier, const BudgetOptions& options) {
  if (spec == "auto") return percent_of(tier.available, tier.auto_percent);
  if (spec == "max") return std::max(Bytes{}, tier.available - tier.margin);
  Bytes size;
  if (spec.ends_with('%')) {
    const std::string_view digits = std::string_view(spec).substr(0, spec.find_last_not_of(" %") + 1);
    const std::optional<double> percent = parse_decimal(digits);
    if (!percent || spec.find('%') + 1 != spec.size()) refuse(options, spec, "not a percentage");
    if (*percent > 1e6) refuse(options, spec, "too large");
    size = percent_of(tier.total, *percent);
  } else if (parse_decimal(spec)) {
    refuse(options, spec, fmt::format("a size needs a unit, such as {0}GiB (1024^3) or {0}GB (1000^3)", spec));
  } else if (const std::optional<Bytes> parsed = parse_bytes(spec)) {
    size = *parsed;
  } else {
    refuse(options, spec, spec.starts_with('-') ? "a size cannot be negative" : "not a size");
  }
  if (size.count <= 0) refuse(options, spec, "nothing would be left to work with");
  if (size > tier.total && !options.overcommit) {
    refuse(options, spec,
           fmt::format("more than the {} of {} here ({} B); --memory-overcommit allows it", format_bytes(tier.total),
                       tier.name, tier.total.count));
  }
  return size;
}

}  // namespace

Bytes default_margin(Bytes ram) { return std::max(64_MiB, Bytes{ram.count / 50}); }

Budget parse_budget(std::string_view spec, const Capacity& capacity, const BudgetOptions& options) {
  const TierCapacity ram{"ram", capacity.ram_total, capacity.ram_available, 90, default_margin(capacity.ram_available)};
  const TierCapacity disk{"disk", capacity.disk_available, capacity.disk_available, 0, {}};
  const TierCapacity device{"dev", capacity.device_total, capacity.device_available, 92, {}};
  Budget budget;
  std::optional<Bytes> ram_size;
  const std::string all = lower(spec);
  if (all.empty() || all.back() == ',') refuse(options, fmt::format("'{}'", spec), "a size is missing");
  const auto set = [&](std::optional<Bytes>& place, const TierCapacity& tier, const std::string& value) {
    if (place) refuse(options, all, fmt::format("two sizes for {}", tier.name));
    place = parse_size(value, tier, options);
  };
  bool first = true;
  for (const std::string_view part : split(all, ',')) {
    const std::size_t equals = part.find('=');
    const std::string tier = equals == std::string_view::npos ? (first ? "ram" : "") : lower(part.substr(0, equals));
    const std::string value = lower(equals == std::string_view::npos ? part : part.substr(equals + 1));
    first = false;
    if (tier == "ram") {
      set(ram_size, ram, value);
      budget.automatic = value == "auto";
    } else if (tier == "disk") {
      set(budget.disk, disk, value);
    } else if (tier == "dev" || tier == "dev0") {
      if (capacity.device_total.count == 0) refuse(options, part, "no device on this machine");
      set(budget.device, device, value);
    } else {
      refuse(options, part, tier.empty() ? "only the first size may come without a tier" : "no such tier");
    }
  }
  if (!ram_size) budget.automatic = true;
  budget.ram = ram_size ? *ram_size : parse_size("auto", ram, options);
  if (budget.ram.count == 0) refuse(options, all, "no memory is available on this machine");
  return budget;
}

}  // namespace jericho
