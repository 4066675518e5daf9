#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

/// Which name servers there are and which one is asked: the same one until it fails, as Java does.
///
/// Threads: any.
namespace apogee::client {

class NameServers {
 public:
  explicit NameServers(std::vector<std::string> addresses, std::uint64_t first)
      : addresses_{std::move(addresses)}, current_{first} {}

  bool empty() const {
    std::lock_guard lock{mutex_};
    return addresses_.empty();
  }
  std::vector<std::string> all() const {
    std::lock_guard lock{mutex_};
    return addresses_;
  }
  std::string current() const {  ///< Empty: there is none.
    std::lock_guard lock{mutex_};
    return addresses_.empty() ? std::string{} : addresses_[current_ % addresses_.size()];
  }
  /// `address` did not answer: the next one is asked from now on.
  void failed(const std::string& address) {
    std::lock_guard lock{mutex_};
    if (!addresses_.empty() && addresses_[current_ % addresses_.size()] == address) ++current_;
  }
  /// True if the list is another than before.
  bool replace(std::vector<std::string> addresses) {
    std::lock_guard lock{mutex_};
    if (addresses == addresses_) return false;
    addresses_ = std::move(addresses);
    return true;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> addresses_;
  std::uint64_t current_;
};

/// "a:9876;b:9876"; of "http://host/x" only what stands behind the last slash.
std::vector<std::string> parse_name_servers(std::string_view text);
/// The namespace that the name of a hosted instance's endpoint brings along:
/// "MQ_INST_1234_abc" of "http://MQ_INST_1234_abc.mq.example.com:80" (Java's
/// NameServerAddressUtils). Empty: it is no such name.
std::string instance_of_endpoint(std::string_view text);

}  // namespace apogee::client
