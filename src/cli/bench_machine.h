// jericho bench --machine: measures the machine's roofs, prints them and keeps them for the other verbs.
#pragma once

#include <stop_token>
#include <string>

#include "cli/streaming_books.h"

namespace jericho::cli {

struct BenchMachineOptions {
  StreamingOptions streaming{};  // the budget and the threads
  std::string disk{};            // folder; empty: the user's cache, or the current one
  bool quick = false;            // not kept
  bool json = false;
};

int bench_machine(const BenchMachineOptions& options, const std::stop_token& stop);

}  // namespace jericho::cli
