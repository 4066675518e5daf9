#include "fuzz/law.h"
#include "remoting/proxy_protocol.h"

/// What stands ahead of a connection, whole or in pieces. Laws: a header is never longer than what
/// was given; waiting ends; whoever waited for more of the same bytes comes to the same answer.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using apogee::fuzz::require;
  const apogee::Bytes all = std::as_bytes(std::span{data, size});
  const auto whole = apogee::remoting::read_proxy_header(all);
  if (!whole) {
    require(!whole.error().detail.empty());
    return 0;
  }
  require(whole->size <= size && (!whole->wait || whole->size == 0));
  for (std::size_t length = 0; length < std::min<std::size_t>(size, 300); ++length) {
    const auto part = apogee::remoting::read_proxy_header(all.first(length));
    if (!part) {
      require(false);  // what is malformed in part is malformed as a whole
    } else if (!part->wait) {
      require(part->size == whole->size && part->source == whole->source);
    }
  }
  return 0;
}
