// What a pass over weights that stream takes on this machine: the disk gives less while all threads compute, and what
// has come is packed before it is used. Start at measure_streaming() and seconds_of_pass().
#pragma once

#include <functional>
#include <optional>
#include <stop_token>

#include "base/bytes.h"
#include "formats/model_file.h"
#include "models/config.h"
#include "models/weights.h"
#include "ops/context.h"

namespace jericho::cli {

struct StreamingSpeed {  // bytes per second
  double disk = 0;       // alone
  double disk_busy = 0;  // while all threads compute
  double packing = 0;    // from the file's form to the memory's, by all threads
};

// Of the model's own file; `compute` keeps all threads busy for some milliseconds. Takes about a second and room for
// some requests and the threads', of the context's ledger, or beside it where it has none left. Nothing where the file
// has no direct I/O or nothing streams. Throws what reading does.
std::optional<StreamingSpeed> measure_streaming(const Context& context, const ModelFile& file,
                                                const ModelConfig& config, const WeightLayout& weights,
                                                const std::function<void()>& compute, const std::stop_token& stop);

// Of a pass that computes for so long with all weights in memory and reads `bytes`. The disk works all the time, the
// slower of its two ways while the threads compute and pack; what it has not given by then, they wait for.
double seconds_of_pass(const StreamingSpeed& speed, double compute_seconds, double bytes);

}  // namespace jericho::cli
