// Files with their errors: see output_file.h.
#include "convert/output_file.h"

#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "convert/side_files.h"

namespace jericho {

OutputFile::OutputFile(std::filesystem::path path)
    : path_(std::move(path)), out_(path_, std::ios::binary | std::ios::trunc) {
  if (!out_) throw Error(ErrorKind::kIo, fmt::format("{}: cannot be written", path_.string()));
}

void OutputFile::close() {
  out_.close();
  if (!out_) throw Error(ErrorKind::kIo, fmt::format("{}: cannot be written whole; is the disk full?", path_.string()));
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  OutputFile out(path);
  out.stream().write(text.data(), static_cast<std::streamsize>(text.size()));
  out.close();
}

void refuse_existing(const std::filesystem::path& output) {
  if (std::filesystem::exists(std::filesystem::symlink_status(output))) {
    throw Error(ErrorKind::kUsage, fmt::format("{} is there already; jericho never overwrites: give another name or "
                                               "remove it first",
                                               output.string()));
  }
  const auto parent = output.has_parent_path() ? output.parent_path() : std::filesystem::path(".");
  if (!std::filesystem::is_directory(parent))
    throw Error(ErrorKind::kUsage,
                fmt::format("{}: no such folder to write {} into", parent.string(), output.filename().string()));
}

UnfinishedOutput::UnfinishedOutput(std::filesystem::path output) : output_(std::move(output)), partial_(output_) {
  partial_ += ".partial";
  refuse_existing(output_);
  refuse_existing(partial_);
}

UnfinishedOutput::~UnfinishedOutput() {
  std::error_code ignored;
  if (!partial_.empty()) std::filesystem::remove_all(partial_, ignored);
}

void UnfinishedOutput::finish() {
  sync_to_disk(partial_);
  if (std::filesystem::exists(std::filesystem::symlink_status(output_)))
    throw Error(ErrorKind::kIo,
                fmt::format("{} appeared while it was being written; nothing was replaced", output_.string()));
  std::error_code failure;
  std::filesystem::rename(partial_, output_, failure);
  if (failure)
    throw Error(ErrorKind::kIo,
                fmt::format("{} cannot be named {}: {}", partial_.string(), output_.string(), failure.message()));
  partial_.clear();
  sync_to_disk(output_.has_parent_path() ? output_.parent_path() : std::filesystem::path("."), Sync::kThis);
}

}  // namespace jericho
