// A run's checkpoints: folders that other tools open as a model (config.json, model.safetensors, the
// tokenizer's files) and that hold beside it what the next step depends on: optimizer.safetensors with the state as it
// is, state.json, and a MANIFEST.json of sizes and hashes that is written last. A folder takes its name when all is on
// the disk, so whatever ends the process, a name means a whole checkpoint. Start at Checkpoints::save() and load().
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "convert/tokenizer_to_hugging_face.h"
#include "models/training_layout.h"
#include "train/optimizer.h"

namespace jericho {

struct TrainedState {  // views of the run's memory
  const TrainingLayout& layout;
  std::span<std::byte> weights;
  std::span<const std::unique_ptr<Optimizer>> optimizers;  // per tensor; null where it is not trained
  std::vector<std::span<std::byte>> states;                // per tensor
};

class Checkpoints {
 public:
  // Folder `run`/checkpoints, made where it is missing; what an interrupted save left is removed.
  // `side_files`: what each checkpoint has beside its tensors, name and bytes.
  Checkpoints(std::filesystem::path run, Index keep_last);

  // Error(kIo) leaves the checkpoints there were.
  void save(Index step, const TrainedState& state, const nlohmann::json& progress, std::span<const SideFile> files);
  // Names the checkpoint of this step the best: it is kept, whatever comes.
  void mark_best(Index step);

  // The newest whole checkpoint's progress, its tensors read into `state`; nothing where there is none. Error(kInput)
  // names what does not fit.
  std::optional<nlohmann::json> load_latest(const TrainedState& state) const;
  // Makes the links what they were to be, had nothing ended the process between a save and its links.
  void mend_links(std::optional<Index> best) const;
  // Only its progress.
  [[nodiscard]] std::optional<nlohmann::json> latest_progress() const;
  [[nodiscard]] std::filesystem::path folder(Index step) const;
  // What a save takes on the disk.
  static Bytes bytes(const TrainedState& state);

 private:
  [[nodiscard]] std::vector<Index> steps() const;  // whole ones, ascending
  [[nodiscard]] std::optional<Index> best() const;
  void link(const std::string& name, Index step) const;
  void drop_old() const;

  std::filesystem::path folder_;
  Index keep_last_;
};

}  // namespace jericho
