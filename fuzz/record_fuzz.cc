#include <algorithm>

#include "fuzz/law.h"
#include "protocol/message.h"
#include "protocol/properties.h"

/// Message records, their properties, batches and ids. Laws: everything a decoded record points to
/// is inside its bytes; encoded again it decodes to the same message.
namespace {

using apogee::fuzz::require;

using namespace apogee;
using namespace apogee::protocol;

bool inside(Bytes part, Bytes whole) {
  return part.empty() ||
         (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void check_record_laws(Bytes in) {
  const RecordCheck check = check_record(in, false);
  const RecordCheck strict = check_record(in, true);
  if (strict.kind == RecordKind::kRecord) require(check.kind == RecordKind::kRecord);
  if (check.kind != RecordKind::kRecord) {
    require(!decode_message(in));
    return;
  }
  const Message& message = check.message;
  require(check.size > 0 && static_cast<std::size_t>(check.size) <= in.size());
  const Bytes whole = in.first(static_cast<std::size_t>(check.size));
  for (const Bytes part : {message.body, message.born_host, message.store_host,
                           as_bytes(message.topic), as_bytes(message.properties)})
    require(inside(part, whole));

  Buffer out;
  if (!encode_message(out, message)) return;
  const auto again = decode_message(as_bytes(out));
  require(again.has_value());
  require(again->queue_id == message.queue_id && again->queue_offset == message.queue_offset &&
          again->physical_offset == message.physical_offset && again->flag == message.flag &&
          again->store_timestamp == message.store_timestamp && again->topic == message.topic &&
          again->properties == message.properties && std::ranges::equal(again->body, message.body));
  require(check_record(as_bytes(out), true).kind == RecordKind::kRecord);
}

void check_properties(std::string_view text) {
  const Properties once{text};
  const Properties twice{once.encode()};
  require(once.entries() == twice.entries());
  for (const auto& [name, value] : once.entries()) require(find_property(text, name) == value);
  (void)java_hash(text);
}

void check_batch(Bytes body) {
  const auto members = split_batch(body);
  if (!members) return;
  Buffer out;
  for (const BatchMember& member : *members) append_batch_member(out, member);
  const auto again = split_batch(as_bytes(out));
  require(again && again->size() == members->size());
  for (std::size_t i = 0; i < members->size(); ++i)
    require((*again)[i].flag == (*members)[i].flag &&
            (*again)[i].properties == (*members)[i].properties &&
            std::ranges::equal((*again)[i].body, (*members)[i].body));
}

void check_id(std::string_view text) {
  const auto id = parse_offset_message_id(text);
  if (!id) return;
  const std::string again =
      offset_message_id(as_bytes(id->host.address), id->host.port, id->physical_offset);
  const auto same = parse_offset_message_id(again);
  require(same && same->physical_offset == id->physical_offset && same->host.port == id->host.port);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes in = std::as_bytes(std::span{data, size});
  check_record_laws(in);
  check_properties(as_text(in));
  check_batch(in);
  check_id(as_text(in));
  return 0;
}
