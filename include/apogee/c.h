#pragma once

/*
 * The client for C, and for the bindings of other languages.
 *
 * Stable: a program built against this header runs with every later library of the same major
 * version.
 *   - Functions are never removed, and keep their arguments.
 *   - Objects are opaque; apogee_X_free() ends each, takes NULL, and is the only way to end it.
 *   - Structs that a program fills begin with struct_size, set by the APOGEE_..._INIT macro. Fields
 * are only ever added at the end; the library reads no further than struct_size.
 *   - Settings are pairs of texts, so new ones need no new function. An unknown one is refused by
 * name.
 *   - Enumerations may grow: treat a value you do not know as an error you do not know.
 *
 * Threads: every function from any thread. Freeing an object while another thread is inside one of
 * its functions is the program's mistake; freeing it from inside its own callback is allowed. Texts
 * are UTF-8 and end with 0; bodies are bytes with a length. Times are milliseconds. Strings
 * returned belong to the object they were asked of and live as long as it does. Every function that
 * can fail returns APOGEE_OK or the code, and fills `error` if that is not NULL.
 */

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define APOGEE_C_API __attribute__((visibility("default")))
#else
#define APOGEE_C_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Errors ---- */

typedef enum apogee_code {
  APOGEE_OK = 0,
  APOGEE_TIMEOUT = 1,          /* the deadline passed */
  APOGEE_DISCONNECTED = 2,     /* no connection, or it ended */
  APOGEE_MALFORMED = 3,        /* the peer sent what makes no sense */
  APOGEE_INVALID_ARGUMENT = 4, /* detail says which and the remedy */
  APOGEE_NOT_FOUND = 5,        /* no such topic, group, ... */
  APOGEE_EXISTS = 6,           /* this client has a producer (consumer) of that group */
  APOGEE_BUSY = 7,             /* a bound was reached; try again later */
  APOGEE_STOPPED = 8,          /* the client or producer was shut down */
  APOGEE_UNSUPPORTED = 9,      /* known, and not done by this build */
  APOGEE_REFUSED = 10,         /* a broker or name server said no: response_code */
  APOGEE_IO = 11,              /* the operating system refused */
  APOGEE_NO_MEMORY = 12
} apogee_code;

#define APOGEE_DETAIL_BYTES 1024

/* Filled by the library, no need to initialise. */
typedef struct apogee_error {
  int32_t code;                     /* apogee_code */
  int32_t response_code;            /* RocketMQ's, when a server said it; else 0 */
  int32_t perhaps_done;             /* 1: the request had left, what was asked may have happened */
  char detail[APOGEE_DETAIL_BYTES]; /* for people; cut short if it is longer */
} apogee_error;

APOGEE_C_API const char* apogee_code_name(int32_t code);
APOGEE_C_API const char* apogee_version(void);

/* A setting: "send_timeout" = "3000". Names are those of ClientConfig, ProducerConfig and
 * PushConsumerConfig in the C++ headers; times are milliseconds, lists are separated by ';'. */
typedef struct apogee_setting {
  const char* name;
  const char* value;
} apogee_setting;

/* ---- Client ---- */

/* Owns the threads and connections of everything made from it. */
typedef struct apogee_client apogee_client;

typedef enum apogee_severity {
  APOGEE_DEBUG,
  APOGEE_INFO,
  APOGEE_WARNING,
  APOGEE_ERROR
} apogee_severity;
/* Any thread; must not block. `line` has `length` bytes and need not end with 0. */
typedef void (*apogee_log_function)(void* context, int32_t severity, const char* line,
                                    size_t length);

/* `log` may be NULL. It may be called until this client, and all that was made from it, are freed.
 */
APOGEE_C_API int32_t apogee_client_start(const apogee_setting* settings, size_t count,
                                         apogee_log_function log, void* log_context,
                                         apogee_client** client, apogee_error* error);
APOGEE_C_API const char* apogee_client_id(const apogee_client* client);
/* Ends the work of everything made from it; those objects still need freeing, before or after. */
APOGEE_C_API void apogee_client_shutdown(apogee_client* client);
APOGEE_C_API void apogee_client_free(apogee_client* client);

/* ---- Messages ---- */

typedef enum apogee_delivery {
  APOGEE_DELIVER_NOW = 0,
  APOGEE_DELIVER_LEVEL = 1, /* one of the broker's delay levels, from 1 */
  APOGEE_DELIVER_AFTER = 2, /* milliseconds from now; brokers of version 5 */
  APOGEE_DELIVER_AT = 3     /* Unix time in milliseconds; brokers of version 5 */
} apogee_delivery;

/* A message to be sent: apogee_message m = APOGEE_MESSAGE_INIT; m.topic = ...; copied by the call.
 */
