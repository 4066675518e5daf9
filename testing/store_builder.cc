#include "testing/store_builder.h"

#include <cstdio>
#include <cstdlib>

#include <fmt/core.h>

#include "protocol/message.h"

namespace apogee::testing {
namespace {

void must(const Result<Ok>& done) {
  if (done) return;
  fmt::print(stderr, "StoreBuilder: {}\n", done.error().detail);
  std::abort();
}

void write_file(FileSystem& files, const std::string& path, std::string_view content,
                std::uint64_t bytes, bool durable) {
  auto file = files.open(path, FileSystem::Open::kCreate);
  if (!file) must(file.error());
  must((*file)->resize(bytes));
  must((*file)->write_at(0, as_bytes(content)));
  if (durable) must((*file)->sync());
}

std::string segment_name(std::int64_t base) {
  return fmt::format("{:020}", base);
}

/// Saves the names from the root down to `directory`.
void sync_names(FileSystem& files, const std::string& directory) {
  for (std::string path = directory;;) {
    must(files.sync_directory(path));
    if (path.empty()) return;
    const std::size_t slash = path.rfind('/');
    path = slash == std::string::npos ? "" : path.substr(0, slash);
  }
}

}  // namespace

std::int64_t StoreBuilder::put(const Put& put) {
  std::string properties;
  const auto add = [&](std::string_view name, std::string_view value) {
    if (!value.empty()) protocol::append_property(properties, name, value);
  };
  add(protocol::property::kTags, put.tags);
  add(protocol::property::kKeys, put.keys);
  add(protocol::property::kUniqueKey, put.unique_key);

  std::string& units = queue(put.topic, put.queue_id);
  const std::int32_t transaction = put.sys_flag & protocol::sys_flag::kTransactionMask;
  const bool queued =
      transaction != protocol::sys_flag::kPrepared && transaction != protocol::sys_flag::kRollback;
  const std::string host("\x7f\0\0\1", 4);
  protocol::Message message;
  message.queue_id = put.queue_id;
  message.queue_offset = queued ? static_cast<std::int64_t>(units.size()) / 20 : 0;
  message.sys_flag = put.sys_flag;
  message.born_timestamp = put.store_timestamp;
  message.born_host = message.store_host = as_bytes(host);
  message.born_port = message.store_port = 10'911;
  message.store_timestamp = put.store_timestamp;
  message.body = as_bytes(put.body);
  message.topic = put.topic;
  message.properties = properties;
  std::string record;
  must(protocol::encode_message(record, message));

  const std::int64_t rest = segment_bytes_ - log_end() % segment_bytes_;
  if (static_cast<std::int64_t>(record.size()) + 8 > rest) {
    append_big<std::int32_t>(log_, static_cast<std::int32_t>(rest));
    append_big<std::int32_t>(log_, protocol::kMagicBlank);
    log_.append(static_cast<std::size_t>(rest) - 8, '\0');
  }
  const std::int64_t offset = log_end();
  write_big(std::as_writable_bytes(std::span{record}), protocol::record_at::kPhysicalOffset,
            offset);
  log_ += record;
  last_store_timestamp_ = put.store_timestamp;
  if (queued) {
    append_big<std::int64_t>(units, offset);
    append_big<std::int32_t>(units, static_cast<std::int32_t>(record.size()));
    append_big<std::int64_t>(units, protocol::tags_code(put.tags));
  }
  return offset;
}

std::string StoreBuilder::segment_path(std::int64_t base) const {
  return root_ + "/commitlog/" + segment_name(base);
}

std::string StoreBuilder::queue_path(std::string_view topic, std::int32_t queue_id,
                                     std::int64_t base) const {
  return fmt::format("{}/consumequeue/{}/{}/{}", root_, topic, queue_id, segment_name(base));
}

void StoreBuilder::write_files(FileSystem& files, const std::string& directory,
                               const std::string& content, std::int64_t file_bytes, bool durable) {
  must(files.create_directories(directory));
  const auto size = static_cast<std::size_t>(file_bytes);
  for (std::size_t base = 0; base < content.size(); base += size)
    write_file(files, directory + "/" + segment_name(static_cast<std::int64_t>(base)),
               std::string_view{content}.substr(base, size), size, durable);
  if (durable) sync_names(files, directory);
}

void StoreBuilder::write(FileSystem& files, bool durable) {
  write_files(files, root_ + "/commitlog", log_, segment_bytes_, durable);
  for (const auto& [key, units] : queues_)
    write_files(files, fmt::format("{}/consumequeue/{}/{}", root_, key.first, key.second), units,
                queue_file_bytes_, durable);
  std::string checkpoint;
  append_big<std::int64_t>(checkpoint, last_store_timestamp_);
  append_big<std::int64_t>(checkpoint, last_store_timestamp_);
  write_file(files, root_ + "/checkpoint", checkpoint, 4'096, durable);
  write_file(files, root_ + "/lock", "lock", 4, durable);
  if (durable) sync_names(files, root_);
}

}  // namespace apogee::testing
