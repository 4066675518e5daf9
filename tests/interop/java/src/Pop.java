import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.message.MessageRequestMode;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.netty.NettyRemotingClient;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.body.BatchAck;
import org.apache.rocketmq.remoting.protocol.body.BatchAckMessageRequestBody;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/**
 * Consumption by POP: the published push consumer in pop mode, and the requests behind it one by one, as the published proxy sends them.
 */
public class Pop extends Words {
    static final int POP = 200050, ACK = 200051, PEEK = 200052, CHANGE = 200053, NOTIFICATION = 200054, POLLING_INFO = 200055, BATCH_ACK = 200151;
    static DefaultMQProducer PRODUCER;
    static NettyRemotingClient RAW;

    // ---- Words of the suite ----------------------------------------------------------------------

    static String group() throws Exception {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(fresh("G"));
        ADMIN.createAndUpdateSubscriptionGroupConfig(brokerAddress, config);
        return config.getGroupName();
    }

    /** Sends, and waits until it can be popped: a broker answers a send before its queues know of the message. */
    static void send(String topic, int queue, String tag, String... bodies) throws Exception {
        sendOnly(topic, queue, tag, bodies);
        Thread.sleep(100);
    }

    static void sendOnly(String topic, int queue, String tag, String... bodies) throws Exception {
        for (String body : bodies) PRODUCER.send(new Message(topic, tag, bytes(body)), new MessageQueue(topic, "broker-a", queue));
    }

    // ---- Requests ----------------------------------------------------------------------------------

    static RemotingCommand call(int code, byte[] body, Object... fields) throws Exception {
        RemotingCommand request = RemotingCommand.createRequestCommand(code, null);
        HashMap<String, String> ext = new HashMap<>();
        for (int i = 0; i < fields.length; i += 2) ext.put((String) fields[i], String.valueOf(fields[i + 1]));
        request.setExtFields(ext);
        request.setBody(body);
        return RAW.invokeSync(brokerAddress, request, 30_000);
    }

    static class Popped {
        RemotingCommand answer;
        List<MessageExt> messages = new ArrayList<>();
        String field(String name) {
            return answer.getExtFields() == null ? null : answer.getExtFields().get(name);
        }
        List<String> bodies() {
            List<String> all = new ArrayList<>();
            for (MessageExt each : messages) all.add(text(each));
            return all;
        }
    }

    static Popped pop(String group, String topic, int queue, int max, long invisible, long poll, Object... more) throws Exception {
        List<Object> fields = new ArrayList<>(Arrays.asList("consumerGroup", group, "topic", topic, "queueId", queue, "maxMsgNums", max, "invisibleTime", invisible,
            "pollTime", poll, "bornTime", System.currentTimeMillis(), "initMode", 0, "expType", "TAG", "exp", "*"));
        fields.addAll(Arrays.asList(more));
        Popped popped = new Popped();
        popped.answer = call(POP, null, fields.toArray());
        if (popped.answer.getCode() == 0 && popped.answer.getBody() != null)
            popped.messages = MessageDecoder.decodes(ByteBuffer.wrap(popped.answer.getBody()));
        return popped;
    }

    /** The handle of a message of the normal topic, as the client makes it from the answer's fields. */
    static String handle(Popped popped, MessageExt message) {
        if (message.getProperty("POP_CK") != null) return message.getProperty("POP_CK");
        for (String each : popped.field("startOffsetInfo").split(";")) {
            String[] parts = each.split(" ");
            if (parts[0].equals("0") && parts[1].equals(String.valueOf(message.getQueueId())))
                return parts[2] + " " + popped.field("popTime") + " " + popped.field("invisibleTime") + " " + popped.field("reviveQid") + " 0 broker-a " + message.getQueueId() + " "
                    + message.getQueueOffset();
        }
        throw new AssertionError("no start offset for queue " + message.getQueueId() + " in " + popped.field("startOffsetInfo"));
    }

    static String realTopic(String handle, String topic, String group) {
        String kind = handle.split(" ")[4];
        return kind.equals("1") ? "%RETRY%" + group + "_" + topic : kind.equals("2") ? "%RETRY%" + group + "+" + topic : topic;
    }

