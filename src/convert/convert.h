// One model file into another: Hugging Face directory or GGUF in, either out, with the types of a mix where one is
// asked for. Weights stream through in the order in which they are written, a chunk at a time. Start at
// Conversion::run(); docs/conversion.md says what is kept and what changes.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "convert/output_tensors.h"
#include "convert/row_converter.h"
#include "convert/type_mix.h"
#include "engine/adapters.h"
#include "formats/model_file.h"
#include "memory/io.h"
#include "models/config.h"
#include "models/weights.h"
#include "ops/context.h"

namespace jericho {

struct ConvertOptions {
  std::filesystem::path output{};        // "NAME.gguf", or a directory to be made
  std::optional<TypeMix> mix{};          // unset: each matrix keeps its type where the output's format has it
  const AdapterSet* adapters = nullptr;  // merged into the matrices; loaded before run()
};

struct ConvertIo {  // two backends, since reading and writing go on at once
  IoBackend& input;
  IoBackend& output;
};

class Conversion {  // one thread
 public:
  // Decides every tensor from headers alone. `file` outlives it. Error(kUsage) when the output is there already or its
  // folder is not; others as read_config() and WeightLayout::of_file().
  Conversion(const ModelFile& file, ConvertOptions options);

  [[nodiscard]] ModelFormat target() const { return target_; }
  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] const WeightLayout& layout() const { return layout_; }  // of the source
  [[nodiscard]] const std::vector<OutputTensor>& tensors() const { return tensors_; }
  [[nodiscard]] Bytes bytes() const;  // of all tensors as written
  [[nodiscard]] Bytes bytes_read() const { return layout_.file_bytes(); }
  [[nodiscard]] Bytes buffer_bytes(int threads) const;  // what run() takes for its chunks
  [[nodiscard]] Bytes heap_bytes() const;               // what its lists will take at most

  // What a user should know about what could not be carried over as it was; after run().
  [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }

  // Writes the output under another name beside it and gives it its own at the end: an interrupted or failed conversion
  // leaves nothing. `buffers` has buffer_bytes() and starts on a multiple of 4096. Error(kInterrupted), Error(kIo).
  using Progress = std::function<void(Bytes done, Bytes total)>;
  void run(const Context& context, const ConvertIo& io, std::span<std::byte> buffers, const std::stop_token& stop,
           const Progress& progress);

 private:
  class Buffers;
  [[nodiscard]] ChunkSizes chunk_sizes() const;
  [[nodiscard]] DType type_of(const OutputTensor& tensor) const;
  void add_computed();
  void refuse_losses() const;
  [[nodiscard]] std::size_t place_of(const WeightPlacement& weight) const;
  [[nodiscard]] bool is_merged(const OutputTensor& tensor) const;
  void check_merge();
  void note_unused();
  void narrow_values(const Context& context, IoBackend& io, const Buffers& buffers, const std::stop_token& stop);
  template <class Writer>
  void stream(Writer& writer, const Context& context, IoBackend& io, const Buffers& buffers,
              const std::stop_token& stop, const Progress& progress);
  template <class Writer>
  void write_tensors(Writer& writer, const std::filesystem::path& path, const Context& context, const ConvertIo& io,
                     const Buffers& buffers, const std::stop_token& stop, const Progress& progress);
  void write_gguf(const std::filesystem::path& path, const Context& context, const ConvertIo& io,
                  const Buffers& buffers, const std::stop_token& stop, const Progress& progress);
  void write_directory(const std::filesystem::path& path, const Context& context, const ConvertIo& io,
                       const Buffers& buffers, const std::stop_token& stop, const Progress& progress);

  const ModelFile& file_;
  ConvertOptions options_;
  ModelFormat target_;
  ModelConfig config_;
  WeightLayout layout_;
  std::vector<OutputTensor> tensors_;
  Index rank_ = 0;  // the largest of the adapters
  std::vector<std::string> notes_;
};

}  // namespace jericho
