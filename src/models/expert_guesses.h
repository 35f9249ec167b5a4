// How many experts are worth guessing while a layer is computed: the disk has nothing else to do until the next router
// has spoken, but what it reads in vain beyond that keeps what is wanted waiting. With w seconds of computing, r to
// read one expert and a share p of guesses that come true, n guesses save
//   p n r - max(0, n r - w)
// the reads that are not asked for any more, less what is left of all guesses when the computing is over. That grows up
// to n = w / r and falls behind it, so the best n is one of the two whole numbers there. Start at ExpertGuesses.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "base/index.h"

namespace jericho {

// `most` at most; 0 where none is worth it.
constexpr Index worthwhile_guesses(double compute, double read, double right, Index most) {
  if (read <= 0) return most;
  const auto saved = [&](Index n) {
    const double reads = static_cast<double>(n) * read;
    return right * reads - std::max(0.0, reads - compute);
  };
  const double whole = compute / read;
  if (whole >= static_cast<double>(most)) return most;
  const auto within = static_cast<Index>(whole), beyond = std::min(within + 1, most);
  return saved(beyond) > saved(within) ? beyond : within;
}

// Keeps the means of what was measured. Times decide how much is read ahead, never what is computed. One thread.
class ExpertGuesses {
 public:
  using Clock = std::chrono::steady_clock;

  // A pass of so many tokens begins: what lies before it was no layer, and layers of more tokens take longer.
  void begins(Index tokens) {
    since_ = {};
    if (tokens != tokens_) compute_.count = 0;
    tokens_ = tokens;
  }
  // The last experts of a layer are there, so the computing begins, until the next router has chosen.
  void computes(Clock::time_point now) { since_ = now; }
  void chooses(Clock::time_point now) {
    if (since_ != Clock::time_point{}) compute_.add(seconds(now - since_));
    since_ = {};
  }
  // `experts` were read in so long, with nothing else on the way.
  void reads(Clock::duration took, Index experts) { read_.add(seconds(took) / static_cast<double>(experts)); }
  // Of one guess, when the router of its layer has spoken, or its slot was taken before.
  void came_true(bool right) { right_.add(right ? 1 : 0); }

  // While the layer is computed now, whose next has an expert that could be guessed. All are while times are unknown,
  // and half of them are taken to be right. Where none is worth it one is made now and then, in case that has changed.
  Index worthwhile(Index most) {
    if (!is_measured()) return most;
    const Index trial = ++layers_ % kTrial == 0 ? std::min<Index>(1, most) : 0;
    return std::max(trial, by_means(most));
  }
  // Would any be, asked before it is known whether the next layer has an expert that could be guessed? Where none is
  // that is one more layer without a trial; a trial that is due waits for a layer that has one.
  bool any_is_worthwhile(Index most) {
    if (most == 0) return false;
    if (!is_measured() || by_means(most) > 0 || (layers_ + 1) % kTrial == 0) return true;
    ++layers_;
    return false;
  }

 private:
  static constexpr Index kTrial = 31;  // layers that could guess; prime, so that it falls on another one each time

  struct Mean {
    Index memory;  // of about the last so many values
    double mean = 0;
    Index count = 0;
    void add(double value) {
      count = std::min(count + 1, memory);
      mean += (value - mean) / static_cast<double>(count);
    }
  };
  [[nodiscard]] bool is_measured() const { return compute_.count > 0 && read_.count > 0; }
  [[nodiscard]] Index by_means(Index most) const {
    return worthwhile_guesses(compute_.mean, read_.mean, right_.count > 0 ? right_.mean : 0.5, most);
  }
  static double seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

  Clock::time_point since_{};
  Mean compute_{16}, read_{16}, right_{128};
  Index layers_ = 0;
  Index tokens_ = 0;
};

}  // namespace jericho
