// File descriptors that one poll(2) asks: see pressure.h.
#include "memory/pressure.h"

#include <array>
#include <csignal>
#include <cstdint>

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <fmt/format.h>

#include "memory/control_groups.h"

namespace jericho {
namespace {

namespace fs = std::filesystem;

// Some task waited for memory 150 ms of 2 s; without privileges the kernel takes windows that are multiples of 2 s
// only.
constexpr std::string_view kPsiTrigger = "some 150000 2000000";

bool write_whole(int fd, std::string_view text) {
  // The kernel wants the end of the string too.
  return write(fd, text.data(), text.size() + 1) >= static_cast<ssize_t>(text.size());
}

}  // namespace

PressureWatch::PressureWatch(const fs::path& root) {
  watch_signal();
  bool group_has_psi = false;
  for (const GroupFolder& group : control_groups("memory", root)) {
    const fs::path folder = group.below(root);
    if (group.version == GroupVersion::kV1) {
      watch_group_v1(folder);
    } else if (!group_has_psi) {  // the innermost feels what its ancestors feel
      const std::size_t before = sources_.size();
      watch_psi(folder / "memory.pressure");
      group_has_psi = sources_.size() > before;
    }
  }
  if (!group_has_psi) watch_psi(root / "proc/pressure/memory");
}

PressureWatch::~PressureWatch() {
  for (const Source& source : sources_) {
    close(source.fd);
    if (source.level >= 0) close(source.level);
  }
}

void PressureWatch::watch_signal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  const int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  if (fd >= 0) sources_.push_back({Kind::kSignal, "SIGUSR1", fd});
}

void PressureWatch::watch_psi(const fs::path& file) {
  const int fd = open(file.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return;
  if (write_whole(fd, kPsiTrigger)) {
    sources_.push_back({Kind::kPsi, file.string(), fd});
  } else {
    close(fd);
  }
}

void PressureWatch::watch_group_v1(const fs::path& folder) {
  const int level = open((folder / "memory.pressure_level").c_str(), O_RDONLY | O_CLOEXEC);
  if (level < 0) return;
  const int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  const int control = open((folder / "cgroup.event_control").c_str(), O_WRONLY | O_CLOEXEC);
  const bool asked = event >= 0 && control >= 0 && write_whole(control, fmt::format("{} {} medium", event, level));
  if (control >= 0) close(control);
  if (asked) {
    sources_.push_back({Kind::kGroupV1, (folder / "memory.pressure_level").string(), event, level});
  } else {
    if (event >= 0) close(event);
    close(level);
  }
}

std::string PressureWatch::take() {
  std::vector<pollfd> asked;
  asked.reserve(sources_.size());
  for (const Source& source : sources_) {
    asked.push_back({source.fd, static_cast<short>(source.kind == Kind::kPsi ? POLLPRI : POLLIN), 0});
  }
  if (poll(asked.data(), asked.size(), 0) <= 0) return {};
  const auto now = std::chrono::steady_clock::now();
  std::string who;
  for (std::size_t i = 0; i < asked.size(); ++i) {
    const Source& source = sources_[i];
    if ((asked[i].revents & asked[i].events) == 0) continue;
    std::array<std::byte, sizeof(signalfd_siginfo)> event;
    if (source.kind != Kind::kPsi && read(source.fd, event.data(), event.size()) <= 0)
      continue;  // PSI's ends by itself
    const bool heard = source.kind == Kind::kSignal || now - last_ >= kPause;
    if (!heard || !who.empty()) continue;
    if (source.kind != Kind::kSignal) last_ = now;
    who = source.name;
  }
  return who;
}

std::vector<std::string> PressureWatch::sources() const {
  std::vector<std::string> names;
  for (const Source& source : sources_) names.push_back(source.name);
  return names;
}

}  // namespace jericho
