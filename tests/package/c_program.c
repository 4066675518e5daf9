/* Plain C, against a broker given on the command line; without one it only shows that it links. */
#include <apogee/c.h>
#include <stdio.h>

int main(int argc, char** argv) {
  apogee_client* client = NULL;
  apogee_producer* producer = NULL;
  apogee_error error;
  apogee_setting servers = {"name_servers", argc > 1 ? argv[1] : "127.0.0.1:9"};
  apogee_setting group = {"group", "from-c"};
  apogee_message message = APOGEE_MESSAGE_INIT;
  int32_t code = apogee_client_start(&servers, 1, NULL, NULL, &client, &error);
  if (code == APOGEE_OK) code = apogee_producer_start(client, &group, 1, &producer, &error);
  message.topic = "orders";
  message.body = "hello";
  message.body_length = 5;
  if (code == APOGEE_OK && argc > 1)
    code = apogee_producer_send(producer, &message, 3000, NULL, &error);
  printf("apogee %s: %s\n", apogee_version(), code == APOGEE_OK ? "ok" : error.detail);
  apogee_producer_free(producer);
  apogee_client_free(client);
  return code;
}
