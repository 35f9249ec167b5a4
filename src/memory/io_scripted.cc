// A backend for tests that spoils requests by a script (docs/memory.md#faults). Start at ScriptedIo::submit().
// Nothing is random: the same requests suffer the same faults.
#include "memory/io.h"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <thread>
#include <utility>

#include "base/check.h"

namespace jericho {
namespace {

using Clock = std::chrono::steady_clock;

class ScriptedIo final : public IoBackend {
 public:
  ScriptedIo(std::unique_ptr<IoBackend> inner, IoScript script) : inner_(std::move(inner)), script_(std::move(script)) {
    JERICHO_CHECK(script_.every >= 1, "every {}", script_.every);
    for (std::size_t slot = kDepth; slot-- > 0;) free_.push_back(slot);
  }

  void submit(const IoRequest& request) override {
    JERICHO_CHECK(in_flight_ < kDepth, "{} requests in flight", in_flight_);
    ++in_flight_;
    const std::size_t slot = free_.back();
    free_.pop_back();
    slots_[slot] = {request, next_fault(request)};
    if (const int error = error_of(slots_[slot].fault); error != 0 || slots_[slot].fault == IoFault::kEnd) {
      deliver(slot, -error);
      return;
    }
    IoRequest passed = request;
    passed.tag = slot;
    inner_->submit(passed);
  }

  std::size_t poll(std::span<IoResult> results, IoWait wait) override {
    if (in_flight_ == 0 || results.empty()) return 0;
    collect(ready_.empty() ? wait : IoWait::kNone);
    release_held();
    if (ready_.empty() && !held_.empty() && wait == IoWait::kForOne) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      release_held();
    }
    const std::size_t count = std::min(results.size(), ready_.size());
    std::copy_n(ready_.begin(), count, results.begin());
    ready_.erase(ready_.begin(), ready_.begin() + static_cast<std::ptrdiff_t>(count));
    in_flight_ -= count;
    return count;
  }

  [[nodiscard]] std::size_t in_flight() const override { return in_flight_; }
  [[nodiscard]] std::string_view name() const override { return "scripted"; }

 private:
  struct Slot {
    IoRequest request{};
    std::optional<IoFault> fault{};
  };
  struct Held {
    IoResult result{};
    bool until_another = false;  // else until `due`
    Clock::time_point due{};
  };

  std::optional<IoFault> next_fault(const IoRequest& request) {
    if (script_.only && *script_.only != request.op) return std::nullopt;
    if (++requests_ % script_.every != 0 || script_.faults.empty() || faults_ >= script_.at_most) return std::nullopt;
    return script_.faults[static_cast<std::size_t>(faults_++) % script_.faults.size()];
  }

  static int error_of(std::optional<IoFault> fault) {
    if (!fault) return 0;
    switch (*fault) {
      case IoFault::kEio: return EIO;
      case IoFault::kEnospc: return ENOSPC;
      case IoFault::kEintr: return EINTR;
      case IoFault::kEagain: return EAGAIN;
      default: return 0;
    }
  }

  void collect(IoWait wait) {
    IoResult results[kDepth];
    const std::size_t count = inner_->poll(results, wait);
    for (std::size_t i = 0; i < count; ++i) {
      const auto slot = static_cast<std::size_t>(results[i].tag);
      deliver(slot, spoil(slots_[slot], results[i].transferred));
    }
  }

  // What the user is told was transferred.
  static std::int64_t spoil(const Slot& slot, std::int64_t transferred) {
    if (!slot.fault || transferred <= 1) return transferred;
    const std::span<std::byte> got = slot.request.buffer.first(static_cast<std::size_t>(transferred));
    const bool reading = slot.request.op == IoOp::kRead;
    if (*slot.fault == IoFault::kFlipBit && reading) got[got.size() / 2] ^= std::byte{4};
    if (*slot.fault != IoFault::kShortByOne && *slot.fault != IoFault::kHalf) return transferred;
    const std::int64_t told = *slot.fault == IoFault::kHalf ? transferred / 2 : transferred - 1;
    if (reading) std::fill(got.begin() + told, got.end(), std::byte{0xcc});
    return told;
  }

  void deliver(std::size_t slot, std::int64_t transferred) {
    const IoResult result{slots_[slot].request.tag, transferred};
    const std::optional<IoFault> fault = slots_[slot].fault;
    free_.push_back(slot);
    if (fault == IoFault::kReorder) {
      held_.push_back({result, true, {}});
    } else if (fault == IoFault::kDelay) {
      held_.push_back({result, false, Clock::now() + script_.delay});
    } else {
      ready_.push_back(result);
    }
  }

  // A result waits for a later one only as long as there is a later one to come.
  void release_held() {
    const bool overtaken = !ready_.empty() || inner_->in_flight() == 0;
    const auto due = [&](const Held& held) { return held.until_another ? overtaken : Clock::now() >= held.due; };
    for (std::size_t i = 0; i < held_.size();) {
      if (!due(held_[i])) {
        ++i;
        continue;
      }
      ready_.push_back(held_[i].result);
      held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  std::unique_ptr<IoBackend> inner_;  // its destructor waits for requests that were not polled
  IoScript script_;
  Slot slots_[kDepth];
  std::vector<std::size_t> free_;
  std::vector<Held> held_;
  std::vector<IoResult> ready_;
  std::int64_t requests_ = 0;
  std::int64_t faults_ = 0;
  std::size_t in_flight_ = 0;
};

}  // namespace

std::unique_ptr<IoBackend> make_scripted_backend(std::unique_ptr<IoBackend> inner, IoScript script) {
  return std::make_unique<ScriptedIo>(std::move(inner), std::move(script));
}

}  // namespace jericho
