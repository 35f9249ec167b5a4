// Manifest, segments and records: see prefix_store.h. Start at append() for the order in which bytes become durable and
// at scan() for what a crash may leave.
#include "engine/prefix_store.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "memory/file.h"

namespace jericho {
namespace {

constexpr std::int64_t kAlign = 4096;
constexpr int kMostRetries = 1000;     // EINTR, EAGAIN and transfers that move nothing
constexpr std::uint32_t kVersion = 1;  // of the layout of the files
constexpr std::array<char, 4> kManifestMagic = {'J', 'K', 'V', 'S'}, kRecordMagic = {'J', 'K', 'V', 'B'};

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte b : bytes) text += fmt::format("{:02x}", static_cast<unsigned>(b));
  return text;
}

[[noreturn]] void fail(const std::filesystem::path& path, const char* what) {
  throw Error(ErrorKind::kIo, fmt::format("{}: {}: {}", path.string(), what, std::strerror(errno)));
}

struct Manifest {  // then a segment's number each, u64, then XXH3 of all before
  std::array<char, 4> magic = kManifestMagic;
  std::uint32_t version = kVersion;
  Sha256 fingerprint{};
  std::int64_t segment_bytes = 0;
  std::int64_t record_bytes = 0;
  std::uint64_t segments = 0;
};
constexpr std::uint64_t kMostSegments = 1 << 20;  // that a manifest is believed

}  // namespace

struct PrefixStore::Header {
  std::array<char, 4> magic = kRecordMagic;
  std::uint32_t tokens = 0;
  std::uint64_t checksum = 0;  // of the header block, this field 0
  std::uint64_t record_bytes = 0;
  std::uint64_t sequence = 0;  // rises by one from record to record of a segment
  Sha256 key{};
  Sha256 parent{};
  std::uint64_t payload_checksum = 0;
  std::array<std::byte, 24> reserved{};
};

PrefixStore::PrefixStore(const PrefixStoreOptions& options, Arena buffer, Lease disk, std::unique_ptr<IoBackend> io)
    : options_(options),
      dir_(options.dir / hex(std::span(options.fingerprint).first(8))),
      buffer_(std::move(buffer)),
      disk_(std::move(disk)),
      io_(std::move(io)) {
  static_assert(sizeof(Header) == 128);
  JERICHO_CHECK(options.shape.payload.count % kAlign == 0 && capacity() >= 1 && buffer_.size() >= record_bytes(),
                "records of {} B", record_bytes().count);
  std::error_code error;
  std::filesystem::create_directories(dir_, error);
  if (error) {
    throw Error(ErrorKind::kUsage, fmt::format("{}: cannot be a prefix store: {}; name a folder that can be written",
                                               dir_.string(), error.message()));
  }
  lock();
  for (const std::uint64_t number : read_manifest()) open_segment(number);
  choose_open();
  if (read_only_) return;
  for (const auto& entry : std::filesystem::directory_iterator(dir_)) {  // of a crash between manifest and files
    const std::string name = entry.path().filename().string();
    const bool segment = name.starts_with("seg-");
    const bool known = std::any_of(segments_.begin(), segments_.end(),
                                   [&](const auto& s) { return segment_path(s.first).filename() == name; });
    if ((segment && !known) || name == "MANIFEST.new") std::filesystem::remove(entry.path(), error);
  }
}

SegmentFile::SegmentFile(const std::filesystem::path& path, bool writable) {
  const int flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC;
  fd_ = ::open(path.c_str(), flags | O_DIRECT);
  if (fd_ < 0 && errno == EINVAL) fd_ = ::open(path.c_str(), flags);  // a file system without direct I/O
  if (fd_ < 0) fail(path, "cannot be opened");
}

SegmentFile::~SegmentFile() {
  if (fd_ >= 0) close(fd_);
}

