// One budget, one block, one refusal that says what would work: see streaming_books.h.
#include "cli/streaming_books.h"

#include <malloc.h>

#include <algorithm>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "base/error.h"
#include "cli/threads.h"
#include "memory/available.h"
#include "memory/budget.h"
#include "memory/process_memory.h"
#include "plan/plan.h"

namespace jericho::cli {
namespace {

// RSS differs by some pages from one start to the next; a budget that is named must work at the next one.
constexpr Bytes kStartupJitter = 256_KiB;

Bytes budget_of(const StreamingOptions& options) {
  const AvailableMemory available = available_memory();
  return parse_budget(options.memory, {.ram_total = available.total, .ram_available = available.available},
                      {.overcommit = options.overcommit})
      .ram;
}

}  // namespace

void StreamingOptions::add_flags(CLI::App& verb) {
  verb.add_option("--memory", memory, "Most memory the process may take: 8GiB, 80%, auto (90 % of what is free), max")
      ->envname("JERICHO_MEMORY")
      ->capture_default_str();
  verb.add_flag("--memory-overcommit", overcommit, "Allow a budget above what the machine has");
  add_threads_flag(verb, threads);
}

int StreamingOptions::chosen_threads() const { return thread_count(threads); }

StreamingBooks::StreamingBooks(const StreamingOptions& options, const std::string& what, Bytes heap, Bytes buffers,
                               Bytes more) {
  const Bytes budget = budget_of(options);
  prefault_code();
  malloc_trim(0);
  const ProcessMemory now = read_process_memory();
  const Bytes runtime = now.rss + heap;
  const Bytes block = arena_bytes(buffers);
  const Bytes margin = plan_margin(runtime + block + more);
  const Bytes needed = std::max(runtime + block + more + margin, now.peak_rss);
  if (needed > budget) {
    throw Error(
        ErrorKind::kBudget,
        fmt::format("{} needs more memory than --memory {} allows\n"
                    "  code, file headers, tokenizer  {:>10}\n"
                    "  rows on their way              {:>10}\n"
                    "{}"
                    "  margin                         {:>10}\n"
                    "smallest budget that works: --memory {}",
                    what, format_bytes(budget), format_bytes(runtime), format_bytes(block),
                    more > 0_B ? fmt::format("  adapters                       {:>10}\n", format_bytes(more)) : "",
                    format_bytes(margin), budget_argument(needed + kStartupJitter)));
  }
  ledger_ = std::make_unique<Ledger>(LedgerCaps{.ram = budget});
  standing_ = ledger_->require(Tier::kRam, Purpose::kRuntime, runtime);
  standing_.commit(standing_.size());
  block_ = Arena(ledger_->require(Tier::kRam, Purpose::kWeightsStaging, block), {.populate = true});
}

Bytes StreamingBooks::room(const StreamingOptions& options, Bytes heap, Bytes least, Bytes wanted) {
  const Bytes budget = budget_of(options);
  prefault_code();
  malloc_trim(0);
  const Bytes runtime = read_process_memory().rss + heap + kStartupJitter;
  const auto total = [&](Bytes block) {
    return runtime + arena_bytes(block) + plan_margin(runtime + arena_bytes(block));
  };
  Bytes block = wanted;
  while (block > least && total(block) > budget) block -= std::max(total(block) - budget, kPageSize);
  return std::max(block, least);
}

}  // namespace jericho::cli
