#include "store/repair.h"

#include <algorithm>
#include <map>

#include <fmt/core.h>

#include "protocol/json.h"
#include "store/compaction_log.h"
#include "store/deleted_topics.h"
#include "store/log_reader.h"

namespace apogee::store {
namespace {

constexpr std::string_view kFillerTopic = "DAMAGED";
constexpr std::array<std::byte, 4> kNoHost{};

/// The mark behind the last record of a segment, for what has no record up to the segment's end.
Buffer closing_blank(std::uint64_t bytes) {
  Buffer out;
  append_big<std::int32_t>(out, static_cast<std::int32_t>(bytes));
  append_big<std::int32_t>(out, protocol::kMagicBlank);
  return out;
}

/// A record of `bytes` at `offset` that no queue gets: half of a transaction that never was.
Result<Buffer> filler(std::int64_t offset, std::uint64_t bytes, std::int64_t store_timestamp) {
  const auto encode = [&](std::size_t body_bytes) -> Result<Buffer> {
    const Buffer body(body_bytes, '\0');
    Buffer out;
    auto done = protocol::encode_message(out, {.physical_offset = offset,
                                               .sys_flag = protocol::sys_flag::kPrepared,
                                               .born_timestamp = store_timestamp,
                                               .born_host = kNoHost,
                                               .store_timestamp = store_timestamp,
                                               .store_host = kNoHost,
                                               .body = as_bytes(body),
                                               .topic = kFillerTopic,
                                               .properties = {}});
    if (!done) return done.error();
    return out;
  };
  auto least = encode(0);
  if (!least) return least;
  if (bytes < least->size())
    return Error{Errc::kInvalidArgument, fmt::format("{} bytes are too few for a record", bytes)};
  return encode(bytes - least->size());
}

Result<Ok> overwrite(FileSystem& files, const std::string& path, std::uint64_t position,
                     const Buffer& bytes) {
  auto file = files.open(path, FileSystem::Open::kExisting);
  if (!file) return file.error();
  if (auto done = (*file)->write_at(position, as_bytes(bytes)); !done) return done;
  return (*file)->sync();
}

Result<Ok> resize(FileSystem& files, const std::string& path, std::uint64_t bytes) {
  auto file = files.open(path, FileSystem::Open::kExisting);
  if (!file) return file.error();
  if (auto done = (*file)->resize(bytes); !done) return done;
  return (*file)->sync();
}

/// The next start reads the whole log again.
Result<Ok> recover_all(FileSystem& files, const std::string& root) {
  auto mark = files.open(root + "/abort", FileSystem::Open::kCreate);
  if (!mark) return mark.error();
  if (auto done = (*mark)->sync(); !done) return done;
  // What it says of queues and index goes; how far the log was on disk stays known.
  if (files.stat(root + "/checkpoint")) {
    if (auto done = overwrite(files, root + "/checkpoint", 8, Buffer(16, '\0')); !done) return done;
  }
  return files.sync_directory(root);
}

class Planner {
 public:
  Planner(FileSystem& files, const InspectOptions& options) : files_{files}, options_{options} {}

  Result<std::vector<Remedy>> plan() {
    auto inspection = Inspection::open(files_, options_);
    if (!inspection) return inspection.error();
    auto summary = inspection->summary();
    if (!summary) return summary.error();
    if (summary->locked)
      return Error{Errc::kExists, options_.root + " is open in another process; stop that broker"};
    if (auto done = plan_log(inspection->segments()); !done) return done.error();
    auto report = inspection->check([this](const Finding& finding) {
      if (finding.weight == Finding::Weight::kDamage) plan_rest(finding);
    });
    if (!report) return report.error();
    return std::move(remedies_);
  }

 private:
  Result<Ok> plan_log(const std::vector<SegmentFile>& segments) {
    LogReader reader{files_, segments};
    return reader.walk(reader.begin(), CheckCrc::kBody, [&](const LogItem& item) {
      if (item.kind == LogItem::Kind::kRecord) {
        last_timestamp_ = item.message.store_timestamp;
      } else if (item.kind == LogItem::Kind::kWrongCrc || item.kind == LogItem::Kind::kGarbage) {
        plan_stretch(item);
      }
      return true;
    });
  }

  void plan_stretch(const LogItem& item) {
    const bool whole = item.kind == LogItem::Kind::kWrongCrc;
    Remedy remedy;
    remedy.file = item.segment->path;
    remedy.position = item.position;
    remedy.damage =
        whole ? fmt::format("topic {} queue {} offset {}: the body is not what was sent",
                            item.message.topic, item.message.queue_id, item.message.queue_offset)
              : fmt::format("{} bytes are not a record", item.bytes);
    remedy.otherwise =
        "with Apache's broker every message behind it, once a recovery reads this file";
    const bool to_the_end = item.position + item.bytes == item.segment->bytes;
    auto record = to_the_end && item.bytes >= protocol::kBlankRecordBytes
                      ? Result<Buffer>{closing_blank(item.bytes)}
                      : filler(item.offset(), item.bytes, last_timestamp_);
    if (!record) {
      remedy.loses = "cannot be mended in place: " + record.error().detail;
    } else {
      remedy.action =
          to_the_end
              ? std::string{"mark the file as ending here"}
              : fmt::format("overwrite the {} bytes with a record that no queue gets", item.bytes);
      remedy.loses = whole ? "this message" : "the messages that stood there";
      remedy.apply = [&files = files_, path = remedy.file, position = remedy.position,
                      root = options_.root, bytes = *std::move(record)]() -> Result<Ok> {
        if (auto done = overwrite(files, path, position, bytes); !done) return done;
        return recover_all(files, root);
      };
    }
    remedies_.push_back(std::move(remedy));
  }

