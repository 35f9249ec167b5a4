// Three short measurements and their sum: see streaming_speed.h.
#include "cli/streaming_speed.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <thread>
#include <variant>

#include "memory/arena.h"
#include "memory/disk_speed.h"
#include "memory/io.h"
#include "memory/ledger.h"
#include "models/unit_reader.h"
#include "models/weight_units.h"

namespace jericho::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kSeconds = 0.4;  // of each reading
constexpr int kUnits = 8;

std::optional<double> reading_of(const ModelFile& model, std::span<std::byte> buffer, const std::stop_token& stop) {
  const auto io = make_io_backend();
  return measure_reading(File::open_read(model.files().front()), *io, buffer, kSeconds, stop);
}

// The same on a thread of its own, while this one computes.
std::optional<double> reading_beside(const ModelFile& model, std::span<std::byte> buffer,
                                     const std::function<void()>& compute, const std::stop_token& stop) {
  std::optional<double> speed;
  std::exception_ptr failure;
  std::atomic<bool> done = false;
  std::jthread reader([&] {
    try {
      speed = reading_of(model, buffer, stop);
    } catch (...) {
      failure = std::current_exception();
    }
    done = true;
  });
  while (!done) compute();
  reader.join();
  if (failure) std::rethrow_exception(failure);
  return speed;
}

// Units that have come before the clock runs.
double packing_of(const Context& context, const ModelFile& file, const WeightUnits& units, std::span<std::byte> memory,
                  std::span<std::byte> rooms) {
  UnitReader reader(file, make_io_backend(), rooms, units.room());
  double bytes = 0, seconds = 0;
  int packed = 0;
  for (const WeightUnit& unit : units.units()) {
    if (InPlace::of(*unit.weight).size > Bytes{std::ssize(memory)}) continue;
    const UnitReader::Unit started = reader.start(*unit.weight, memory.data());
    while (!reader.idle()) std::this_thread::yield();
    const auto begin = Clock::now();
    reader.finish(context, started);
    seconds += std::chrono::duration<double>(Clock::now() - begin).count();
    bytes += static_cast<double>(unit.weight->size.count);
    if (++packed == kUnits) break;
  }
  return seconds > 0 ? bytes / seconds : 0;
}

}  // namespace

std::optional<StreamingSpeed> measure_streaming(const Context& context, const ModelFile& file,
                                                const ModelConfig& config, const WeightLayout& weights,
                                                const std::function<void()>& compute, const std::stop_token& stop) {
  const WeightUnits units(config, weights);
  const Bytes rooms = round_up(units.room() * context.pool.threads(), Bytes{4096});
  // The smallest budgets have no room for it beside the slice that computes: then it lies beside them for this second.
  const Bytes size = kDiskBuffer + rooms;
  Ledger beside(LedgerCaps{.ram = size});
  auto room = context.ledger.reserve(Tier::kRam, Purpose::kWeightsStaging, size);
  if (std::holds_alternative<Refusal>(room)) room = beside.require(Tier::kRam, Purpose::kWeightsStaging, size);
  const Arena memory(std::get<Lease>(std::move(room)), {.populate = true});
  const std::span<std::byte> unit = memory.bytes().subspan(rooms.size());
  const auto alone = reading_of(file, unit, stop);
  if (!alone || units.units().empty()) return std::nullopt;
  const auto busy = reading_beside(file, unit, compute, stop);
  const double packing = packing_of(context, file, units, unit, memory.bytes().first(rooms.size()));
  if (!busy || packing <= 0) return std::nullopt;
  return StreamingSpeed{.disk = *alone, .disk_busy = std::min(*alone, *busy), .packing = packing};
}

double seconds_of_pass(const StreamingSpeed& speed, double compute_seconds, double bytes) {
  const double busy = compute_seconds + bytes / speed.packing;
  return busy + std::max(0.0, bytes - speed.disk_busy * busy) / speed.disk;
}

}  // namespace jericho::cli
