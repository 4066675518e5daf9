#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace apogee::crash {

/// One message somebody tried to send.
struct Sent {
  std::string topic, key = {};
  std::int32_t queue_id = 0;
  std::int64_t queue_offset = -1, physical_offset = -1;  ///< As acknowledged; -1: it was not.
  std::int64_t not_before_ms = 0;                        ///< Delayed: readers see it from then on.
  bool acknowledged = false;                             ///< By the broker that runs, or ran last.
  bool certain = false;  ///< Promised: it must be there, from now on, whatever happens.
};

/// One half message and what its producer knows of it.
struct Half {
  std::int32_t queue_id = 0;
  std::int64_t queue_offset = -1, physical_offset = -1;  ///< As told last; -1: not acknowledged.
  enum class Outcome { kOpen, kCommitted, kRolledBack } outcome = Outcome::kOpen;
  std::int64_t ends = 0;                       ///< Times the broker was told to commit it.
  bool acknowledged = false, certain = false;  ///< As in Sent.
};

/// What was sent, what was promised about it, and which promises were found broken. Keyed by body:
/// no two messages have the same.
struct Ledger {
  std::map<std::string, Sent> plain;     ///< Are read from the queue they were sent to.
  std::map<std::string, Sent> delayed;   ///< Arrive later, perhaps twice.
  std::map<std::string, Sent> timed;     ///< Arrive at a time of their own, perhaps twice.
  std::map<std::string, Sent> recalled;  ///< Of those: taken back before their time.
  std::map<std::string, Half> halves;    ///< Arrive when they are committed.
  std::map<std::string, Sent> popped;    ///< Consumed by POP; read from their queue as well.
  std::map<std::string, Sent> returned;  ///< Sent back: arrive in the group's retry topic.
  std::map<std::string, Sent> together;  ///< Batches that stay one record; of all their bodies.
  std::map<std::string, Sent> kept;      ///< Each with a key: the newest of a key is kept.
  std::map<std::string, Sent> passing;   ///< Of the topic that is deleted and made again.
  std::set<std::string> pop_acked;       ///< No more of these was asked for.
  std::set<std::string> gone;            ///< Lost with nobody's word broken: must stay away.
  std::map<std::string, bool> topics;    ///< Made by request: certain or not.
  std::map<std::pair<std::string, std::int32_t>, std::int64_t> committed;  ///< Highest ever told.
  std::vector<std::string> violations;

  void violation(std::string what) { violations.push_back(std::move(what)); }
};

/// The number a body begins with: what people read of it.
inline std::string name_of(const std::string& body) {
  return body.substr(0, body.find(':'));
}

}  // namespace apogee::crash