PrefixStore::~PrefixStore() {
  std::array<IoResult, IoBackend::kDepth> ignored;
  while (io_->in_flight() > 0) io_->poll(ignored, IoWait::kForOne);
  if (lock_ >= 0) close(lock_);
}

void PrefixStore::lock() {
  const std::filesystem::path path = dir_ / "LOCK";
  lock_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_ < 0) fail(path, "cannot be opened");
  if (flock(lock_, LOCK_EX | LOCK_NB) == 0) return;
  read_only_ = true;
  note_ = dir_.string() + ": is open in another process, so nothing is added to it";
}

std::filesystem::path PrefixStore::segment_path(std::uint64_t number) const {
  return dir_ / fmt::format("seg-{}.kv", number);
}

// Anything that is not whole counts as no manifest: it was replaced in one step, so a crash leaves the old one.
std::vector<std::uint64_t> PrefixStore::read_manifest() {
  const std::filesystem::path path = dir_ / "MANIFEST";
  if (!std::filesystem::exists(path)) return {};
  const File file = File::open_read(path, FileCache::kUse);
  const std::int64_t size = file.size().count;
  Manifest manifest;
  if (size < static_cast<std::int64_t>(sizeof manifest + 8) || size > std::int64_t{16} << 20) return {};
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  file.read_exactly(0, bytes);
  std::memcpy(&manifest, bytes.data(), sizeof manifest);
  std::uint64_t checksum = 0;
  std::memcpy(&checksum, bytes.data() + bytes.size() - 8, 8);
  if (manifest.magic != kManifestMagic || manifest.version != kVersion || manifest.segments > kMostSegments ||
      bytes.size() != sizeof manifest + 8 * manifest.segments + 8 ||
      XXH3_64bits(bytes.data(), bytes.size() - 8) != checksum || manifest.fingerprint != options_.fingerprint ||
      manifest.record_bytes != record_bytes().count || manifest.segment_bytes != options_.shape.segment_bytes().count) {
    return {};
  }
  std::vector<std::uint64_t> numbers(manifest.segments);
  std::memcpy(numbers.data(), bytes.data() + sizeof manifest, 8 * numbers.size());
  return numbers;
}

void PrefixStore::write_manifest() const {
  Manifest manifest{.fingerprint = options_.fingerprint,
                    .segment_bytes = options_.shape.segment_bytes().count,
                    .record_bytes = record_bytes().count,
                    .segments = segments_.size()};
  std::string bytes(reinterpret_cast<const char*>(&manifest), sizeof manifest);
  for (const auto& [number, segment] : segments_) bytes.append(reinterpret_cast<const char*>(&number), sizeof number);
  const std::uint64_t checksum = XXH3_64bits(bytes.data(), bytes.size());
  bytes.append(reinterpret_cast<const char*>(&checksum), sizeof checksum);
  const std::filesystem::path path = dir_ / "MANIFEST.new";
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) fail(path, "cannot be written");
  const bool written = ::write(fd, bytes.data(), bytes.size()) == std::ssize(bytes) && fdatasync(fd) == 0;
  close(fd);
  if (!written || std::rename(path.c_str(), (dir_ / "MANIFEST").c_str()) != 0) fail(path, "cannot be written");
  const int folder = ::open(dir_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool kept = folder >= 0 && fsync(folder) == 0;
  if (folder >= 0) close(folder);
  if (!kept) fail(dir_, "cannot be synchronised");
}

void PrefixStore::open_segment(std::uint64_t number) {
  next_segment_ = std::max(next_segment_, number + 1);
  std::error_code error;
  if (!std::filesystem::is_regular_file(segment_path(number), error)) return;
  Segment segment{.number = number, .file = SegmentFile(segment_path(number), !read_only_)};
  scan(segment);
  segments_.emplace(number, std::move(segment));
  disk_.commit(std::min(options_.shape.segment_bytes(), disk_.size() - disk_.used()));
}

