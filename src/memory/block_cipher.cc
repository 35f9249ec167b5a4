// Key page, nonces and libsodium's calls: see block_cipher.h.
#include "memory/block_cipher.h"

#include <cerrno>
#include <cstring>

#include <sodium.h>
#include <sys/mman.h>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho {
namespace {

constexpr std::size_t kKeyPage = 4096;
static_assert(crypto_aead_aes256gcm_KEYBYTES == crypto_aead_chacha20poly1305_IETF_KEYBYTES);
static_assert(crypto_aead_aes256gcm_NPUBBYTES == crypto_aead_chacha20poly1305_IETF_NPUBBYTES);
static_assert(crypto_aead_aes256gcm_ABYTES == sizeof(BlockTag));
static_assert(crypto_aead_chacha20poly1305_IETF_ABYTES == sizeof(BlockTag));

struct Nonce {
  unsigned char bytes[crypto_aead_aes256gcm_NPUBBYTES] = {};
  explicit Nonce(std::uint64_t count) { std::memcpy(bytes + 4, &count, sizeof count); }
};

unsigned char* bytes_of(std::span<std::byte> block) { return reinterpret_cast<unsigned char*>(block.data()); }

}  // namespace

BlockCipher::BlockCipher() {
  if (sodium_init() < 0) throw Error(ErrorKind::kIo, "libsodium cannot be initialised; is there /dev/urandom?");
  aes_ = crypto_aead_aes256gcm_is_available() != 0;
  void* page = mmap(nullptr, kKeyPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) throw Error(ErrorKind::kIo, fmt::format("no page for a key: {}", std::strerror(errno)));
  key_page_ = page;
  // Each of these may be refused by the kernel; the key is then no worse kept than the rest of the process.
  static_cast<void>(mlock(page, kKeyPage));
  static_cast<void>(madvise(page, kKeyPage, MADV_DONTDUMP));
  static_cast<void>(madvise(page, kKeyPage, MADV_WIPEONFORK));
  randombytes_buf(page, crypto_aead_aes256gcm_KEYBYTES);
}

BlockCipher::~BlockCipher() {
  sodium_memzero(key_page_, kKeyPage);
  munmap(key_page_, kKeyPage);
}

BlockCipher::Sealed BlockCipher::seal(BlockName name, std::span<std::byte> block) {
  Sealed sealed{.nonce = next_nonce_++};
  const Nonce nonce(sealed.nonce);
  const auto* key = static_cast<const unsigned char*>(key_page_);
  const auto* associated = reinterpret_cast<const unsigned char*>(&name);
  auto* tag = reinterpret_cast<unsigned char*>(sealed.tag.data());
  const auto encrypt =
      aes_ ? crypto_aead_aes256gcm_encrypt_detached : crypto_aead_chacha20poly1305_ietf_encrypt_detached;
  encrypt(bytes_of(block), tag, nullptr, bytes_of(block), block.size(), associated, sizeof name, nullptr, nonce.bytes,
          key);
  return sealed;
}

bool BlockCipher::open(BlockName name, const Sealed& sealed, std::span<std::byte> block) const {
  const Nonce nonce(sealed.nonce);
  const auto* associated = reinterpret_cast<const unsigned char*>(&name);
  const auto decrypt =
      aes_ ? crypto_aead_aes256gcm_decrypt_detached : crypto_aead_chacha20poly1305_ietf_decrypt_detached;
  return decrypt(bytes_of(block), nullptr, bytes_of(block), block.size(),
                 reinterpret_cast<const unsigned char*>(sealed.tag.data()), associated, sizeof name, nonce.bytes,
                 static_cast<const unsigned char*>(key_page_)) == 0;
}

}  // namespace jericho
