#include "store/deleted_topics.h"

#include <algorithm>
#include <mutex>

#include <fmt/core.h>

#include "base/crc.h"
#include "protocol/json.h"
#include "protocol/table_file.h"

namespace apogee::store {
namespace {

std::string path_in(const std::string& root) {
  return fmt::format("{}/config/{}", root, DeletedTopics::kFile);
}

std::int32_t crc_of(const DeletedTopics::Marks& marks) {
  std::string all;
  for (const auto& [topic, offset] : marks) all += fmt::format("{} {}\n", topic, offset);
  return crc32_positive(as_bytes(all));
}

struct Table {
  DeletedTopics::Marks marks;
  std::int32_t crc = 0;  // of all of them: a mark that is too high would hide messages
  using Self = Table;
  static constexpr auto kFields = MemberList{protocol::Field{"logOffsetTable", &Self::marks},
                                             protocol::Field{"crc", &Self::crc}};
};

}  // namespace

Result<DeletedTopics::Marks> DeletedTopics::read(FileSystem& files, const std::string& root) {
  for (const std::string& path : {path_in(root), path_in(root) + ".bak"}) {
    const auto content = read_file(files, path);
    if (!content && content.error().code == Errc::kNotFound) continue;
    if (!content) return content.error();
    auto table = protocol::decode_body<Table>(*content);
    if (!table) return Error{Errc::kMalformed, path + ": " + table.error().detail};
    if (table->crc != crc_of(table->marks))
      return Error{Errc::kMalformed, path + ": the CRC is wrong"};
    return std::move(table->marks);
  }
  return Marks{};
}

DeletedTopics::DeletedTopics(Env& env, std::string root)
    : env_{env}, root_{std::move(root)}, path_{path_in(root_)} {}

Result<Ok> DeletedTopics::load() {
  auto marks = read(env_.files, root_);
  if (marks)
    publish(*std::move(marks));
  else if (marks.error().code == Errc::kMalformed)
    env_.log.error("messages of deleted topics may come back: {}", marks.error().detail);
  else
    return marks.error();
  return Ok{};
}

Result<Ok> DeletedTopics::log_ends_at(std::int64_t end) {
  if (last_ <= end) return Ok{};
  Marks marks = marks_;
  for (auto& [topic, offset] : marks) offset = std::min(offset, end);
  if (auto saved = save(marks); !saved) return saved;
  publish(std::move(marks));
  return Ok{};
}

Result<Ok> DeletedTopics::mark(std::string_view topic, std::int64_t offset,
                               std::int64_t log_begin) {
  Marks marks = marks_;
  std::erase_if(marks, [&](const auto& each) { return each.second <= log_begin; });
  marks.insert_or_assign(std::string{topic}, offset);
  if (auto saved = save(marks); !saved) {
    (void)save(marks_);  // it may be there all the same
    return saved;
  }
  publish(std::move(marks));
  return Ok{};
}

std::int64_t DeletedTopics::mark_of(std::string_view topic) const {
  std::shared_lock lock{mutex_};
  const auto found = marks_.find(topic);
  return found == marks_.end() ? 0 : found->second;
}

Result<Ok> DeletedTopics::save(const Marks& marks) {
  if (auto made = env_.files.create_directories(root_ + "/config"); !made) return made;
  if (auto named = env_.files.sync_directory(root_); !named) return named;
  return protocol::save_table(env_, path_, Table{marks, crc_of(marks)});
}

void DeletedTopics::publish(Marks marks) {
  std::int64_t last = 0;
  for (const auto& [topic, offset] : marks) last = std::max(last, offset);
  std::unique_lock lock{mutex_};
  marks_ = std::move(marks);
  last_.store(last, std::memory_order_release);
}

}  // namespace apogee::store