    static int ack(String group, String topic, String handle) throws Exception {
        String[] parts = handle.split(" ");
        return call(ACK, null, "consumerGroup", group, "topic", realTopic(handle, topic, group), "queueId", parts[6], "offset", parts[7], "extraInfo", handle).getCode();
    }

    static RemotingCommand change(String group, String topic, String handle, long invisible) throws Exception {
        String[] parts = handle.split(" ");
        return call(CHANGE, null, "consumerGroup", group, "topic", realTopic(handle, topic, group), "queueId", parts[6], "offset", parts[7], "extraInfo", handle, "invisibleTime",
            invisible);
    }

    static String changed(String handle, RemotingCommand answer) {
        String[] parts = handle.split(" ");
        return parts[7] + " " + answer.getExtFields().get("popTime") + " " + answer.getExtFields().get("invisibleTime") + " " + answer.getExtFields().get("reviveQid") + " " + parts[4]
            + " " + parts[5] + " " + parts[6] + " " + parts[7];
    }

    /** Pops and acks until `seconds` have passed or as many messages have come. */
    static List<MessageExt> drain(String group, String topic, int seconds, int count) throws Exception {
        List<MessageExt> all = new ArrayList<>();
        long end = System.currentTimeMillis() + seconds * 1_000L;
        while (all.size() < count && System.currentTimeMillis() < end) {
            Popped popped = pop(group, topic, -1, 32, 30_000, 1_000);
            for (MessageExt each : popped.messages) {
                equal(0, ack(group, topic, handle(popped, each)), "code of an ack");
                all.add(each);
            }
        }
        return all;
    }

    static void nothing(String group, String topic, int seconds) throws Exception {
        equal(0, drain(group, topic, seconds, 1).size(), "messages that should not come");
    }

    // ---- The push consumer -------------------------------------------------------------------------

