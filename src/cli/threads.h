// The flag that says how many threads a verb takes.
#pragma once

namespace CLI {
class App;
}

namespace jericho::cli {

void add_threads_flag(CLI::App& verb, int& threads);

// What was asked for, else as many as this process can keep busy (memory/usable_cores.h). Throws Error(kUsage) outside
// 0 to 1024.
int thread_count(int asked);

}  // namespace jericho::cli