// A record goes behind the one before it in the sequence, or first: a scan would not find it elsewhere. Segments that
// damage has cut short take no more.
void PrefixStore::choose_open() {
  for (const auto& [number, segment] : segments_) {
    if (segment.records < capacity() && (segment.records == 0 || segment.next == sequence_)) open_ = number;
  }
}

// Records as far as headers are whole and in sequence; what is behind is overwritten. Payloads are proven when they are
// read.
void PrefixStore::scan(Segment& segment) {
  const std::span<std::byte> block = buffer_.bytes().first(kHeaderBlock.size());
  std::optional<std::uint64_t> expected;
  for (Index record = 0; record < capacity(); ++record) {
    const std::int64_t offset = record * record_bytes().count;
    if (!transfer(IoOp::kRead, segment.file, offset, block)) break;
    Header header;
    std::memcpy(&header, block.data(), sizeof header);
    const std::uint64_t checksum = std::exchange(header.checksum, 0);
    std::memcpy(block.data(), &header, sizeof header);
    if (header.magic != kRecordMagic || XXH3_64bits(block.data(), block.size()) != checksum ||
        header.record_bytes != static_cast<std::uint64_t>(record_bytes().count) ||
        (expected && header.sequence != *expected))
      break;
    expected = segment.next = header.sequence + 1;
    sequence_ = std::max(sequence_, *expected);
    index_[header.key] = {segment.number, record};
    segment.records = record + 1;
  }
}

bool PrefixStore::read(const Sha256& key, const Sha256& parent, std::span<const std::int32_t> tokens,
                       std::span<std::byte> payload) {
  const auto found = index_.find(key);
  if (found == index_.end()) return false;
  const auto at = segments_.find(found->second.segment);
  const std::span<std::byte> record = buffer_.bytes().first(record_bytes().size());
  const bool moved = at != segments_.end() &&
                     transfer(IoOp::kRead, at->second.file, found->second.record * record_bytes().count, record);
  const auto whole = [&] {
    Header header;
    std::memcpy(&header, record.data(), sizeof header);
    const std::uint64_t checksum = std::exchange(header.checksum, 0);
    std::memcpy(record.data(), &header, sizeof header);
    const std::span<const std::byte> content = record.subspan(kHeaderBlock.size());
    return XXH3_64bits(record.data(), kHeaderBlock.size()) == checksum && header.key == key &&
           header.parent == parent && header.tokens == tokens.size() &&
           std::memcmp(record.data() + sizeof header, tokens.data(), tokens.size_bytes()) == 0 &&
           XXH3_64bits(content.data(), content.size()) == header.payload_checksum && payload.size() == content.size();
  };
  if (!moved || !whole()) {
    index_.erase(found);
    return false;
  }
  std::memcpy(payload.data(), record.data() + kHeaderBlock.count, payload.size());
  at->second.used = ++clock_;
  return true;
}

void PrefixStore::append(const Sha256& key, const Sha256& parent, std::span<const std::int32_t> tokens,
                         std::span<const std::byte> payload) {
  if (read_only_ || index_.contains(key) || pending_.contains(key)) return;
  JERICHO_CHECK(std::ssize(tokens) == kPageTokens && payload.size() == options_.shape.payload.size(),
                "a record of {} tokens, {} B", tokens.size(), payload.size());
  if ((!open_ || segments_.at(*open_).records == capacity()) && !new_segment()) return;
  Segment& segment = segments_.at(*open_);
  const std::span<std::byte> record = buffer_.bytes().first(record_bytes().size());
  std::memset(record.data(), 0, kHeaderBlock.size());
  Header header{.tokens = static_cast<std::uint32_t>(tokens.size()),
                .record_bytes = record.size(),
                .sequence = sequence_,
                .key = key,
                .parent = parent,
                .payload_checksum = XXH3_64bits(payload.data(), payload.size())};
  std::memcpy(record.data(), &header, sizeof header);
  std::memcpy(record.data() + sizeof header, tokens.data(), tokens.size_bytes());
  header.checksum = XXH3_64bits(record.data(), kHeaderBlock.size());
  std::memcpy(record.data(), &header, sizeof header);
  std::memcpy(record.data() + kHeaderBlock.count, payload.data(), payload.size());
  std::string why;
  if (!transfer(IoOp::kWrite, segment.file, segment.records * record_bytes().count, record, &why)) return give_up(why);
  pending_[key] = {segment.number, segment.records};
  ++segment.records;
  ++sequence_;
}