typedef struct apogee_message {
  size_t struct_size;
  const char* topic;
  const void* body;
  size_t body_length;
  const char* tag;         /* or NULL */
  const char* const* keys; /* or NULL */
  size_t key_count;
  const apogee_setting* properties; /* the application's; or NULL */
  size_t property_count;
  int32_t delivery; /* apogee_delivery */
  int64_t delivery_value;
  int32_t flag;
  int32_t no_wait_store; /* 1: do not wait for the disk of a broker with SYNC_FLUSH */
} apogee_message;
#define APOGEE_MESSAGE_INIT {sizeof(apogee_message), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

typedef enum apogee_send_status {
  APOGEE_SEND_OK = 0,
  APOGEE_SEND_FLUSH_DISK_TIMEOUT = 1,
  APOGEE_SEND_FLUSH_REPLICA_TIMEOUT = 2,
  APOGEE_SEND_REPLICA_NOT_AVAILABLE = 3
} apogee_send_status;

/* What the broker says of a stored message. */
typedef struct apogee_receipt apogee_receipt;
APOGEE_C_API int32_t apogee_receipt_status(const apogee_receipt* receipt); /* apogee_send_status */
APOGEE_C_API const char* apogee_receipt_message_id(const apogee_receipt* receipt);
APOGEE_C_API const char* apogee_receipt_offset_message_id(const apogee_receipt* receipt);
APOGEE_C_API const char* apogee_receipt_broker(const apogee_receipt* receipt);
APOGEE_C_API int32_t apogee_receipt_queue_id(const apogee_receipt* receipt);
APOGEE_C_API int64_t apogee_receipt_queue_offset(const apogee_receipt* receipt);
APOGEE_C_API const char* apogee_receipt_recall_handle(const apogee_receipt* receipt);
APOGEE_C_API const char* apogee_receipt_transaction_id(const apogee_receipt* receipt);
APOGEE_C_API void apogee_receipt_free(apogee_receipt* receipt);

/* A message that was received. Lent to callbacks for their duration; owned where a function returns
 * one through apogee_received**. */
typedef struct apogee_received apogee_received;
APOGEE_C_API const char* apogee_received_topic(const apogee_received* message);
APOGEE_C_API const void* apogee_received_body(const apogee_received* message, size_t* length);
APOGEE_C_API const char* apogee_received_tag(const apogee_received* message); /* "" if none */
APOGEE_C_API size_t apogee_received_key_count(const apogee_received* message);
APOGEE_C_API const char* apogee_received_key(const apogee_received* message, size_t index);
/* NULL if there is none of that name; RocketMQ's own are there too. */
APOGEE_C_API const char* apogee_received_property(const apogee_received* message, const char* name);
APOGEE_C_API const char* apogee_received_message_id(const apogee_received* message);
APOGEE_C_API const char* apogee_received_offset_message_id(const apogee_received* message);
APOGEE_C_API const char* apogee_received_broker(const apogee_received* message);
APOGEE_C_API int32_t apogee_received_queue_id(const apogee_received* message);
APOGEE_C_API int64_t apogee_received_queue_offset(const apogee_received* message);
APOGEE_C_API int32_t apogee_received_reconsume_times(const apogee_received* message);
APOGEE_C_API int64_t apogee_received_born_ms(const apogee_received* message);
APOGEE_C_API int64_t apogee_received_stored_ms(const apogee_received* message);
/* A copy that is yours. */
APOGEE_C_API apogee_received* apogee_received_copy(const apogee_received* message);
APOGEE_C_API void apogee_received_free(apogee_received* message);

/* ---- Producer ---- */

typedef struct apogee_producer apogee_producer;

/* "group" is required. */
APOGEE_C_API int32_t apogee_producer_start(apogee_client* client, const apogee_setting* settings,
                                           size_t count, apogee_producer** producer,
                                           apogee_error* error);

typedef enum apogee_outcome { APOGEE_COMMIT, APOGEE_ROLLBACK, APOGEE_UNKNOWN } apogee_outcome;
/* Asked by brokers about messages whose outcome they have not heard. On a worker thread. */
typedef int32_t (*apogee_check_function)(void* context, const apogee_received* message);
/* A producer that can also apogee_producer_send_in_transaction(). */
APOGEE_C_API int32_t apogee_transactional_producer_start(apogee_client* client,
                                                         const apogee_setting* settings,
                                                         size_t count, apogee_check_function check,
                                                         void* context, apogee_producer** producer,
                                                         apogee_error* error);
/* Sends in flight end with their answer or APOGEE_STOPPED. Waits for a check that runs, unless it
 * is called inside one of the program's functions: after it none is called any more, but callbacks
 * of sends in flight. */
