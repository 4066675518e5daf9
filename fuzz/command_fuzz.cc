#include <algorithm>

#include "fuzz/law.h"
#include "protocol/command.h"

/// Frames and both header encodings. Laws: a frame is cut the same however much follows it; what is
/// accepted is understood, that is, encoded again it decodes to the same command.
namespace {

using apogee::fuzz::require;

using namespace apogee;
using namespace apogee::protocol;

void encode(Buffer& out, const CommandView& command) {
  CommandWriter writer{out,
                       {.code = command.code,
                        .opaque = command.opaque,
                        .flag = command.flag,
                        .remark = command.remark,
                        .serialization = command.serialization,
                        .language = command.language,
                        .version = command.version}};
  for (const ExtField& field : command.ext) writer.field(field.name, field.value);
  writer.finish(command.body.size());
  append(out, command.body);
}

bool same(const CommandView& a, const CommandView& b) {
  return a.code == b.code && a.opaque == b.opaque && a.flag == b.flag && a.language == b.language &&
         a.remark.value_or("") == b.remark.value_or("") && std::ranges::equal(a.body, b.body) &&
         std::ranges::equal(a.ext, b.ext, [](const ExtField& one, const ExtField& other) {
           return one.name == other.name && one.value == other.value;
         });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::uint32_t kFrameMax = 1 << 20;
  const Bytes in = std::as_bytes(std::span{data, size});
  const auto frame = decode_frame(in, kFrameMax);
  if (!frame || !*frame) return 0;
  require((*frame)->size <= in.size());
  const auto cut = decode_frame(in.first((*frame)->size), kFrameMax);
  require(cut && *cut && (*cut)->size == (*frame)->size);
  const auto shorter = decode_frame(in.first((*frame)->size - 1), kFrameMax);
  require(shorter && !*shorter);

  CommandDecoder decoder, again;
  const auto command = decoder.decode(**frame);
  if (!command) return 0;
  Buffer out;
  encode(out, *command);
  const auto second_frame = decode_frame(as_bytes(out), 8 * kFrameMax);
  require(second_frame && *second_frame && (*second_frame)->size == out.size());
  const auto second = again.decode(**second_frame);
  require(second.has_value());
  require(same(*command, *second));
  return 0;
}
