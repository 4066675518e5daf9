#pragma once

#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "apogee/admin.h"
#include "apogee/client.h"
#include "main/admin_report.h"

/// `apogee admin`: each command is declared once, in the file of its area. Help, completion and the
/// reference page are made from the declarations.
namespace apogee {

/// Names are mqadmin's: "-t,--topic".
struct AdminOption {
  enum class Kind { kText, kNumber, kBoolean, kSwitch };
  const char* names;
  const char* value;  ///< What stands for it in the help; empty for a switch.
  const char* help;
  Kind kind = Kind::kText;
  bool required = false;
};

/// One run of a command.
struct AdminCall {
  Client& client;
  Admin admin;
  std::chrono::milliseconds timeout;
  std::map<std::string, std::string> given;  ///< By the long name; a switch is "true".
  Report report;
  std::function<void(AdminCall&)> show;  ///< Prints and empties the report.
  std::FILE* progress = nullptr;         ///< Null: nobody looks.

  bool has(const char* name) const { return given.contains(name); }
  std::string text(const char* name, std::string_view otherwise = {}) const;
  std::int64_t number(const char* name, std::int64_t otherwise) const;
  bool boolean(const char* name, bool otherwise) const;
  std::int64_t now_ms() const;
  /// "12 of 340 topics" over itself, for whoever waits.
  void working(std::size_t done, std::size_t all, const char* what) const;
};

struct AdminCommand {
  const char* name;     ///< mqadmin's.
  const char* words;    ///< Ours, two of them.
  const char* summary;  ///< One line, without a full stop.
  const char* details;  ///< More, or empty.
  std::vector<AdminOption> options;
  std::vector<const char*> examples;  ///< What stands behind `apogee admin`.
  Result<Ok> (*run)(AdminCall& call);
};

struct AdminArea {
  const char* title;
  std::vector<AdminCommand> commands;
};
/// In the order of the help.
const std::vector<AdminArea>& admin_areas();
const std::vector<AdminOption>& common_admin_options();

AdminArea topic_commands();
AdminArea group_commands();
AdminArea offset_commands();
AdminArea message_commands();
AdminArea broker_commands();
AdminArea cluster_commands();

std::string admin_reference();  ///< Markdown: docs/admin.md.

// ---- Shared by the areas

inline const AdminOption kBrokerOption{"-b,--brokerAddr", "ADDRESS",
                                       "This broker: host:port, or its name"};
inline const AdminOption kClusterOption{"-c,--clusterName", "CLUSTER",
                                        "All masters of this cluster"};

/// The brokers meant by -b or -c; neither: the masters of all clusters.
Result<std::vector<std::string>> brokers_meant(AdminCall& call);
/// The same, but one of the two has to be given.
Result<std::vector<std::string>> brokers_named(AdminCall& call);
/// "host:port", or the name of a broker that is registered.
Result<std::string> broker_address(AdminCall& call, const std::string& broker);
/// Runs `change` at each and says so: "<what> <broker> success."; one that fails does not keep the
/// others from theirs. JSON: done, failed.
Result<Ok> at_each(AdminCall& call, const std::vector<std::string>& brokers, const char* what,
                   const std::function<Result<Ok>(const std::string&)>& change);
/// now, Unix milliseconds, or yyyy-MM-dd#HH:mm:ss:SSS in local time.
Result<std::int64_t> timestamp_from(const std::string& text, std::int64_t now_ms);
/// "+a=b,+c=d,-e".
Result<std::map<std::string, std::string>> attributes_from(const std::string& text);
/// What of a table nobody told, because a server was silent. It is shown as unknown, not as 0.
class Unanswered {
 public:
  static Cell cell() { return {"-", protocol::Json{}}; }
  /// Is there an answer? A server that refuses or does not know has given one.
  template <class T>
  bool has(const Result<T>& result) {
    if (result || result.error().code == Errc::kNotFound || result.error().code == Errc::kRefused)
      return true;
    causes_.insert(result.error().detail);
    return false;
  }
  Result<Ok> end() const;  ///< kDisconnected, with all causes, if something was not answered.

 private:
  std::set<std::string> causes_;
};
/// Repeats `round` every -i seconds; once without.
Result<Ok> every_interval(AdminCall& call, const std::function<Result<Ok>()>& round);

}  // namespace apogee
