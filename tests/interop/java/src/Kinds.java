import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BooleanSupplier;

import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.compression.CompressionType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * Batches that stay whole in batch queues, every way to compress, and SQL92 expressions by table.
 * One line a case: CASE, name, PASS or FAIL, milliseconds, detail; separated by tabs.
 */
@SuppressWarnings("deprecation")
public class Kinds {
    interface Body {
        void run() throws Exception;
    }

    static String nameServer, brokerAddress;
    static DefaultMQAdminExt ADMIN;
    static DefaultMQProducer PRODUCER;
    static int next;
    static final long RUN = System.currentTimeMillis() % 1_000_000_000L;
    static final Map<String, Body> CASES = new LinkedHashMap<>();

    static void check(boolean good, String what) {
        if (!good) throw new AssertionError(what);
    }

    static void equal(Object wanted, Object got, String what) {
        if (!wanted.equals(got)) throw new AssertionError(what + ": wanted " + wanted + ", got " + got);
    }

    static void eventually(int seconds, BooleanSupplier condition, String what) throws Exception {
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > end) throw new AssertionError("not within " + seconds + " s: " + what);
            Thread.sleep(20);
        }
    }

    static String fresh(String prefix) {
        return prefix + "_" + RUN + "_" + ++next;
    }

    static String topic(Map<String, String> attributes) throws Exception {
        TopicConfig config = new TopicConfig(fresh("K"), 1, 1, 6);
        config.setAttributes(attributes);
        ADMIN.createAndUpdateTopicConfig(brokerAddress, config);
        eventually(15, () -> {
            try {
                return !ADMIN.examineTopicRouteInfo(config.getTopicName()).getBrokerDatas().isEmpty();
            } catch (Exception e) {
                return false;
            }
        }, "route of " + config.getTopicName());
        return config.getTopicName();
    }

    static DefaultMQPullConsumer puller() throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(fresh("G"));
        consumer.setNamesrvAddr(nameServer);
        consumer.setInstanceName(fresh("i"));
        consumer.start();
        return consumer;
    }

    static List<MessageExt> all(DefaultMQPullConsumer consumer, MessageQueue queue, long from) throws Exception {
        List<MessageExt> messages = new ArrayList<>();
        for (long at = from; ; ) {
            PullResult result = consumer.pull(queue, "*", at, 32);
            if (result.getPullStatus() != PullStatus.FOUND) return messages;
            messages.addAll(result.getMsgFoundList());
            at = result.getNextBeginOffset();
        }
    }

    static List<Message> batch(String topic, String prefix, int count) {
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < count; i++) batch.add(new Message(topic, "A", prefix + i, (prefix + i).getBytes(StandardCharsets.UTF_8)));
        return batch;
    }

    static void restart(String how) throws Exception {
        System.out.println(how);
        System.out.flush();
        if (System.in.read() < 0) throw new AssertionError("nobody restarts the broker");
        while (System.in.available() > 0) System.in.read();
    }

    static MessageQueue queue(String topic) {
        return new MessageQueue(topic, "broker-a", 0);
    }

    /** Every message of the batches at its own offset, one after the other. */
    static void checkBatches(DefaultMQPullConsumer consumer, String topic, String... prefixes) throws Exception {
        List<MessageExt> got = all(consumer, queue(topic), 0);
        equal(10 * prefixes.length, got.size(), "messages");
        for (int i = 0; i < got.size(); i++) {
            equal((long) i, got.get(i).getQueueOffset(), "queue offset");
            equal(prefixes[i / 10] + i % 10, new String(got.get(i).getBody(), StandardCharsets.UTF_8), "body at " + i);
            equal("A", got.get(i).getTags(), "tag");
        }
        equal(10L * prefixes.length, consumer.maxOffset(queue(topic)), "end of the queue");
    }

    static void fill() {
        CASES.put("a batch stays whole in a topic of batch queues and comes as its messages", () -> {
            String topic = topic(Map.of("+queue.type", "BatchCQ"));
            SendResult first = PRODUCER.send(batch(topic, "one-", 10));
            equal(SendStatus.SEND_OK, first.getSendStatus(), "status");
            equal(0L, first.getQueueOffset(), "offset of the first batch");
            long between = System.currentTimeMillis() + 20;
            Thread.sleep(50);
            equal(10L, PRODUCER.send(batch(topic, "two-", 10)).getQueueOffset(), "offset of the second batch");
            DefaultMQPullConsumer consumer = puller();
            eventually(10, () -> {
                try {
                    return consumer.maxOffset(queue(topic)) == 20;
                } catch (Exception e) {
                    return false;
                }
            }, "both batches in the queue");
            checkBatches(consumer, topic, "one-", "two-");
            PullResult inside = consumer.pull(queue(topic), "*", 13, 32);
            equal(20L, inside.getNextBeginOffset(), "next after a pull from inside a batch");
            equal(10L, consumer.searchOffset(queue(topic), between), "by time");
            equal(0L, consumer.minOffset(queue(topic)), "begin of the queue");
            consumer.shutdown();
        });
        CASES.put("batches are there after a restart and after kill -9", () -> {
            String topic = topic(Map.of("+queue.type", "BatchCQ"));
            PRODUCER.send(batch(topic, "one-", 10));
            restart("RESTART");
            equal(10L, PRODUCER.send(batch(topic, "two-", 10)).getQueueOffset(), "offset after the restart");
            restart("KILL");
            equal(20L, PRODUCER.send(batch(topic, "three-", 10)).getQueueOffset(), "offset after the kill");
            DefaultMQPullConsumer consumer = puller();
            Thread.sleep(1_000);
            checkBatches(consumer, topic, "one-", "two-", "three-");
            consumer.shutdown();
        });
        CASES.put("a push consumer gets the messages of batches", () -> {
            String topic = topic(Map.of("+queue.type", "BatchCQ"));
            for (int i = 0; i < 5; i++) PRODUCER.send(batch(topic, i + "-", 10));
            DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(fresh("G"));
            consumer.setNamesrvAddr(nameServer);
            consumer.setInstanceName(fresh("i"));
            consumer.subscribe(topic, "*"); // a batch has no tag of its own
            List<String> got = java.util.Collections.synchronizedList(new ArrayList<>());
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                for (MessageExt each : messages) got.add(new String(each.getBody(), StandardCharsets.UTF_8));
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
            eventually(30, () -> got.size() >= 50, "50 messages");
            consumer.shutdown();
            equal(50, new java.util.HashSet<>(got).size(), "different messages");
        });
        CASES.put("an attribute that cannot be is refused", () -> {
            try {
                topic(Map.of("+queue.type", "NoCQ"));
            } catch (Exception e) {
                check(e.getMessage().contains("value is not in set: [BatchCQ, SimpleCQ]"), e.getMessage());
                return;
            }
            check(false, "queue.type=NoCQ was taken");
        });
        for (CompressionType type : CompressionType.values()) {
            CASES.put("a body compressed with " + type + " arrives whole", () -> {
                String topic = topic(Map.of());
                DefaultMQProducer producer = new DefaultMQProducer(fresh("P"));
                producer.setNamesrvAddr(nameServer);
                producer.setInstanceName(fresh("i"));
                producer.setCompressMsgBodyOverHowmuch(1_000);
                producer.setCompressType(type);
                producer.start();
                String body = "compress me ".repeat(5_000);
                producer.send(new Message(topic, body.getBytes(StandardCharsets.UTF_8)));
                producer.shutdown();
                DefaultMQPullConsumer consumer = puller();
                Thread.sleep(500);
                List<MessageExt> got = all(consumer, queue(topic), 0);
                consumer.shutdown();
                equal(1, got.size(), "messages");
                equal(body, new String(got.get(0).getBody(), StandardCharsets.UTF_8), "body");
                check(got.get(0).getStoreSize() < 5_000, "stored size " + got.get(0).getStoreSize());
            });
        }
        CASES.put("SQL92 chooses as the table says", Kinds::sql);
        CASES.put("an expression that cannot be compiled is refused when its consumer starts", () -> {
            for (String bad : new String[] {"a >", "a = NULL", "a BETWEEN 3 AND 1", "a IN (1)", "1", "a > 'x'"}) {
                DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(fresh("G"));
                consumer.setNamesrvAddr(nameServer);
                consumer.setInstanceName(fresh("i"));
                consumer.subscribe("TBW102", MessageSelector.bySql(bad));
                consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> ConsumeConcurrentlyStatus.CONSUME_SUCCESS);
                try {
                    consumer.start();
                } catch (Exception e) {
                    check(e.getMessage().contains("CODE: 23"), bad + ": " + e.getMessage());
                    continue;
                } finally {
                    consumer.shutdown();
                }
                check(false, bad + " was taken");
            }
        });
    }

    /** Messages by number and their properties; expressions and the numbers they choose. */
    static void sql() throws Exception {
        String topic = topic(Map.of());
        String[][] properties = {{}, {"a", "1"}, {"a", "5", "b", "x"}, {"a", "-2.5"}, {"a", "2147483648"}, {"a", "x", "b", "hello"}, {"a", "TRUE", "b", "5"}, {"b", "it's"}, {"c", "1.5", "a", "3"}};
        for (int i = 0; i < properties.length; i++) {
            Message message = new Message(topic, String.valueOf(i).getBytes(StandardCharsets.UTF_8));
            for (int j = 0; j < properties[i].length; j += 2) message.putUserProperty(properties[i][j], properties[i][j + 1]);
            PRODUCER.send(message);
        }
        Map<String, String> table = new LinkedHashMap<>();
        table.put("a > 1", "28");
        table.put("a < 0", "");
        table.put("a < 0.5", "3");
        table.put("a > 2147483647", "");
        table.put("a > 2147483646 OR b = 'x'", "2");
        table.put("a = 2147483648", "4");
        table.put("a = TRUE", "6");
        table.put("a = FALSE", "123458");
        table.put("a <> 'x'", "123468");
        table.put("a IS NULL", "07");
        table.put("a IS NOT NULL AND b IS NOT NULL", "256");
        table.put("b IN ('x', 'it''s')", "27");
        table.put("b NOT IN ('x')", "567");
        table.put("b CONTAINS 'ell'", "5");
        table.put("b STARTSWITH 'he' OR b ENDSWITH '5'", "56");
        table.put("b NOT CONTAINS 'l'", "267");
        table.put("a BETWEEN 1 AND 4", "18");
        table.put("a NOT BETWEEN 1 AND 4", "2");
        table.put("NOT (a > 1)", "1");
        table.put("c > 1 AND a = 3", "");
        table.put("c > 1.0 AND a = 3", "8");
        table.put("b = 'x' OR a > 1", "28");
        table.put("a = 1 whatever follows", "1");
        table.put("(a = 1 OR a = 3) AND c IS NULL", "1");
        table.put("a = -2.5", "3");
        DefaultMQPullConsumer consumer = puller();
        MessageQueue queue = queue(topic);
        eventually(10, () -> {
            try {
                return consumer.maxOffset(queue) == properties.length;
            } catch (Exception e) {
                return false;
            }
        }, "all messages in the queue");
        StringBuilder wrong = new StringBuilder();
        for (Map.Entry<String, String> each : table.entrySet()) {
            StringBuilder got = new StringBuilder();
            for (long at = 0; at < properties.length; ) {
                PullResult result = consumer.pull(queue, MessageSelector.bySql(each.getKey()), at, 32);
                if (result.getPullStatus() == PullStatus.FOUND)
                    for (MessageExt message : result.getMsgFoundList()) got.append(new String(message.getBody(), StandardCharsets.UTF_8));
                if (result.getNextBeginOffset() <= at) break;
                at = result.getNextBeginOffset();
            }
            if (!got.toString().equals(each.getValue())) wrong.append(each.getKey()).append(" chooses '").append(got).append("', not '").append(each.getValue()).append("'; ");
        }
        consumer.shutdown();
        check(wrong.length() == 0, wrong.toString());
    }

    public static void main(String[] args) throws Exception {
        nameServer = args[0];
        brokerAddress = args[1];
        String only = args.length > 3 ? args[3] : "";
        ADMIN = new DefaultMQAdminExt();
        ADMIN.setNamesrvAddr(nameServer);
        ADMIN.setInstanceName(fresh("admin"));
        ADMIN.start();
        PRODUCER = new DefaultMQProducer(fresh("P"));
        PRODUCER.setNamesrvAddr(nameServer);
        PRODUCER.setInstanceName(fresh("i"));
        PRODUCER.setSendMsgTimeout(10_000);
        PRODUCER.setRetryTimesWhenSendFailed(5);
        PRODUCER.start();
        fill();
        for (Map.Entry<String, Body> each : CASES.entrySet()) {
            if (!each.getKey().contains(only)) continue;
            long began = System.nanoTime();
            String result = "PASS", detail = "";
            try {
                each.getValue().run();
            } catch (Throwable e) {
                result = "FAIL";
                detail = String.valueOf(e).replace('\n', ' ').replace('\t', ' ');
            }
            System.out.println("CASE\t" + each.getKey() + "\t" + result + "\t" + (System.nanoTime() - began) / 1_000_000 + "\t" + detail);
            System.out.flush();
        }
        System.exit(0);
    }
}