// After a failed fdatasync the kernel holds clean what it never wrote (Rebello et al., ATC 2020): nothing of it is
// believed.
void PrefixStore::sync() {
  if (pending_.empty() || read_only_) return;
  for (auto& [number, segment] : segments_) {
    const bool touched =
        std::any_of(pending_.begin(), pending_.end(), [&, n = number](const auto& p) { return p.second.segment == n; });
    if (touched && fdatasync(segment.file.fd()) != 0) return give_up(std::strerror(errno));
  }
  index_.merge(pending_);
  pending_.clear();
}

void PrefixStore::give_up(const std::string& why) {
  pending_.clear();
  read_only_ = true;
  note_ = fmt::format("{}: takes no more: {}", dir_.string(), why);
}

bool PrefixStore::new_segment() {
  sync();
  if (read_only_) return false;
  if (std::ssize(segments_) >= options_.shape.segments) {
    const auto oldest = std::min_element(segments_.begin(), segments_.end(),
                                         [](const auto& a, const auto& b) { return a.second.used < b.second.used; });
    drop_segment(oldest->first);
  }
  const std::uint64_t number = next_segment_++;
  try {
    File::create(segment_path(number), options_.shape.segment_bytes());
    segments_[number] = {.number = number, .file = SegmentFile(segment_path(number), true), .used = ++clock_};
    write_manifest();
    disk_.commit(std::min(options_.shape.segment_bytes(), disk_.size() - disk_.used()));
  } catch (const Error& error) {
    segments_.erase(number);
    std::error_code ignored;
    std::filesystem::remove(segment_path(number), ignored);
    give_up(error.what());
    return false;
  }
  open_ = number;
  return true;
}

void PrefixStore::drop_segment(std::uint64_t number) {
  std::erase_if(index_, [&](const auto& entry) { return entry.second.segment == number; });
  segments_.erase(number);
  disk_.uncommit(std::min(options_.shape.segment_bytes(), disk_.used()));
  if (open_ == number) open_.reset();
  write_manifest();  // first: a segment that it names is there
  std::error_code ignored;
  std::filesystem::remove(segment_path(number), ignored);
}

std::vector<Sha256> PrefixStore::keys() const {
  std::vector<Sha256> keys;
  for (const auto& [key, where] : index_) keys.push_back(key);
  return keys;
}

bool PrefixStore::transfer(IoOp op, const SegmentFile& file, std::int64_t offset, std::span<std::byte> bytes,
                           std::string* why) {
  int failures = 0;
  for (int retries = 0; retries <= kMostRetries;) {
    io_->submit({file.fd(), op, offset, bytes, 0});
    IoResult result;
    while (io_->poll({&result, 1}, IoWait::kForOne) == 0) {
    }
    std::int64_t moved = std::max<std::int64_t>(0, result.transferred);
    if (moved < std::ssize(bytes)) moved = moved / kAlign * kAlign;  // go on from a whole block
    offset += moved;
    bytes = bytes.subspan(static_cast<std::size_t>(moved));
    if (bytes.empty()) return true;
    const auto error = static_cast<int>(result.transferred < 0 ? -result.transferred : 0);
    retries = moved > 0 ? 0 : retries + 1;
    const bool again = error == 0 || error == EINTR || error == EAGAIN || (error == EIO && ++failures < 2);
    if (again) continue;
    if (why != nullptr) *why = std::strerror(error);
    return false;
  }
  if (why != nullptr) *why = "the kernel moves no data";
  return false;
}

}  // namespace jericho
