// What is read for which figure, and how large: see measure_machine.h.
#include "plan/measure_machine.h"

#include <algorithm>
#include <chrono>
#include <ctime>

#include <fmt/format.h>

#include "base/error.h"
#include "memory/disk_speed.h"

namespace jericho {
namespace {

// Bytes per thread that lie in L2 and not in L1: half of it. 192 KiB, which every processor with AVX2 has, where it
// does not say.
Bytes l2_share(const CacheSizes& caches) { return caches.l2 > Bytes{} ? Bytes{caches.l2.count / 2} : 192_KiB; }

// Bytes per thread that pass L2 by, as a cyclic walk over more than its size does, and stay in L3: three times L2, but
// no more than it and half of this thread's part of L3. A hypervisor that hides how many share one tells the whole
// host's size, or none at all.
Bytes l3_share(const CacheSizes& caches, int threads) {
  const Bytes l2 = caches.l2 > Bytes{} ? caches.l2 : 1_MiB;
  if (caches.l3 == Bytes{} || caches.l3_threads == 0) return l2 * 3;
  const int sharing = std::min(threads, caches.l3_threads);
  return std::min(l2 * 3, l2 + Bytes{caches.l3.count / (2 * sharing)});
}

class Measuring {
 public:
  Measuring(const Context& context, IoBackend& io, const MachineMeasurement& how, const std::stop_token& stop,
            const std::function<void(const std::string& part)>& progress)
      : context_(context), io_(io), how_(how), stop_(stop), progress_(progress) {}

  MachineRecord run() {
    record_.identity = machine_identity(context_.pool.threads(), context_.kernels.path);
    record_.quick = how_.quick;
    record_.date = today();
    memory();
    caches();
    arithmetic();
    disk();
    note_how_busy();
    return std::move(record_);
  }

 private:
  static std::string today() {
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    gmtime_r(&now, &utc);
    return fmt::format("{:04}-{:02}-{:02}", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday);
  }

  void begin(const std::string& part) {
    if (stop_.stop_requested()) throw Error(ErrorKind::kInterrupted, "interrupted");
    progress_(part);
  }

  void note(std::string text) { record_.notes.push_back(std::move(text)); }

  void read(MachineFigure figure, Bytes size, ReadMeasurement how) {
    how.passes = how_.quick ? 3 : 7;
    const Roof roof = measure_read(context_, how_.block.first(size.size()), how, stop_);
    record_.set(figure, roof.value, roof.spread);
  }

  void memory() {
    begin("memory");
    const Bytes array = std::min(how_.quick ? kQuickArray : kMachineArray, Bytes{std::ssize(how_.block)});
    record_.dram_array = array;
    const double seconds = how_.quick ? 0 : 0.05;
    read(MachineFigure::kDramRead, array, {.pass_seconds = seconds});
    begin("memory, one core");
    read(MachineFigure::kDramReadPerCore, array, {.threads = 1, .pass_seconds = seconds});
    if (array < kMachineArray) {
      note(fmt::format("DRAM was read in arrays of {}, not {}: caches may flatter it", format_bytes(array),
                       format_bytes(kMachineArray)));
    }
  }

  void caches() {
    const CacheSizes& sizes = record_.identity.cpu.caches;
    const int threads = context_.pool.threads();
    const double seconds = how_.quick ? 0.005 : 0.02;
    const auto cache = [&](MachineFigure figure, const char* what, Bytes share) {
      if (share * threads > Bytes{std::ssize(how_.block)}) return note(fmt::format("no room for an array in {}", what));
      begin(what);
      read(figure, share * threads, {.pass_seconds = seconds});
    };
    cache(MachineFigure::kL2Read, "L2", l2_share(sizes));
    if (sizes.l2 > Bytes{} && sizes.l3 == Bytes{}) return;  // it says that there is none
    cache(MachineFigure::kL3Read, "L3", l3_share(sizes, threads));
    if (sizes.l3_threads == 0) {
      note(fmt::format("the processor does not say whose its L3 is: read in {} per thread",
                       format_bytes(l3_share(sizes, threads))));
    }
  }

  void arithmetic() {
    const CpuPath best = context_.kernels.path;
    const auto multiply = [&](MachineFigure figure, PeakKind kind, CpuPath path) {
      if (path > best || !has_units(kind, path)) return;
      begin(std::string(name(kind, path)));
      const Roof roof = measure_multiply(context_, kind, path);
      record_.set(figure, roof.value, roof.spread);
    };
    multiply(MachineFigure::kFp32, PeakKind::kF32, best);
    multiply(MachineFigure::kAvx2Madd, PeakKind::kInt8, CpuPath::kAvx2);
    multiply(MachineFigure::kVnni, PeakKind::kInt8, CpuPath::kAvx512);
    multiply(MachineFigure::kAmxInt8, PeakKind::kInt8, CpuPath::kAmx);
    multiply(MachineFigure::kAmxBf16, PeakKind::kBF16, CpuPath::kAmx);
    multiply(MachineFigure::kAvx512Bf16, PeakKind::kBF16Pairs, best);
  }

  void disk() {
    begin("disk");
    constexpr Bytes kMostBuffer = 64_MiB;
    const std::span<std::byte> buffer = how_.block.first(std::min(kMostBuffer.size(), how_.block.size()));
    const DiskMeasurement measurement =
        how_.quick ? DiskMeasurement{.size = 64_MiB, .seconds = 0.3, .passes = 2} : DiskMeasurement{};
    for (const std::filesystem::path& folder : how_.folders) {
      try {
        const DiskSpeed speed = measure_disk(folder, io_, buffer, measurement, stop_);
        record_.set(MachineFigure::kDiskRead, speed.read_gbps, speed.read_spread);
        record_.set(MachineFigure::kDiskWrite, speed.write_gbps, 0);
        record_.disk_file = speed.size;
        return;
      } catch (const Error& error) {
        if (error.kind() == ErrorKind::kInterrupted || how_.disk_required) throw;
        note(fmt::format("disk not measured there: {}", error.what()));
      }
    }
  }

  // Between passes of one loop nothing but the rest of the machine differs.
  void note_how_busy() {
    constexpr double kCalm = 0.1;
    std::string list;
    for (std::size_t i = 0; i < kMachineFigures; ++i) {
      const auto& roof = record_.roofs[i];
      if (roof && roof->spread > kCalm) list += fmt::format("{}{}", list.empty() ? "" : ", ", roof->name);
    }
    if (!list.empty()) {
      note(fmt::format(
          "the machine was busy, passes differed by more than {:.0f} %: measure again when nothing else runs "
          "({})",
          100 * kCalm, list));
    }
  }

  const Context& context_;
  IoBackend& io_;
  const MachineMeasurement& how_;
  const std::stop_token& stop_;
  const std::function<void(const std::string& part)>& progress_;
  MachineRecord record_;
};

}  // namespace

MachineRecord measure_machine(const Context& context, IoBackend& io, const MachineMeasurement& how,
                              const std::stop_token& stop,
                              const std::function<void(const std::string& part)>& progress) {
  return Measuring(context, io, how, stop, progress).run();
}

}  // namespace jericho
