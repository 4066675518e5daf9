import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;

import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Kinds of messages that clients of version 4 and 5 have: delay levels, SQL92 expressions by table, LMQs, order topics. The broker has enableLmq and enableMultiDispatch. */
@SuppressWarnings("deprecation")
public class Kinds extends Words {
    static DefaultMQProducer PRODUCER;
    static DefaultMQPullConsumer PULLER;

    static void send(Message message) throws Exception {
        PRODUCER.send(message, queue(message.getTopic()));
    }

    static List<String> bodies(MessageQueue queue) throws Exception {
        List<String> bodies = new ArrayList<>();
        for (MessageExt each : all(PULLER, queue, 0)) bodies.add(text(each));
        return bodies;
    }

    // ---- Delay levels ------------------------------------------------------------------------------

    static void sendAtLevel(String topic, int level) throws Exception {
        Message message = new Message(topic, bytes("level" + level));
        message.setDelayTimeLevel(level);
        send(message);
    }

    /** The servers' messageDelayLevel is 1s 1s 2s 2s ... 9s 9s. */
    static void allLevels() throws Exception {
        String topic = topic(1);
        long began = System.currentTimeMillis();
        for (int level = 1; level <= 19; level++) sendAtLevel(topic, level);
        eventually(20, () -> bodies(queue(topic)).size() >= 19, "all levels");
        for (MessageExt each : all(PULLER, queue(topic), 0)) {
            int level = Integer.parseInt(text(each).substring(5));
            long late = each.getStoreTimestamp() - began - Math.min((level + 1) / 2, 9) * 1_000L;
            check(late >= 0 && late <= 3_500, text(each) + " came late by " + late + " ms"); // a busy machine's published broker needs that much
        }
    }

    static void levelsAcross(String how) throws Exception {
        String topic = topic(1);
        for (int level : new int[] {1, 9, 17}) sendAtLevel(topic, level);
        eventually(10, () -> bodies(queue(topic)).size() >= 1, "the first level");
        restart(how);
        eventually(30, () -> bodies(queue(topic)).containsAll(Arrays.asList("level1", "level9", "level17")), "all levels");
        if (how.equals("RESTART")) equal(3, bodies(queue(topic)).size(), "messages");
    }

    // ---- SQL92 -------------------------------------------------------------------------------------