APOGEE_C_API void apogee_producer_free(apogee_producer* producer);

/* Sends; `receipt` may be NULL. Not from inside a send callback. */
APOGEE_C_API int32_t apogee_producer_send(apogee_producer* producer, const apogee_message* message,
                                          int64_t timeout_ms, apogee_receipt** receipt,
                                          apogee_error* error);
/* The same key, the same queue. */
APOGEE_C_API int32_t apogee_producer_send_by_key(apogee_producer* producer,
                                                 const apogee_message* message, const char* key,
                                                 int64_t timeout_ms, apogee_receipt** receipt,
                                                 apogee_error* error);
APOGEE_C_API int32_t apogee_producer_send_to(apogee_producer* producer,
                                             const apogee_message* message, const char* broker,
                                             int32_t queue_id, int64_t timeout_ms,
                                             apogee_receipt** receipt, apogee_error* error);
/* All or none, in one request. */
APOGEE_C_API int32_t apogee_producer_send_batch(apogee_producer* producer,
                                                const apogee_message* messages, size_t count,
                                                int64_t timeout_ms, apogee_receipt** receipt,
                                                apogee_error* error);
/* Writes and forgets. */
APOGEE_C_API int32_t apogee_producer_send_oneway(apogee_producer* producer,
                                                 const apogee_message* message,
                                                 apogee_error* error);
/* Runs once, inside the call or on an io thread, and must not block. One of `receipt` and `error`
 * is NULL; both are lent. */
typedef void (*apogee_send_callback)(void* context, const apogee_receipt* receipt,
                                     const apogee_error* error);
APOGEE_C_API int32_t apogee_producer_send_async(apogee_producer* producer,
                                                const apogee_message* message, int64_t timeout_ms,
                                                apogee_send_callback done, void* context,
                                                apogee_error* error);

/* Runs inside the call, after the message was stored invisibly. */
typedef int32_t (*apogee_local_function)(void* context, const apogee_receipt* receipt);
/* `outcome` may be NULL. */
APOGEE_C_API int32_t apogee_producer_send_in_transaction(apogee_producer* producer,
                                                         const apogee_message* message,
                                                         apogee_local_function local, void* context,
                                                         int64_t timeout_ms,
                                                         apogee_receipt** receipt, int32_t* outcome,
                                                         apogee_error* error);

/* Sends a question and waits for its answer; another program answers with apogee_producer_reply().
 */
APOGEE_C_API int32_t apogee_producer_request(apogee_producer* producer,
                                             const apogee_message* question, int64_t timeout_ms,
                                             apogee_received** answer, apogee_error* error);
APOGEE_C_API int32_t apogee_producer_reply(apogee_producer* producer,
                                           const apogee_received* question, const void* body,
                                           size_t body_length, int64_t timeout_ms,
                                           apogee_error* error);
/* Takes a timer message back before it is delivered. */
APOGEE_C_API int32_t apogee_producer_recall(apogee_producer* producer, const char* topic,
                                            const char* recall_handle, int64_t timeout_ms,
                                            apogee_error* error);
/* How many queues of the topic can be written. */
APOGEE_C_API int32_t apogee_producer_queue_count(apogee_producer* producer, const char* topic,
                                                 int64_t timeout_ms, size_t* count,
                                                 apogee_error* error);

/* ---- Push consumer ---- */

typedef struct apogee_push_consumer apogee_push_consumer;

/* As apogee_setting, a struct that never changes. */
typedef struct apogee_subscription {
  const char* topic;
  const char* type;       /* "TAG" or "SQL92"; NULL: "TAG" */
  const char* expression; /* "paid || refunded"; NULL: all */
} apogee_subscription;

typedef enum apogee_consumed {
  APOGEE_CONSUMED = 0,
  APOGEE_RETRY_LATER = 1 /* delivered again later; orderly: the queue waits a moment */
} apogee_consumed;
/* Several threads at once, unless orderly; may block. The messages are of one queue, and lent. */
typedef int32_t (*apogee_consume_function)(void* context, const apogee_received* const* messages,
                                           size_t count);
/* "group" is required; besides PushConsumerConfig's, "orderly" = "true" takes one queue's messages
 * one after the other. */
APOGEE_C_API int32_t apogee_push_consumer_start(apogee_client* client,
                                                const apogee_setting* settings, size_t count,
                                                const apogee_subscription* subscriptions,
                                                size_t subscription_count,
                                                apogee_consume_function consume, void* context,
                                                apogee_push_consumer** consumer,
                                                apogee_error* error);
