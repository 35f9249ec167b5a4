// One flag, one rule for its default: see threads.h.
#include "cli/threads.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "base/cpu.h"
#include "base/error.h"
#include "memory/usable_cores.h"

namespace jericho::cli {

void add_threads_flag(CLI::App& verb, int& threads) {
  verb.add_option("-t,--threads", threads, "Threads [the physical cores, or those that the control group pays for]");
}

int thread_count(int asked) {
  if (asked < 0 || asked > 1024) throw Error(ErrorKind::kUsage, fmt::format("--threads {}: expected 1 to 1024", asked));
  return asked > 0 ? asked : usable_cores(physical_cores());
}

}  // namespace jericho::cli
