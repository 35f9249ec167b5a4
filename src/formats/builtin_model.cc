// The bytes come from JERICHO_BUILTIN_MODEL at build time. The loader knows which part of the executable each address was
// mapped from (dl_iterate_phdr(3), elf(5): p_offset is that of p_vaddr).
#include "formats/builtin_model.h"

#include <link.h>

#include <cstdint>
#include <optional>

#include "base/error.h"

asm(R"(
  .pushsection .rodata
  .balign 4096
  .global jericho_builtin_model_begin
  .global jericho_builtin_model_end
jericho_builtin_model_begin:
  .incbin ")" JERICHO_BUILTIN_MODEL R"("
jericho_builtin_model_end:
  .popsection
)");

extern "C" const char jericho_builtin_model_begin[], jericho_builtin_model_end[];

namespace jericho {
namespace {

struct Place {
  std::uintptr_t address;
  std::optional<std::int64_t> offset{};
};

// Of the first object, the program itself: its segment that holds the address.
int find_offset(dl_phdr_info* object, std::size_t, void* place_of) {
  auto& place = *static_cast<Place*>(place_of);
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = object->dlpi_phdr[i];
    const std::uintptr_t begin = object->dlpi_addr + segment.p_vaddr;
    if (segment.p_type != PT_LOAD || place.address < begin || place.address - begin >= segment.p_filesz) continue;
    place.offset = static_cast<std::int64_t>(place.address - begin + segment.p_offset);
  }
  return 1;  // no further objects
}

}  // namespace

FilePart builtin_model_file() {
  Place place{reinterpret_cast<std::uintptr_t>(jericho_builtin_model_begin)};
  dl_iterate_phdr(find_offset, &place);
  constexpr const char* kProgram = "/proc/self/exe";
  if (!place.offset || !std::filesystem::exists(kProgram)) {
    throw Error(ErrorKind::kIo,
                "the built-in model cannot be read: /proc/self/exe is not there; mount /proc, or give a model with -m");
  }
  return {kProgram, *place.offset, Bytes{jericho_builtin_model_end - jericho_builtin_model_begin}};
}

}  // namespace jericho