/* Pulls no more; what is here is still consumed. */
APOGEE_C_API void apogee_push_consumer_suspend(apogee_push_consumer* consumer);
APOGEE_C_API void apogee_push_consumer_resume(apogee_push_consumer* consumer);
/* How many queues this member of the group has now. */
APOGEE_C_API size_t apogee_push_consumer_queue_count(const apogee_push_consumer* consumer);
/* Waits for calls that run ("shutdown_wait"), stores the offsets, leaves the group. After it
 * returns the function is not called any more; from inside the function it does not wait for that
 * call. */
APOGEE_C_API void apogee_push_consumer_free(apogee_push_consumer* consumer);

/* ---- Lite pull consumer: the client pulls ahead, the program polls ---- */

typedef struct apogee_lite_pull_consumer apogee_lite_pull_consumer;

/* As apogee_setting, a struct that never changes. */
typedef struct apogee_queue {
  const char* topic;
  const char* broker;
  int32_t queue_id;
} apogee_queue;

/* Messages that were polled: yours, and theirs with it. */
typedef struct apogee_batch apogee_batch;
APOGEE_C_API size_t apogee_batch_size(const apogee_batch* batch);
/* NULL beyond the size. Belongs to the batch. */
APOGEE_C_API const apogee_received* apogee_batch_message(const apogee_batch* batch, size_t index);
APOGEE_C_API void apogee_batch_free(apogee_batch* batch);

/* "group" is required; the names are LitePullConsumerConfig's. */
APOGEE_C_API int32_t apogee_lite_pull_consumer_start(apogee_client* client,
                                                     const apogee_setting* settings, size_t count,
                                                     apogee_lite_pull_consumer** consumer,
                                                     apogee_error* error);
/* The topic's queues are divided among the members of the group. Not beside assign. */
APOGEE_C_API int32_t apogee_lite_pull_consumer_subscribe(apogee_lite_pull_consumer* consumer,
                                                         const apogee_subscription* subscription,
                                                         apogee_error* error);
APOGEE_C_API void apogee_lite_pull_consumer_unsubscribe(apogee_lite_pull_consumer* consumer,
                                                        const char* topic);
/* These queues, whoever else has them, instead of those assigned before. Not beside subscribe. */
APOGEE_C_API int32_t apogee_lite_pull_consumer_assign(apogee_lite_pull_consumer* consumer,
                                                      const apogee_queue* queues, size_t count,
                                                      apogee_error* error);
/* Messages of one queue, none if there are none within the time. APOGEE_STOPPED: it has ended, or
 * its client has: the end of a loop that polls. */
APOGEE_C_API int32_t apogee_lite_pull_consumer_poll(apogee_lite_pull_consumer* consumer,
                                                    int64_t timeout_ms, apogee_batch** batch,
                                                    apogee_error* error);
/* Where poll goes on in a queue it has; -1: behind the last message, -2: at the first. */
#define APOGEE_SEEK_END (-1)
#define APOGEE_SEEK_BEGIN (-2)
APOGEE_C_API int32_t apogee_lite_pull_consumer_seek(apogee_lite_pull_consumer* consumer,
                                                    const apogee_queue* queue, int64_t offset,
                                                    apogee_error* error);
/* What was polled is done; stored at the brokers soon. Without it "auto_commit" does it. */
APOGEE_C_API void apogee_lite_pull_consumer_commit(apogee_lite_pull_consumer* consumer);
/* Where the group stands in a queue; -1: nowhere yet. */
APOGEE_C_API int32_t apogee_lite_pull_consumer_committed(apogee_lite_pull_consumer* consumer,
                                                         const apogee_queue* queue, int64_t* offset,
                                                         apogee_error* error);
/* How many queues it has now. */
APOGEE_C_API size_t
apogee_lite_pull_consumer_queue_count(const apogee_lite_pull_consumer* consumer);
/* Stores the offsets, leaves the group. */
APOGEE_C_API void apogee_lite_pull_consumer_free(apogee_lite_pull_consumer* consumer);

/* ---- Administration ---- */

/* On all masters of `cluster`; NULL: of all clusters. A topic that exists gets the new number. */
APOGEE_C_API int32_t apogee_create_topic(apogee_client* client, const char* topic, int32_t queues,
                                         const char* cluster, int64_t timeout_ms,
                                         apogee_error* error);
/* On all masters of the cluster and at the name servers. */
APOGEE_C_API int32_t apogee_delete_topic(apogee_client* client, const char* topic,
                                         const char* cluster, int64_t timeout_ms,
                                         apogee_error* error);
/* How many messages of `topic` the group has not consumed yet; NULL: of all its topics. */
APOGEE_C_API int32_t apogee_group_lag(apogee_client* client, const char* group, const char* topic,
                                      int64_t timeout_ms, int64_t* lag, apogee_error* error);

#ifdef __cplusplus
}
#endif
