#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "apogee/message.h"
#include "apogee/result.h"
#include "protocol/headers.h"
#include "protocol/message.h"

/// From records to messages as programs receive them. Pure.
namespace apogee::client {

/// Decompresses the body. One that cannot be decompressed is given as it is, its sys_flag still
/// saying so: a message nobody can read must not hold up those behind it.
/// `name_space` is taken off the topic; `broker` is the name of the one it came from, if known.
ReceivedMessage received(const protocol::Message& record, const std::string& name_space,
                         const std::string& broker = {});
/// The answer to a request, pushed by the broker.
ReceivedMessage received(const protocol::PushReplyMessageRequest& header, Bytes body,
                         const std::string& name_space);

/// The body of a pull's answer: records one after the other, a batch kept in one record being given
/// as its members. kMalformed: what was whole before the damage is in `messages`.
Result<Ok> append_received(Bytes records, const std::string& name_space, const std::string& broker,
                           std::vector<ReceivedMessage>& messages);

/// Properties as text: name 0x01 value 0x02 ...
std::map<std::string, std::string> properties_of(std::string_view text);

}  // namespace apogee::client
