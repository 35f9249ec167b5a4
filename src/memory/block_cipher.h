// Encrypts blocks under a key that lives only in this process: drawn at its start, kept out of swap, core dumps and
// forks, gone with it, so that what lies on the disk afterwards is noise. AES-256-GCM (NIST SP 800-38D) where the
// processor has AES instructions, else ChaCha20-Poly1305 (RFC 8439); both come from libsodium. Start at
// BlockCipher::seal().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace jericho {

struct BlockName {  // what a block is, bound to its content: one block cannot pass for another, nor for an older self
  std::uint64_t place = 0;
  std::uint64_t generation = 0;
};
using BlockTag = std::array<std::byte, 16>;

// One thread; several may open() at once.
class BlockCipher {
 public:
  BlockCipher();  // Error(kIo) when the kernel gives no page for the key
  ~BlockCipher();
  BlockCipher(const BlockCipher&) = delete;
  BlockCipher& operator=(const BlockCipher&) = delete;

  struct Sealed {
    std::uint64_t nonce = 0;  // never the same twice in a process
    BlockTag tag{};
  };
  Sealed seal(BlockName name, std::span<std::byte> block);  // in place
  // In place; false, and the content is lost, when the block is not what was sealed under this name.
  [[nodiscard]] bool open(BlockName name, const Sealed& sealed, std::span<std::byte> block) const;

 private:
  void* key_page_ = nullptr;  // locked, not dumped, wiped in a fork
  bool aes_ = false;
  std::uint64_t next_nonce_ = 1;
};

}  // namespace jericho
