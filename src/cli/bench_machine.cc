// The roofs as text or JSON: see bench_machine.h.
#include "cli/bench_machine.h"

#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/cpu.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "cli/machine_file.h"
#include "cli/progress.h"
#include "kernels/kernels.h"
#include "memory/io.h"
#include "plan/measure_machine.h"

namespace jericho::cli {
namespace {

std::vector<std::filesystem::path> folders(const std::string& named) {
  if (!named.empty()) return {named};
  std::vector<std::filesystem::path> list;
  if (const auto cache = cache_folder()) {
    std::error_code failed;  // then it is measured in the current one
    std::filesystem::create_directories(*cache, failed);
    if (!failed) list.push_back(*cache);
  }
  list.emplace_back(".");
  return list;
}

std::string line(const MachineRecord& record, MachineFigure figure, const char* what, const std::string& remark = {}) {
  const auto& roof = record[figure];
  if (!roof) return fmt::format("{:<34}{:>12}\n", what, "not here");
  return fmt::format("{:<34}{:>12} {}   -{:.1f} %{}\n", what, fmt::format("{:.4g}", roof->value), roof->unit,
                     100 * roof->spread, remark);
}

std::string report(const MachineRecord& record) {
  const MachineIdentity& identity = record.identity;
  std::string text =
      fmt::format("{}, {} cores, {}; {} threads, {}\n{:<34}{:>12}          middle pass\n", identity.cpu.model,
                  identity.cpu.cores, format_bytes(identity.memory), identity.threads, identity.path, "", "best");
  text += line(record, MachineFigure::kDramRead, "memory, read by all", "   in " + format_bytes(record.dram_array));
  text += line(record, MachineFigure::kDramReadPerCore, "memory, read by one");
  text += line(record, MachineFigure::kL2Read, "L2, read by all");
  text += line(record, MachineFigure::kL3Read, "L3, read by all");
  text += line(record, MachineFigure::kDiskRead, "disk, read", "   of " + format_bytes(record.disk_file));
  text += line(record, MachineFigure::kDiskWrite, "disk, written");
  text += line(record, MachineFigure::kFp32, "fp32 multiply-add");
  text += line(record, MachineFigure::kAvx2Madd, "8-bit products, AVX2");
  text += line(record, MachineFigure::kVnni, "8-bit products, VNNI");
  text += line(record, MachineFigure::kAmxInt8, "8-bit products, AMX");
  text += line(record, MachineFigure::kAmxBf16, "bf16 products, AMX");
  text += line(record, MachineFigure::kAvx512Bf16, "bf16 products, AVX-512 (unused)");
  return text;
}

}  // namespace

int bench_machine(const BenchMachineOptions& options, const std::stop_token& stop) {
  const CpuPath path = chosen_cpu_path();
  ThreadPool pool(options.streaming.chosen_threads());
  const std::unique_ptr<IoBackend> io = make_io_backend();
  constexpr Bytes kHeap = 1_MiB;
  const Bytes wanted = options.quick ? kQuickArray : kMachineArray;
  StreamingBooks books(options.streaming, "measuring the machine", kHeap,
                       StreamingBooks::room(options.streaming, kHeap, kLeastArray, wanted));
  const Context context{books.ledger(), pool, kernels_for(path)};
  MachineRecord record;
  {
    Index part = 0;
    constexpr Index kParts = 11;  // at most
    Progress progress("measuring the machine");
    record = measure_machine(context, *io,
                             {.block = books.buffers(),
                              .folders = folders(options.disk),
                              .disk_required = !options.disk.empty(),
                              .quick = options.quick},
                             stop, [&](const std::string&) { progress.update(part++, kParts); });
  }
  if (options.json) {
    fmt::print("{}\n", to_json(record).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    fmt::print("{}", report(record));
    for (const std::string& note : record.notes) fmt::print(stderr, "note: {}\n", note);
  }
  if (options.quick) return 0;
  try {
    const std::filesystem::path file = keep_record(record);
    if (!options.json) fmt::print(stderr, "kept in {}\n", file.string());
  } catch (const Error& error) {
    fmt::print(stderr, "note: {}; the figures are not kept\n", error.what());
  }
  return 0;
}

}  // namespace jericho::cli
