// Every speed a verb prints, held against the roof that bounds it, as `jericho bench --machine` measured it. Nothing is
// measured here: where no figures were kept, a speed stands alone and hint() says what would give its roof. Start at
// Speeds.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "base/bytes.h"
#include "cli/machine_file.h"
#include "plan/speed.h"

namespace jericho::cli {

class Speeds {
 public:
  Speeds(int threads, CpuPath path);  // reads what was kept for this machine

  [[nodiscard]] std::optional<Held> tokens(double per_second, const TokenCost& cost) const;
  // Bytes that a disk gave and took within the same seconds.
  [[nodiscard]] std::optional<Held> disk(Bytes read, Bytes written, double seconds) const;

  // Tokens per second that the disk allows, where it has to give something for each and was measured.
  [[nodiscard]] std::optional<double> disk_roof(const TokenCost& cost) const;

  // A line for the end of a report that has speeds without roofs; empty when there are roofs.
  [[nodiscard]] std::string hint() const;

 private:
  CpuPath path_;
  KeptRecord kept_;
};

// "70.0 % of dram_read 39.8 GB/s", to stand behind a speed; empty for nothing.
std::string of_roof(const std::optional<Held>& held);
std::string after_speed(const std::optional<Held>& held);  // a blank and of_roof(); empty for nothing
nlohmann::json to_json(const std::optional<Held>& held);   // {"name", "value", "unit", "fraction"}, or null

}  // namespace jericho::cli
