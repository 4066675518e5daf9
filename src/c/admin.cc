#include "apogee/admin.h"

#include "c/convert.h"

using namespace apogee;
using std::chrono::milliseconds;

extern "C" {

std::int32_t apogee_create_topic(apogee_client* client, const char* topic, std::int32_t queues,
                                 const char* cluster, std::int64_t timeout_ms,
                                 apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    if (!client || !topic) return c::fail_null("client or topic", error);
    const milliseconds timeout{timeout_ms};
    Admin admin = client->client.admin();
    const auto masters = admin.masters(cluster ? cluster : "", timeout);
    if (!masters) return c::fail(masters.error(), error);
    for (const std::string& master : *masters) {
      const auto made = admin.create_topic(
          master, {.name = topic, .read_queues = queues, .write_queues = queues}, timeout);
      if (!made) return c::fail(made.error(), error);
    }
    return APOGEE_OK;
  });
}

std::int32_t apogee_delete_topic(apogee_client* client, const char* topic, const char* cluster,
                                 std::int64_t timeout_ms, apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    if (!client || !topic || !cluster) return c::fail_null("client, topic or cluster", error);
    return c::give(client->client.admin().delete_topic(topic, cluster, milliseconds{timeout_ms}),
                   error);
  });
}

std::int32_t apogee_group_lag(apogee_client* client, const char* group, const char* topic,
                              std::int64_t timeout_ms, std::int64_t* lag, apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    if (!client || !group || !lag) return c::fail_null("client, group or lag", error);
    const auto progress =
        client->client.admin().progress(group, topic ? topic : "", milliseconds{timeout_ms});
    if (!progress) return c::fail(progress.error(), error);
    *lag = progress->lag();
    return APOGEE_OK;
  });
}

}  // extern "C"