    /** Messages by number and their properties; expressions and the numbers they choose. */
    static void sql() throws Exception {
        String topic = topic(1);
        String[][] properties = {{}, {"a", "1"}, {"a", "5", "b", "x"}, {"a", "-2.5"}, {"a", "2147483648"}, {"a", "x", "b", "hello"}, {"a", "TRUE", "b", "5"}, {"b", "it's"}, {"c", "1.5", "a", "3"}};
        for (int i = 0; i < properties.length; i++) {
            Message message = new Message(topic, bytes(String.valueOf(i)));
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
        table.put("a BETWEEN 1 AND 4", "18");
        table.put("a NOT BETWEEN 1 AND 4", "2");
        table.put("NOT (a > 1)", "1");
        table.put("c > 1 AND a = 3", "");
        table.put("c > 1.0 AND a = 3", "8");
        table.put("b = 'x' OR a > 1", "28");
        table.put("a = 1 whatever follows", "1");
        table.put("(a = 1 OR a = 3) AND c IS NULL", "1");
        table.put("a = -2.5", "3");
        if (!old) { // since 5.0
            table.put("b CONTAINS 'ell'", "5");
            table.put("b STARTSWITH 'he' OR b ENDSWITH '5'", "56");
            table.put("b NOT CONTAINS 'l'", "267");
        }
        DefaultMQPullConsumer consumer = puller();
        MessageQueue queue = queue(topic);
        eventually(10, () -> consumer.maxOffset(queue) == properties.length, "all messages in the queue");
        // A client sends no expression to a broker whose version it has not heard yet; it comes with the answer to its heartbeat.
        eventually(40, () -> consumer.pull(queue, MessageSelector.bySql("a > 1"), 0, 32) != null, "the broker's version");
        StringBuilder wrong = new StringBuilder();
        for (Map.Entry<String, String> each : table.entrySet()) {
            StringBuilder got = new StringBuilder();
            for (long at = 0; at < properties.length; ) {
                PullResult result = consumer.pull(queue, MessageSelector.bySql(each.getKey()), at, 32);
                if (result.getPullStatus() == PullStatus.FOUND)
                    for (MessageExt message : result.getMsgFoundList()) got.append(text(message));
                if (result.getNextBeginOffset() <= at) break;
                at = result.getNextBeginOffset();
            }
            if (!got.toString().equals(each.getValue())) wrong.append(each.getKey()).append(" chooses '").append(got).append("', not '").append(each.getValue()).append("'; ");
        }
        consumer.shutdown();
        check(wrong.length() == 0, wrong.toString());
    }

    static void refusedExpressions() throws Exception {
        for (String bad : new String[] {"a >", "a = NULL", "a BETWEEN 3 AND 1", "a IN (1)", "1", "a > 'x'"}) {
            DefaultMQPushConsumer consumer = consumer(fresh("G"), "TBW102", "*");
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
    }

    // ---- LMQs --------------------------------------------------------------------------------------

    static void sendTo(String topic, String body, String... lmqs) throws Exception {
        Message message = new Message(topic, bytes(body));
        MessageAccessor.putProperty(message, MessageConst.PROPERTY_INNER_MULTI_DISPATCH, String.join(",", lmqs));
        send(message);
    }

    static String lmq() {
        return "%LMQ%" + fresh("L");
    }

    /** The name server has no route of an LMQ: a consumer knows its broker once it has read the topic the messages were sent to. */
    static void knows(DefaultMQPullConsumer consumer, String topic) throws Exception {
        eventually(10, () -> consumer.pull(queue(topic), "*", 0, 1) != null, "a pull of " + topic);
    }

    /** Where the message stands in an LMQ: the client gives it the offset it has in its topic. */
    static long offsetIn(String lmq, MessageExt message) {
        int at = Arrays.asList(message.getProperty("INNER_MULTI_DISPATCH").split(",")).indexOf(lmq);
        return Long.parseLong(message.getProperty("INNER_MULTI_QUEUE_OFFSET").split(",")[at]);
    }

    static void inEveryLmq(String how) throws Exception {
        String topic = topic(1), one = lmq(), two = lmq(), none = lmq();
        List<String> both = new ArrayList<>(), first = new ArrayList<>();
        knows(PULLER, topic);
        for (int round = 0; round < 2; round++) {
            for (int i = 0; i < 10; i++) {
                String body = "m" + round + "-" + i;
                if (i % 2 == 0) sendTo(topic, body, one, two);
                else sendTo(topic, body, one);
                first.add(body);
                if (i % 2 == 0) both.add(body);
            }
            eventually(10, () -> bodies(queue(one)).equals(first) && bodies(queue(two)).equals(both), "in the LMQs");
            long next = 0;
            for (MessageExt each : all(PULLER, queue(two), 0)) equal(next++, offsetIn(two, each), "offset");
            equal(first, bodies(queue(topic)), "in the topic they were sent to");
            equal((long) both.size(), PULLER.maxOffset(queue(two)), "end of the queue");
            equal(0L, PULLER.maxOffset(queue(none)), "end of a queue that does not exist");
            if (round == 0) restart(how);
        }
    }

    static void lmqOffsets(String how) throws Exception {
        String topic = topic(1), lmq = lmq(), group = "%LMQ%" + fresh("G");
        for (int i = 0; i < 10; i++) sendTo(topic, "m" + i, lmq);
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(group);
        consumer.setNamesrvAddr(nameServer);
        consumer.setInstanceName(fresh("i"));
        consumer.start();
        knows(consumer, topic);
        eventually(10, () -> all(consumer, queue(lmq), 0).size() == 10, "ten messages");
        consumer.updateConsumeOffset(queue(lmq), 7);
        consumer.getOffsetStore().persist(queue(lmq));
        eventually(10, () -> consumer.fetchConsumeOffset(queue(lmq), true) == 7, "offset 7 kept by the broker");
        if (how.equals("KILL")) Thread.sleep(11_000); // offsets go to disk every 5 s, the first time after 10
        restart(how);
        eventually(10, () -> consumer.fetchConsumeOffset(queue(lmq), true) == 7, "offset 7 after it came back");
        consumer.shutdown();
    }

    static void heldAtAnLmq() throws Exception {
        String topic = topic(1), lmq = lmq();
        sendTo(topic, "first", lmq);
        knows(PULLER, topic);
        eventually(10, () -> bodies(queue(lmq)).size() == 1, "the first message");
        Thread later = new Thread(() -> holds(() -> {
            Thread.sleep(1_000);
            sendTo(topic, "second", lmq);
            return true;
        }));
        later.start();
        long began = System.currentTimeMillis();
        PullResult result = PULLER.pullBlockIfNotFound(queue(lmq), "*", 1, 32);
        equal(PullStatus.FOUND, result.getPullStatus(), "status");
        equal("second", text(result.getMsgFoundList().get(0)), "body");
        check(System.currentTimeMillis() - began < 5_000, "answered after " + (System.currentTimeMillis() - began) + " ms");
        later.join();
    }

    static void litePullOfAnLmq() throws Exception {
        String topic = topic(1), lmq = lmq();
        for (int i = 0; i < 20; i++) sendTo(topic, "m" + i, lmq);
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(fresh("G"));
        consumer.setNamesrvAddr(nameServer);
        consumer.setInstanceName(fresh("i"));
        consumer.start();
        consumer.assign(Arrays.asList(queue(topic)));
        eventually(30, () -> !consumer.poll(500).isEmpty(), "the topic itself");
        consumer.assign(Arrays.asList(queue(lmq)));
        consumer.seek(queue(lmq), 0);
        Set<String> got = new HashSet<>();
        eventually(30, () -> {
            for (MessageExt each : consumer.poll(500)) got.add(text(each));
            return got.size() == 20;
        }, "twenty messages");
        consumer.shutdown();
    }

    // ---- Order topics --------------------------------------------------------------------------------

    /** A member of a group that notes what it gets: "queue:number". */
    static DefaultMQPushConsumer orderly(String group, String topic, List<String> notes, AtomicInteger mine) throws Exception {
        DefaultMQPushConsumer consumer = consumer(group, topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            for (MessageExt each : messages) notes.add(each.getQueueId() + ":" + text(each));
            mine.addAndGet(messages.size());
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        return consumer;
    }

    static void orderTopic() throws Exception {
        TopicConfig config = new TopicConfig(fresh("T"), 8, 8, 6);
        config.setOrder(true);
        String topic = create(config), group = fresh("G");
        Properties names = new Properties();
        names.setProperty("orderMessageEnable", "true");
        ADMIN.updateNameServerConfig(names, ADMIN.getNameServerAddressList());
        ADMIN.createOrUpdateOrderConf(topic, "broker-a:8", false);
        eventually(10, () -> "broker-a:8".equals(ADMIN.examineTopicRouteInfo(topic).getOrderTopicConf()), "the order in the route");
        equal(8, PRODUCER.fetchPublishMessageQueues(topic).size(), "queues to send to");
        List<String> notes = Collections.synchronizedList(new ArrayList<>());
        AtomicInteger[] counts = {new AtomicInteger(), new AtomicInteger(), new AtomicInteger()};
        AtomicInteger sent = new AtomicInteger();
        AtomicBoolean enough = new AtomicBoolean();
        Thread sender = new Thread(() -> {
            while (!enough.get()) {
                int number = sent.get();
                if (holds(() -> {
                    PRODUCER.send(new Message(topic, bytes(String.valueOf(number))), new MessageQueue(topic, "broker-a", number % 8));
                    return true;
                })) sent.incrementAndGet();
                holds(() -> {
                    Thread.sleep(10);
                    return true;
                });
            }
        });
        sender.start();
        DefaultMQPushConsumer leaves = orderly(group, topic, notes, counts[0]), stays = orderly(group, topic, notes, counts[1]);
        try {
            eventually(60, () -> counts[0].get() > 0 && counts[1].get() > 0, "two share the queues");
            DefaultMQPushConsumer joins = orderly(group, topic, notes, counts[2]);
            eventually(60, () -> counts[2].get() > 0, "the one that joins gets a share");
            leaves.shutdown();
            int left = sent.get();
            eventually(60, () -> new HashSet<>(notes).size() >= left + 100, "those that stay take over");
            enough.set(true);
            sender.join();
            eventually(60, () -> new HashSet<>(notes).size() == sent.get(), "all come");
            joins.shutdown();
        } finally {
            enough.set(true);
            stays.shutdown();
        }
        Map<String, Integer> last = new HashMap<>();
        for (String each : notes) {
            String[] parts = each.split(":");
            int number = Integer.parseInt(parts[1]);
            Integer before = last.put(parts[0], number);
            check(before == null ? number < 8 : number == before + 8, "queue " + parts[0] + ": " + number + " after " + before);
        }
    }

    public static void main(String[] arguments) throws Exception {
        begin(arguments);
        PRODUCER = producer();
        PRODUCER.setRetryTimesWhenSendFailed(5);
        PULLER = puller();
        CASES.put("delay levels: all of them", Kinds::allLevels);
        CASES.put("delay levels: across a restart", () -> levelsAcross("RESTART"));
        CASES.put("delay levels: across a kill", () -> levelsAcross("KILL"));
        CASES.put("SQL92 chooses as the table says", Kinds::sql);
        CASES.put("an expression that cannot be compiled is refused when its consumer starts", Kinds::refusedExpressions);
        CASES.put("LMQ: a message stands in each it names, and after a restart", () -> inEveryLmq("RESTART"));
        CASES.put("LMQ: a message stands in each it names, and after a kill", () -> inEveryLmq("KILL"));
        CASES.put("LMQ: offsets are there after a restart", () -> lmqOffsets("RESTART"));
        CASES.put("LMQ: offsets are there after a kill", () -> lmqOffsets("KILL"));
        CASES.put("LMQ: a held pull is answered when a message comes", Kinds::heldAtAnLmq);
        if (!old) CASES.put("LMQ: a lite pull consumer reads it", Kinds::litePullOfAnLmq); // that of 5 sends a request of its own
        CASES.put("an order topic keeps the order of its queues while one consumer joins and one leaves", Kinds::orderTopic);
        run(1);
    }
}
