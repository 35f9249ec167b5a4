// Shards of tokens: see token_shard.h.
#include "train/token_shard.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho {
namespace {

constexpr std::int32_t kNarrowMagic = 20240520, kNarrowVersion = 1;
constexpr std::int32_t kWideMagic = 20240801, kWideVersion = 7;
constexpr Index kPiece = 1 << 16;  // tokens read at once

}  // namespace

TokenShard::TokenShard(const std::filesystem::path& path) : file_(File::open_read(path, FileCache::kUse)) {
  std::array<std::int32_t, kHeaderBytes / 4> header{};
  const std::int64_t size = file_.size().count;
  const auto refuse = [&](const std::string& found) {
    throw Error(ErrorKind::kInput,
                fmt::format("{}: expected a shard of tokens, a header of 1024 B with {} or {} first, found {}",
                            file_.path(), kNarrowMagic, kWideMagic, found));
  };
  if (size < kHeaderBytes) refuse(fmt::format("{} B", size));
  file_.read_exactly(0, std::as_writable_bytes(std::span(header)));
  const bool narrow = header[0] == kNarrowMagic && header[1] == kNarrowVersion;
  if (!narrow && (header[0] != kWideMagic || header[1] != kWideVersion))
    refuse(fmt::format("{}, version {}", header[0], header[1]));
  token_bytes_ = narrow ? 2 : 4;
  tokens_ = header[2];
  if (tokens_ < 2 || size - kHeaderBytes < tokens_ * token_bytes_) {
    throw Error(ErrorKind::kInput,
                fmt::format("{}: its header says {} tokens of {} B, the file has {} B after it; is it "
                            "complete?",
                            file_.path(), tokens_, token_bytes_, size - kHeaderBytes));
  }
}

void TokenShard::read(Index first, std::span<std::int32_t> out) const {
  if (token_bytes_ == 4) {
    file_.read_exactly(kHeaderBytes + first * 4, std::as_writable_bytes(out));
    return;
  }
  // Into the second half of the place, and widened from its front.
  const auto bytes = std::as_writable_bytes(out).last(out.size() * 2);
  file_.read_exactly(kHeaderBytes + first * 2, bytes);
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t token = 0;
    std::memcpy(&token, bytes.data() + 2 * i, 2);
    out[i] = token;
  }
}

void TokenShard::each(const std::function<void(Index, std::span<const std::int32_t>)>& visit) const {
  std::vector<std::int32_t> piece;
  for (Index first = 0; first < tokens_; first += kPiece) {
    piece.resize(static_cast<std::size_t>(std::min(kPiece, tokens_ - first)));
    read(first, piece);
    visit(first, piece);
  }
}

std::vector<std::uint64_t> TokenShard::document_starts() const {
  const std::filesystem::path path = std::filesystem::path(file_.path()).replace_extension(".docs");
  std::error_code missing;
  if (!std::filesystem::exists(path, missing)) return {};
  const File file = File::open_read(path, FileCache::kUse);
  std::vector<std::uint64_t> starts(static_cast<std::size_t>(file.size().count / 8));
  file.read_exactly(0, std::as_writable_bytes(std::span(starts)));
  const bool ascends = std::adjacent_find(starts.begin(), starts.end(), std::greater_equal<>()) == starts.end();
  if (starts.empty() || starts.front() != 0 || !ascends || starts.back() >= static_cast<std::uint64_t>(tokens_)) {
    throw Error(
        ErrorKind::kInput,
        fmt::format("{}: expected where documents begin, 64 bits each, ascending from 0 and below the {} tokens of "
                    "{}",
                    path.string(), tokens_, file_.path()));
  }
  return starts;
}

}  // namespace jericho