    static DefaultMQPushConsumer consumer(String group, String topic, MessageListenerConcurrently listener) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(nameServer);
        consumer.setInstanceName(fresh("i"));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setClientRebalance(false);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(listener);
        consumer.start();
        return consumer;
    }

    static void usePop(String topic, String group) throws Exception {
        ADMIN.setMessageRequestMode(brokerAddress, topic, group, MessageRequestMode.POP, 0, 5_000);
    }

    static void receivesAll() throws Exception {
        String topic = topic(4), group = group();
        usePop(topic, group);
        for (int i = 0; i < 100; i++) sendOnly(topic, i % 4, "A", "m" + i);
        List<String> got = new CopyOnWriteArrayList<>();
        Set<String> handles = ConcurrentHashMap.newKeySet();
        DefaultMQPushConsumer consumer = consumer(group, topic, (messages, context) -> {
            for (MessageExt each : messages) {
                got.add(text(each));
                handles.add(String.valueOf(each.getProperty("POP_CK")));
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        try {
            eventually(40, () -> got.size() >= 100, "100 messages");
            for (int i = 100; i < 200; i++) sendOnly(topic, i % 4, "A", "m" + i);
            eventually(20, () -> got.size() >= 200, "200 messages");
            equal(200, new HashSet<>(got).size(), "different messages");
            equal(200, got.size(), "messages");
            equal(200, handles.size(), "different handles");
            for (String each : handles) equal(8, each.split(" ").length, "parts of the handle " + each);
        } finally {
            consumer.shutdown();
        }
        nothing(group, topic, 3);
    }

    static void twoShare() throws Exception {
        String topic = topic(4), group = group();
        usePop(topic, group);
        List<String> first = new CopyOnWriteArrayList<>(), second = new CopyOnWriteArrayList<>();
        DefaultMQPushConsumer one = consumer(group, topic, (messages, context) -> {
            for (MessageExt each : messages) first.add(text(each));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        DefaultMQPushConsumer two = consumer(group, topic, (messages, context) -> {
            for (MessageExt each : messages) second.add(text(each));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        try {
            int sent = 0;
            long end = System.currentTimeMillis() + 40_000;
            while ((first.isEmpty() || second.isEmpty() || sent < 200) && System.currentTimeMillis() < end) {
                sendOnly(topic, sent % 4, "A", "m" + sent++);
                Thread.sleep(10);
            }
            int total = sent;
            eventually(20, () -> first.size() + second.size() >= total, "all messages");
            check(!first.isEmpty() && !second.isEmpty(), "one got " + first.size() + ", the other " + second.size());
            Set<String> all = new HashSet<>(first);
            all.addAll(second);
            equal(total, all.size(), "different messages");
        } finally {
            one.shutdown();
            two.shutdown();
        }
    }

    static void failedComesAgain() throws Exception {
        String topic = topic(1), group = group();
        usePop(topic, group);
        send(topic, 0, "A", "bad");
        List<MessageExt> got = new CopyOnWriteArrayList<>();
        DefaultMQPushConsumer consumer = consumer(group, topic, (messages, context) -> {
            got.addAll(messages);
            return got.size() < 2 ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        try {
            eventually(60, () -> got.size() >= 2, "the message again"); // the client asks for 10 s
            MessageExt again = got.get(1);
            equal(1, again.getReconsumeTimes(), "reconsume times");
            equal(topic, again.getTopic(), "topic");
            equal(got.get(0).getMsgId(), again.getMsgId(), "id");
            check(again.getProperty("1ST_POP_TIME") != null, "no time of the first pop");
            Thread.sleep(3_000);
            equal(2, got.size(), "deliveries");
        } finally {
            consumer.shutdown();
        }
    }

    static void modeSurvivesRestart() throws Exception {
        String topic = topic(2), group = group();
        usePop(topic, group);
        restart("RESTART");
        send(topic, 0, "A", "one");
        List<MessageExt> got = new CopyOnWriteArrayList<>();
        DefaultMQPushConsumer consumer = consumer(group, topic, (messages, context) -> {
            got.addAll(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        try {
            eventually(40, () -> got.size() >= 1, "the message");
            check(got.get(0).getProperty("POP_CK") != null, "it was not popped");
        } finally {
            consumer.shutdown();
        }
    }

    // ---- Requests one by one -----------------------------------------------------------------------

    static void fieldsOfAnAnswer() throws Exception {
        String topic = topic(2), group = group();
        send(topic, 0, "A", "a0", "a1");
        send(topic, 1, "A", "b0");
        Popped popped = pop(group, topic, -1, 32, 20_000, 0);
        equal(0, popped.answer.getCode(), "code");
        equal(new TreeSet<>(Arrays.asList("a0", "a1", "b0")), new TreeSet<>(popped.bodies()), "messages");
        equal(new TreeSet<>(Arrays.asList("0 0 0", "0 1 0")), new TreeSet<>(Arrays.asList(popped.field("startOffsetInfo").split(";"))), "startOffsetInfo");
        equal(new TreeSet<>(Arrays.asList("0 0 0,1", "0 1 0")), new TreeSet<>(Arrays.asList(popped.field("msgOffsetInfo").split(";"))), "msgOffsetInfo");
        equal("20000", popped.field("invisibleTime"), "invisibleTime");
        equal("0", popped.field("restNum"), "restNum");
        check(Integer.parseInt(popped.field("reviveQid")) < 8, "reviveQid");
        check(Math.abs(Long.parseLong(popped.field("popTime")) - System.currentTimeMillis()) < 60_000, "popTime");
        for (MessageExt each : popped.messages) equal(0, ack(group, topic, handle(popped, each)), "code of an ack");
        Popped more = pop(group, topic, -1, 32, 20_000, 0);
        equal(210, more.answer.getCode(), "code when nothing is there");
        send(topic, 0, "A", "a2", "a3", "a4");
        Popped one = pop(group, topic, 0, 1, 20_000, 0);
        equal(Arrays.asList("a2"), one.bodies(), "one of three");
        equal("2", one.field("restNum"), "restNum");
        equal("0 0 2", one.field("startOffsetInfo"), "startOffsetInfo");
    }

    static void refusals() throws Exception {
        String topic = topic(2), group = group();
        send(topic, 0, "A", "a0");
        equal(17, pop(group, fresh("absent"), -1, 1, 1_000, 0).answer.getCode(), "unknown topic");
        equal(29, pop(group, topic, 2, 1, 1_000, 0).answer.getCode(), "queue out of range");
        equal(29, pop(group, topic, 0, 33, 1_000, 0).answer.getCode(), "too many messages");
        Popped popped = pop(group, topic, 0, 1, 20_000, 0);
        String handle = handle(popped, popped.messages.get(0));
        String[] fields = {"consumerGroup", group, "topic", topic, "queueId", "0", "offset", "0", "extraInfo", handle};
        String[] wrongTopic = fields.clone(), wrongQueue = fields.clone(), wrongOffset = fields.clone();
        wrongTopic[3] = fresh("absent");
        wrongQueue[5] = "7";
        wrongOffset[7] = "99";
        equal(17, call(ACK, null, (Object[]) wrongTopic).getCode(), "ack: unknown topic");
        equal(13, call(ACK, null, (Object[]) wrongQueue).getCode(), "ack: queue out of range");
        equal(208, call(ACK, null, (Object[]) wrongOffset).getCode(), "ack: offset out of range");
        equal(208, call(BATCH_ACK, null).getCode(), "batch ack of nothing");
        equal(0, ack(group, topic, handle), "ack");
        equal(0, ack(group, topic, handle), "ack once more");
    }

    static void unackedComesAgain() throws Exception {
        String topic = topic(2), group = group();
        send(topic, 0, "TagA", "one", "two");
        Popped popped = pop(group, topic, -1, 32, 2_000, 0);
        equal(2, popped.messages.size(), "messages");
        equal(0, ack(group, topic, handle(popped, popped.messages.get(0))), "ack");
        String left = text(popped.messages.get(1));
        equal(210, pop(group, topic, -1, 32, 2_000, 0).answer.getCode(), "what is invisible");
        List<MessageExt> again = drain(group, topic, 30, 1);
        equal(1, again.size(), "messages that come again");
        equal(left, text(again.get(0)), "the one that was not acked");
        equal(1, again.get(0).getReconsumeTimes(), "reconsume times");
        equal(topic, again.get(0).getTopic(), "topic");
        equal("TagA", again.get(0).getTags(), "tags");
        equal("1", again.get(0).getProperty("POP_CK").split(" ")[4], "kind of the handle");
        equal(popped.field("popTime"), again.get(0).getProperty("1ST_POP_TIME"), "time of the first pop");
        equal(popped.messages.get(1).getProperty("UNIQ_KEY"), again.get(0).getProperty("UNIQ_KEY"), "unique key");
        nothing(group, topic, 6);
    }

    static void againAndAgain() throws Exception {
        String topic = topic(1), group = group();
        send(topic, 0, "A", "one");
        for (int times = 0; times < 3; times++) {
            Popped popped = new Popped();
            for (int i = 0; i < 30 && popped.messages.isEmpty(); i++) popped = pop(group, topic, -1, 32, 1_000, 1_000);
            equal(1, popped.messages.size(), "messages, time " + times);
            equal(times, popped.messages.get(0).getReconsumeTimes(), "reconsume times");
        }
        equal(3, drain(group, topic, 30, 1).get(0).getReconsumeTimes(), "reconsume times at the end");
    }

    /** As the proxy does with a message that has failed too often. */
    static void deadLetters() throws Exception {
        String topic = topic(1), group = group();
        send(topic, 0, "A", "bad");
        Popped popped = pop(group, topic, -1, 32, 3_000, 0);
        MessageExt message = popped.messages.get(0);
        RemotingCommand back = call(36, null, "offset", message.getCommitLogOffset(), "group", group, "delayLevel", -1, "originMsgId", message.getMsgId(), "originTopic", topic,
            "maxReconsumeTimes", 0);
        equal(0, back.getCode(), "code of sending back");
        equal(0, ack(group, topic, handle(popped, message)), "ack");
        String reader = group();
        Thread.sleep(100);
        Popped dead = pop(reader, "%DLQ%" + group, -1, 32, 30_000, 5_000);
        equal(Arrays.asList("bad"), dead.bodies(), "dead letters");
        nothing(group, topic, 8);
    }

    static void changeMakesLonger() throws Exception {
        String topic = topic(1), group = group();
        send(topic, 0, "A", "one");
        Popped popped = pop(group, topic, -1, 32, 2_000, 0);
        String handle = handle(popped, popped.messages.get(0));
        RemotingCommand answer = change(group, topic, handle, 12_000);
        equal(0, answer.getCode(), "code");
        equal("12000", answer.getExtFields().get("invisibleTime"), "invisibleTime");
        equal(popped.field("reviveQid"), answer.getExtFields().get("reviveQid"), "reviveQid");
        nothing(group, topic, 9);
        List<MessageExt> again = drain(group, topic, 30, 1);
        equal(1, again.size(), "messages after the longer time");
        equal(1, again.get(0).getReconsumeTimes(), "reconsume times");
    }

    static void changeMakesShorter() throws Exception {
        String topic = topic(1), group = group();
        send(topic, 0, "A", "one", "two");
        Popped popped = pop(group, topic, -1, 32, 300_000, 0);
        equal(0, change(group, topic, handle(popped, popped.messages.get(0)), 1_000).getCode(), "code");
        List<MessageExt> again = drain(group, topic, 30, 1);
        equal(1, again.size(), "messages");
        equal("one", text(again.get(0)), "which");
        RemotingCommand answer = change(group, topic, handle(popped, popped.messages.get(1)), 60_000);
        equal(0, ack(group, topic, changed(handle(popped, popped.messages.get(1)), answer)), "ack of the changed handle");
        equal(208, call(CHANGE, null, "consumerGroup", group, "topic", topic, "queueId", 0, "offset", 99, "extraInfo", handle(popped, popped.messages.get(1)), "invisibleTime", 1_000)
            .getCode(), "an offset that is not there");
    }

    static void batchAck() throws Exception {
        String topic = topic(1), group = group();
        send(topic, 0, "A", "m0", "m1", "m2", "m3");
        Popped popped = pop(group, topic, -1, 32, 2_000, 0);
        equal(4, popped.messages.size(), "messages");
        BatchAck entry = new BatchAck();
        entry.setConsumerGroup(group);
        entry.setTopic(topic);
        entry.setRetry("0");
        entry.setStartOffset(0);
        entry.setQueueId(0);
        entry.setReviveQueueId(Integer.parseInt(popped.field("reviveQid")));
        entry.setPopTime(Long.parseLong(popped.field("popTime")));
        entry.setInvisibleTime(2_000);
        BitSet bits = new BitSet();
        bits.set(0);
        bits.set(1);
        bits.set(3);
        entry.setBitSet(bits);
        BatchAckMessageRequestBody body = new BatchAckMessageRequestBody();
        body.setBrokerName("broker-a");
        body.setAcks(Arrays.asList(entry));
        equal(0, call(BATCH_ACK, body.encode()).getCode(), "code");
        List<MessageExt> again = drain(group, topic, 30, 1);
        equal(1, again.size(), "messages that come again");
        equal("m2", text(again.get(0)), "which");
        nothing(group, topic, 5);
    }

    static void tagFilter() throws Exception {
        String topic = topic(1), group = group();
        for (int i = 0; i < 10; i++) sendOnly(topic, 0, i % 2 == 0 ? "even" : "odd", "m" + i);
        Thread.sleep(100);
        Popped popped = pop(group, topic, -1, 32, 20_000, 0, "exp", "odd");
        equal(Arrays.asList("m1", "m3", "m5", "m7", "m9"), popped.bodies(), "messages");
        equal("0 0 1,3,5,7,9", popped.field("msgOffsetInfo"), "msgOffsetInfo");
        equal("0 0 0", popped.field("startOffsetInfo"), "startOffsetInfo");
        for (MessageExt each : popped.messages) equal(0, ack(group, topic, handle(popped, each)), "code of an ack");
        equal(23, pop(group, topic, -1, 32, 20_000, 0, "expType", "SQL92", "exp", "a >").answer.getCode(), "an expression that means nothing");
    }

    static void longPolling() throws Exception {
        String topic = topic(4), group = group();
        AtomicReference<Popped> got = new AtomicReference<>();
        CountDownLatch done = new CountDownLatch(1);
        Thread waiter = new Thread(() -> {
            try {
                got.set(pop(group, topic, -1, 32, 20_000, 15_000));
            } catch (Exception e) {
                e.printStackTrace();
            }
            done.countDown();
        });
        waiter.start();
        eventually(10, () -> "1".equals(call(POLLING_INFO, null, "consumerGroup", group, "topic", topic, "queueId", -1).getExtFields().get("pollingNum")), "one waits");
        send(topic, 3, "A", "late");
        check(done.await(5, TimeUnit.SECONDS), "the waiting pop was not woken");
        equal(Arrays.asList("late"), got.get().bodies(), "messages");
        long begin = System.currentTimeMillis();
        equal(210, pop(group, topic, -1, 32, 20_000, 2_000).answer.getCode(), "when the time is over");
        long took = System.currentTimeMillis() - begin;
        check(took > 1_500 && took < 10_000, "it took " + took + " ms");
    }

    static void peek() throws Exception {
        String topic = topic(1), group = group();
        equal(19, call(PEEK, null, "consumerGroup", group, "topic", topic, "queueId", -1, "maxMsgNums", 10).getCode(), "peek at nothing");
        send(topic, 0, "A", "one", "two");
        for (int i = 0; i < 2; i++) {
            RemotingCommand answer = call(PEEK, null, "consumerGroup", group, "topic", topic, "queueId", -1, "maxMsgNums", 10);
            equal(0, answer.getCode(), "code");
            equal(2, MessageDecoder.decodes(ByteBuffer.wrap(answer.getBody())).size(), "messages");
            equal("2", answer.getExtFields().get("restNum"), "restNum");
        }
        equal(2, pop(group, topic, -1, 32, 20_000, 0).messages.size(), "messages still there");
    }

    static void notification() throws Exception {
        String topic = topic(2), group = group();
        RemotingCommand none = call(NOTIFICATION, null, "consumerGroup", group, "topic", topic, "queueId", -1, "pollTime", 0, "bornTime", System.currentTimeMillis());
        equal(0, none.getCode(), "code");
        equal("false", none.getExtFields().get("hasMsg"), "hasMsg");
        equal("false", none.getExtFields().get("pollingFull"), "pollingFull");
        AtomicReference<RemotingCommand> got = new AtomicReference<>();
        CountDownLatch done = new CountDownLatch(1);
        new Thread(() -> {
            try {
                got.set(call(NOTIFICATION, null, "consumerGroup", group, "topic", topic, "queueId", -1, "pollTime", 15_000, "bornTime", System.currentTimeMillis()));
            } catch (Exception e) {
                e.printStackTrace();
            }
            done.countDown();
        }).start();
        Thread.sleep(500);
        equal(1L, done.getCount(), "it waits");
        send(topic, 1, "A", "one");
        check(done.await(5, TimeUnit.SECONDS), "it was not told");
        equal("true", got.get().getExtFields().get("hasMsg"), "hasMsg");
    }

    static void orderly() throws Exception {
        String topic = topic(1), group = group();
        send(topic, 0, "A", "m0", "m1", "m2", "m3");
        Popped first = pop(group, topic, -1, 2, 4_000, 0, "order", true, "attemptId", "a1");
        equal(Arrays.asList("m0", "m1"), first.bodies(), "first");
        equal("999", first.field("reviveQid"), "reviveQid");
        equal("0 0 0", first.field("orderCountInfo"), "orderCountInfo");
        equal(210, pop(group, topic, -1, 2, 4_000, 0, "order", true, "attemptId", "a2").answer.getCode(), "while the first are open");
        equal(Arrays.asList("m0", "m1"), pop(group, topic, -1, 2, 4_000, 0, "order", true, "attemptId", "a1").bodies(), "the same attempt");
        Popped again = new Popped();
        for (int i = 0; i < 20 && again.messages.isEmpty(); i++) again = pop(group, topic, -1, 2, 20_000, 1_000, "order", true, "attemptId", "a3");
        equal(Arrays.asList("m0", "m1"), again.bodies(), "again, in order");
        equal(new TreeSet<>(Arrays.asList("0 qo0%0 1", "0 qo0%1 1", "0 0 1")), new TreeSet<>(Arrays.asList(again.field("orderCountInfo").split(";"))), "orderCountInfo");
        equal(0, ack(group, topic, handle(again, again.messages.get(0))), "ack");
        equal(210, pop(group, topic, -1, 2, 20_000, 0, "order", true, "attemptId", "a4").answer.getCode(), "with one of two open");
        equal(0, ack(group, topic, handle(again, again.messages.get(1))), "ack");
        Popped then = pop(group, topic, -1, 2, 20_000, 0, "order", true, "attemptId", "a5");
        equal(Arrays.asList("m2", "m3"), then.bodies(), "then");
        equal(0, ack(group, topic, handle(first, first.messages.get(0))), "ack of what is long done");
        RemotingCommand sooner = change(group, topic, handle(then, then.messages.get(0)), 500);
        equal(0, sooner.getCode(), "change");
        equal(then.field("popTime"), sooner.getExtFields().get("popTime"), "popTime stays");
    }

    // ---- Restarts ------------------------------------------------------------------------------------

    static void openAcross(String how) throws Exception {
        String topic = topic(2), group = group();
        send(topic, 0, "A", "acked", "open");
        Popped popped = pop(group, topic, 0, 32, 5_000, 0);
        equal(2, popped.messages.size(), "messages");
        equal(0, ack(group, topic, handle(popped, popped.messages.get(0))), "ack");
        send(topic, 1, "A", "unpopped");
        // What was popped within the last seconds may come from the start again after a kill; not here.
        Thread.sleep(6_500);
        restart(how);
        Map<String, Integer> times = new HashMap<>();
        for (MessageExt each : drain(group, topic, 40, 2)) times.put(text(each), each.getReconsumeTimes());
        equal(Map.of("open", 1, "unpopped", 0), times, "messages and how often they were consumed before");
        nothing(group, topic, 6);
    }

    static void orderAcross(String how) throws Exception {
        String topic = topic(1), group = group();
        send(topic, 0, "A", "m0", "m1");
        Popped first = pop(group, topic, -1, 1, 60_000, 0, "order", true, "attemptId", "a1");
        equal(Arrays.asList("m0"), first.bodies(), "first");
        Thread.sleep(6_500);
        restart(how);
        equal(210, pop(group, topic, -1, 1, 60_000, 0, "order", true, "attemptId", "a2").answer.getCode(), "still open");
        equal(0, ack(group, topic, handle(first, first.messages.get(0))), "ack");
        equal(Arrays.asList("m1"), pop(group, topic, -1, 1, 60_000, 0, "order", true, "attemptId", "a3").bodies(), "then");
    }

    // ---- Driver --------------------------------------------------------------------------------------

    static void cases() {
        CASES.put("pop: the push consumer receives all", Pop::receivesAll);
        CASES.put("pop: two push consumers share", Pop::twoShare);
        CASES.put("pop: what the push consumer failed at comes again", Pop::failedComesAgain);
        CASES.put("pop: fields of an answer", Pop::fieldsOfAnAnswer);
        CASES.put("pop: refusals", Pop::refusals);
        CASES.put("pop: unacked comes again, acked does not", Pop::unackedComesAgain);
        CASES.put("pop: again and again, counted", Pop::againAndAgain);
        CASES.put("pop: a dead letter, as the proxy makes it", Pop::deadLetters);
        CASES.put("pop: a longer invisible time", Pop::changeMakesLonger);
        CASES.put("pop: a shorter invisible time", Pop::changeMakesShorter);
        CASES.put("pop: batch ack", Pop::batchAck);
        CASES.put("pop: tags", Pop::tagFilter);
        CASES.put("pop: long polling, polling info", Pop::longPolling);
        CASES.put("pop: peek", Pop::peek);
        CASES.put("pop: notification", Pop::notification);
        CASES.put("pop: in order", Pop::orderly);
        CASES.put("pop: the mode of consumption survives a restart", Pop::modeSurvivesRestart);
        CASES.put("pop: what is open survives a restart", () -> openAcross("RESTART"));
        CASES.put("pop: what is open survives a kill", () -> openAcross("KILL"));
        CASES.put("pop: order survives a restart", () -> orderAcross("RESTART"));
    }

    static void connect() throws Exception {
        PRODUCER = producer();
        RAW = new NettyRemotingClient(new NettyClientConfig());
        RAW.start();
    }

    public static void main(String[] arguments) throws Exception {
        begin(arguments);
        connect();
        cases();
        run(1);
    }
}