  void plan_rest(const Finding& finding) {
    const auto below = [&](std::string_view directory) {
      return finding.file.starts_with(options_.root + "/" + std::string{directory});
    };
    if (below("consumequeue/") || below("batchconsumequeue/"))
      plan_queue(finding);
    else if (below("index/"))
      plan_index(finding);
    else if (below("config/"))
      plan_table(finding);
    else if (below("compaction/"))
      plan_compacted(finding);
    else if (below("checkpoint"))
      add(finding, "remove it", "nothing; the next start reads the whole log again", "nothing more",
          [&files = files_, root = options_.root]() -> Result<Ok> {
            if (auto done = files.remove(root + "/checkpoint"); !done) return done;
            return recover_all(files, root);
          });
  }

  void plan_queue(const Finding& finding) {
    const std::string directory = finding.file.substr(0, finding.file.rfind('/'));
    add(
        finding, "remove " + directory + " and have the next start make it again from the log",
        "nothing that the log still has", "the messages named above, for consumers",
        [&files = files_, root = options_.root, directory]() -> Result<Ok> {
          if (auto done = remove_tree(files, directory); !done) return done;
          return recover_all(files, root);
        },
        directory);
  }

  void plan_index(const Finding& finding) {
    add(finding, "remove the file", "finding its messages by key; they can still be consumed",
        "finding some of its messages by key",
        [&files = files_, path = finding.file] { return files.remove(path); });
  }

  void plan_table(const Finding& finding) {
    const std::string backup = finding.file + ".bak";
    // The one before may have marks that are too high, and hide messages.
    if (finding.file.ends_with(DeletedTopics::kFile))
      return add(finding, "remove it and its .bak",
                 "that topics were deleted: their messages may come back", "the same",
                 [&files = files_, path = finding.file, backup]() -> Result<Ok> {
                   if (files.stat(backup))
                     if (auto removed = files.remove(backup); !removed) return removed;
                   return files.remove(path);
                 });
    auto content = read_file(files_, backup);
    const bool usable = content && !content->empty() && protocol::parse_json(*content);
    if (usable) {
      add(finding, "put " + backup + " in its place", "what was changed since that was written",
          "the same: a broker reads the .bak, too",
          [&files = files_, path = finding.file, text = *std::move(content)]() -> Result<Ok> {
            // Not by replace_file(): the damaged file must not become the .bak.
            if (auto removed = files.remove(path); !removed) return removed;
            return replace_file(files, path, text);
          });
    } else {
      add(finding, "rename it to " + finding.file + ".damaged",
          "all that the table held; the broker starts with an empty one",
          "the broker does not start",
          [&files = files_, path = finding.file] { return files.rename(path, path + ".damaged"); });
    }
  }

  /// A broker passes over what is damaged of a compaction log, and its next compaction drops it.
  void plan_compacted(const Finding& finding) {
    const CompactionPlace place = CompactionPlace::of(options_.root, {});
    const auto status = files_.stat(finding.file);
    const std::uint64_t whole = longest_beside(finding.file);
    if (finding.file == CompactionPlace::positions_path(options_.root))
      add(finding, "remove it", "nothing; all is compacted once more",
          "nothing; a broker does the same",
          [&files = files_, path = finding.file] { return files.remove(path); });
    else if (status && finding.file.starts_with(place.queue_directory + "/"))
      add(finding, "have the next start make the queue's units again from the records",
          "nothing that can be given out", "the messages named above, for consumers",
          [&files = files_, path = finding.file, whole, place]() -> Result<Ok> {
            if (auto done = resize(files, path, whole); !done) return done;
            // As after a compaction that was cut off. The units that are there stay, for they know
            // what is behind damaged records.
            const std::size_t name = path.rfind('/'), above = place.queue_directory.size();
            const std::string logs = place.log_directory + path.substr(above, name - above);
            if (auto made = files.create_directories(fmt::format("{}/{}", logs, kCompacting));
                !made)
              return made;
            return files.sync_directory(logs);
          });
    else if (status && status->size < whole)
      add(finding, fmt::format("extend it to {} bytes", whole), "nothing that is there",
          "the broker does not start",
          [&files = files_, path = finding.file, whole] { return resize(files, path, whole); });
    else
      add(finding, {}, "there is nothing to be done: the message is lost",
          "nothing more; it goes with the next compaction", {});
  }

  std::uint64_t longest_beside(const std::string& path) {
    std::uint64_t longest = 0;
    if (const auto beside = list_segments(files_, path.substr(0, path.rfind('/'))))
      for (const SegmentFile& each : *beside) longest = std::max(longest, each.bytes);
    return longest;
  }

  /// One remedy for all damages of one thing.
  void add(const Finding& finding, std::string action, std::string loses, std::string otherwise,
           std::function<Result<Ok>()> apply, const std::string& thing = {}) {
    if (!planned_.try_emplace(thing.empty() ? finding.file : thing).second) return;
    remedies_.push_back({finding.file, finding.position, finding.what, std::move(action),
                         std::move(loses), std::move(otherwise), std::move(apply)});
  }

  FileSystem& files_;
  const InspectOptions& options_;
  std::vector<Remedy> remedies_;
  std::map<std::string, bool> planned_;
  std::int64_t last_timestamp_ = 0;
};

}  // namespace

Result<std::vector<Remedy>> plan_repair(FileSystem& files, const InspectOptions& options) {
  return Planner{files, options}.plan();
}

}  // namespace apogee::store
