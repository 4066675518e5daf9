#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"

/// Request signatures of RocketMQ's ACL (4.x and 5.x). Pure.
namespace apogee::client {

namespace acl {
/// Extension fields of a signed request.
inline constexpr std::string_view kAccessKey = "AccessKey", kSecurityToken = "SecurityToken",
                                  kSignature = "Signature";
}  // namespace acl

/// base64(HMAC-SHA1(secret, values of all fields in the byte order of their names, then the body)).
/// The fields are all that will be sent, access key included; a Signature among them is left out.
/// AclClientRPCHook.doBeforeRequest, AclUtils.combineRequestContent.
std::string signature(const std::string& secret_key,
                      const std::vector<std::pair<std::string, std::string>>& fields, Bytes body);

}  // namespace apogee::client
