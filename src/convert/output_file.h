// What verbs leave on a disk: files that are whole or an error, and outputs that take their name when all of them is
// there. Start at UnfinishedOutput.
#pragma once

#include <filesystem>
#include <fstream>
#include <ostream>
#include <string>

namespace jericho {

// Error(kIo) where the file cannot be opened, or is not whole when it is closed.
class OutputFile {
 public:
  explicit OutputFile(std::filesystem::path path);
  [[nodiscard]] std::ostream& stream() { return out_; }
  void close();

 private:
  std::filesystem::path path_;
  std::ofstream out_;
};

void write_text(const std::filesystem::path& path, const std::string& text);

// Error(kUsage) where `output` is there already, or its folder is not.
void refuse_existing(const std::filesystem::path& output);

// A file or a folder under another name beside its own, until it is finished; else it is removed.
class UnfinishedOutput {
 public:
  // Refuses an `output`, or such another name, that is there: the latter is of a run that was killed, or somebody's
  // own.
  explicit UnfinishedOutput(std::filesystem::path output);
  ~UnfinishedOutput();
  UnfinishedOutput(const UnfinishedOutput&) = delete;
  UnfinishedOutput& operator=(const UnfinishedOutput&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return partial_; }  // where to write
  // Brings it to the disk and gives it its name, which nothing has taken meanwhile. Error(kIo).
  void finish();

 private:
  std::filesystem::path output_, partial_;
};

}  // namespace jericho
