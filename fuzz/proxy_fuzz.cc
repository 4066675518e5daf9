#include "fuzz/law.h"
#include "remoting/proxy_protocol.h"

/// What a load balancer says ahead of a connection. Laws: a header lies within what was read; more
/// bytes behind it change nothing; while bytes are missing nothing is decided.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using apogee::fuzz::require;
  const apogee::Bytes in = std::as_bytes(std::span{data, size});
  const auto header = apogee::remoting::read_proxy_header(in);
  if (!header || header->wait) return 0;
  require(header->size <= size);
  const auto alone = apogee::remoting::read_proxy_header(in.first(header->size));
  if (header->size > 0)
    require(alone && !alone->wait && alone->size == header->size &&
            alone->source == header->source);
  for (std::size_t cut = 0; cut < header->size; ++cut) {
    const auto part = apogee::remoting::read_proxy_header(in.first(cut));
    require(part && part->wait);
  }
  return 0;
}
