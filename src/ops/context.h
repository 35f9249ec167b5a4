// What every op needs and nothing owns: the books, the threads and the kernels of the chosen path. Made once in main()
// (or in a test, with a small budget and two threads) and passed down by reference; a view, thread-compatible.
#pragma once

#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "memory/ledger.h"

namespace jericho {

struct Context {
  Ledger& ledger;
  ThreadPool& pool;
  const Kernels& kernels;
};

}  // namespace jericho
