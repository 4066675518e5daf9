/* The same from C. */
#include <apogee/c.h>
#include <stdio.h>
#include <stdlib.h>

static void stop(const apogee_error* error) {
  fprintf(stderr, "%s: %s\n", apogee_code_name(error->code), error->detail);
  exit(1);
}

int main(int argc, char** argv) {
  apogee_error error;
  apogee_setting settings[] = {{"name_servers", argc > 1 ? argv[1] : "127.0.0.1:9876"}};
  apogee_client* client;
  if (apogee_client_start(settings, 1, NULL, NULL, &client, &error) != APOGEE_OK) stop(&error);

  apogee_setting group[] = {{"group", "checkout"}, {"compression", "zstd"}};
  apogee_producer* producer;
  if (apogee_producer_start(client, group, 2, &producer, &error) != APOGEE_OK) stop(&error);

  apogee_message message = APOGEE_MESSAGE_INIT;
  message.topic = "orders";
  message.body = "hello";
  message.body_length = 5;
  apogee_receipt* receipt;
  if (apogee_producer_send(producer, &message, 3000, &receipt, &error) != APOGEE_OK) stop(&error);

  printf("%s\n", apogee_receipt_message_id(receipt));
  apogee_receipt_free(receipt);
  apogee_producer_free(producer);
  apogee_client_free(client);
  return 0;
}
