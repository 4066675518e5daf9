#include "broker/refusals.h"

#include "protocol/codes.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
struct Refusal {
  std::string_view why;
  std::vector<std::int32_t> codes;
  std::int32_t answer = code::kRequestCodeNotSupported;
};

const std::vector<Refusal>& refusals() {
  static const std::vector<Refusal> all{
      {"static topics are not supported", {513}},
      {"this is a broker, not a container of brokers", {902, 903}},
      {"replication is not supported", {906}},
      {"this broker has no controller", {1008}},
      {"consume queues and configuration are not kept in RocksDB", {354, 355}},
      {"lite topics are not supported",
       {200'070, 200'071, 200'072, 200'073, 200'074, 200'075, 200'076, 200'077, 200'078, 200'079}},
      // What Apache's broker itself refuses as it is delivered: its code, and the cause that it
      // writes to its log.
      {"The authenticationMetadataProvider is not configured.",
       {3001, 3002, 3003, 3004, 3005},
       code::kSystemError},
      {"The authorizationMetadataProvider is not configured.",
       {3006, 3007, 3008, 3009, 3010},
       code::kSystemError},
      {"this request only for controllerMode ", {1007}, code::kSystemError},
      {"timerRocksDBEnable must be configured true when broker start",
       {5001},
       code::kInvalidParameter}};
  return all;
}

}  // namespace

void add_refusals(remoting::Processors& processors) {
  for (const Refusal& each : refusals())
    for (const std::int32_t number : each.codes)
      processors.refuse(number, std::string{each.why}, each.answer);
}

}  // namespace apogee::broker
