// The bytes come from JERICHO_BUILTIN_MODEL at build time, into a section that is not loaded: it is in the program's
// file and never in its memory. The section's header says where (elf(5)).
#include "formats/builtin_model.h"

#include <elf.h>

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "formats/input_file.h"

asm(R"(
  .pushsection .jericho.model, "", @progbits
  .balign 4096
  .incbin ")" JERICHO_BUILTIN_MODEL R"("
  .popsection
)");

namespace jericho {
namespace {

constexpr const char* kProgram = "/proc/self/exe";
constexpr std::string_view kSection{".jericho.model", sizeof(".jericho.model")};  // with its final zero

template <class T>
std::vector<T> read_array(const InputFile& file, std::uint64_t offset, std::size_t count) {
  const std::uint64_t size = count * sizeof(T), all = static_cast<std::uint64_t>(file.size());
  if (offset > all || size > all - offset) return {};
  std::vector<T> out(count);
  file.read_at(static_cast<std::int64_t>(offset), std::as_writable_bytes(std::span(out)));
  return out;
}

}  // namespace

FilePart builtin_model_file() {
  const InputFile file(kProgram);
  for (const Elf64_Ehdr& header : read_array<Elf64_Ehdr>(file, 0, 1)) {
    const std::vector<Elf64_Shdr> sections = read_array<Elf64_Shdr>(file, header.e_shoff, header.e_shnum);
    if (header.e_shstrndx >= sections.size()) break;
    const Elf64_Shdr& table = sections[header.e_shstrndx];
    const std::vector<char> names = read_array<char>(file, table.sh_offset, table.sh_size);
    for (const Elf64_Shdr& section : sections) {
      if (section.sh_name >= names.size() || names.size() - section.sh_name < kSection.size()) continue;
      if (std::string_view(names.data() + section.sh_name, kSection.size()) != kSection) continue;
      return {kProgram, static_cast<std::int64_t>(section.sh_offset),
              Bytes{static_cast<std::int64_t>(section.sh_size)}};
    }
  }
  throw Error(ErrorKind::kIo, "this program was stripped of its model; build it again, or give a model with -m");
}

}  // namespace jericho
