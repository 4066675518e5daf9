#include "client/signing.h"

#include <algorithm>
#include <array>
#include <span>

#include <openssl/evp.h>
#include <openssl/hmac.h>

namespace apogee::client {
namespace {

std::string base64(std::span<const unsigned char> bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');  // and a zero, which OpenSSL writes
  const int size = ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes.data(),
                                     static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(size));
  return out;
}

}  // namespace

std::string signature(const std::string& secret_key,
                      const std::vector<std::pair<std::string, std::string>>& fields, Bytes body) {
  std::vector<std::pair<std::string_view, std::string_view>> sorted{fields.begin(), fields.end()};
  std::ranges::sort(sorted);
  std::string content;
  for (const auto& [name, value] : sorted)
    if (name != acl::kSignature) content += value;
  append(content, body);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  ::HMAC(::EVP_sha1(), secret_key.data(), static_cast<int>(secret_key.size()),
         reinterpret_cast<const unsigned char*>(content.data()), content.size(), digest.data(),
         &size);
  return base64({digest.data(), size});
}

}  // namespace apogee::client
