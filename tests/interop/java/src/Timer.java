import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;

import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.producer.RecallMessageHandle;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.netty.NettyRemotingClient;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/**
 * Messages that wait for their time: by the timer; recalls; restarts and kills in between.
 */
@SuppressWarnings("deprecation")
public class Timer extends Words {
    static final int RECALL = 370, CHECK_POINT = 60, METRICS = 61;
    static final long SLACK_MS = 2_500; // of the published broker on a busy machine
    static DefaultMQProducer PRODUCER;
    static DefaultMQPullConsumer CONSUMER;
    static NettyRemotingClient RAW;

    // ---- Words of the suite ----------------------------------------------------------------------

    static Message message(String topic, String body) {
        return new Message(topic, "A", bytes(body));
    }

    static SendResult send(Message message) throws Exception {
        return PRODUCER.send(message, new MessageQueue(message.getTopic(), "broker-a", 0));
    }

    static SendResult sendIn(String topic, String body, long delayMs) throws Exception {
        Message message = message(topic, body);
        message.setDelayTimeMs(delayMs);
        return send(message);
    }

    /** All that is in the topic now. */
    static List<MessageExt> there(String topic) {
        List<MessageExt> all = new ArrayList<>();
        try {
            long offset = 0;
            for (;;) {
                PullResult result = CONSUMER.pull(new MessageQueue(topic, "broker-a", 0), "*", offset, 32, 5_000);
                if (result.getPullStatus() != PullStatus.FOUND) return all;
                all.addAll(result.getMsgFoundList());
                offset = result.getNextBeginOffset();
            }
        } catch (Exception e) {
            return all; // the broker is on its way back, or nothing was ever put there
        }
    }

    static List<String> bodies(String topic) {
        List<String> bodies = new ArrayList<>();
        for (MessageExt each : there(topic)) bodies.add(text(each));
        return bodies;
    }

    static MessageExt only(String topic, int seconds) throws Exception {
        eventually(seconds, () -> !there(topic).isEmpty(), "the message");
        return there(topic).get(0);
    }

    static void onTime(MessageExt message, long due) {
        long late = message.getStoreTimestamp() - due;
        check(late >= 0, "early by " + -late + " ms");
        check(late <= 1_000 + SLACK_MS, "late by " + late + " ms");
    }

    static int codeOf(Body body) throws Exception {
        try {
            body.run();
        } catch (MQBrokerException e) {
            return e.getResponseCode();
        } catch (MQClientException e) {
            return e.getResponseCode();
        }
        return 0;
    }

    static void configure(String key, String value) throws Exception {
        Properties properties = new Properties();
        properties.setProperty(key, value);
        ADMIN.updateBrokerConfig(brokerAddress, properties);
    }

    static RemotingCommand call(int code, Object... fields) throws Exception {
        RemotingCommand request = RemotingCommand.createRequestCommand(code, null);
        HashMap<String, String> ext = new HashMap<>();
        for (int i = 0; i < fields.length; i += 2) ext.put((String) fields[i], String.valueOf(fields[i + 1]));
        request.setExtFields(ext);
        return RAW.invokeSync(brokerAddress, request, 30_000);
    }

    // ---- The timer ---------------------------------------------------------------------------------

    static void arrivesOnTime() throws Exception {
        String seconds = topic(1), millis = topic(1), absolute = topic(1);
        Message one = message(seconds, "s"), two = message(millis, "ms"), three = message(absolute, "at");
        one.setDelayTimeSec(3);
        two.setDelayTimeMs(2_300);
        long due = System.currentTimeMillis() + 4_000;
        three.setDeliverTimeMs(due);
        long began = System.currentTimeMillis();
        SendResult sent = send(one);
        send(two);
        send(three);
        check(sent.getRecallHandle() != null, "a recall handle");
        check(there(seconds).isEmpty(), "it is there already");
        onTime(only(millis, 10), began + 2_300);
        onTime(only(seconds, 10), began + 3_000);
        MessageExt got = only(absolute, 10);
        onTime(got, due);
        equal(absolute, got.getTopic(), "topic");
        equal(0, got.getQueueId(), "queue");
        equal("A", got.getTags(), "tag");
        equal(String.valueOf((due - 1) / 1_000 * 1_000), got.getProperty("TIMER_OUT_MS"), "TIMER_OUT_MS");
        equal(String.valueOf(due), got.getProperty("TIMER_DELIVER_MS"), "TIMER_DELIVER_MS");
        check(got.getProperty("TIMER_ENQUEUE_MS") != null && got.getProperty("TIMER_DEQUEUE_MS") != null, "notes of the timer: " + got.getProperties());
        equal(absolute, got.getProperty("REAL_TOPIC"), "REAL_TOPIC");
        equal("0", got.getProperty("REAL_QID"), "REAL_QID");
    }

    static void pastTimes() throws Exception {
        String topic = topic(1);
        Message past = message(topic, "past");
        past.setDeliverTimeMs(System.currentTimeMillis() - 60_000);
        SendResult sent = send(past);
        check(sent.getRecallHandle() == null, "there is nothing to recall");
        MessageExt got = only(topic, 5);
        check(got.getProperty("TIMER_OUT_MS") == null, "it went through the timer");
    }

    static void keepsOrder() throws Exception {
        String topic = topic(1);
        List<String> sent = new ArrayList<>();
        long due = System.currentTimeMillis() + 4_000;
        for (int i = 0; i < 200; i++) {
            Message each = message(topic, "m" + i);
            each.setDeliverTimeMs(due);
            send(each);
            sent.add("m" + i);
        }
        eventually(15, () -> there(topic).size() >= 200, "all of them");
        List<String> got = bodies(topic), sorted = new ArrayList<>(got);
        sorted.sort(null);
        List<String> wanted = new ArrayList<>(sent);
        wanted.sort(null);
        equal(wanted, sorted, "each once");
    }

    static void refusals() throws Exception {
        String topic = topic(1);
        Message far = message(topic, "far");
        far.setDelayTimeSec(259_201);
        try {
            send(far);
            throw new AssertionError("a delay beyond the maximum was taken");
        } catch (MQBrokerException e) {
            equal(13, e.getResponseCode(), "code");
            check(e.getErrorMessage().startsWith("timer message illegal, the delay time should not be bigger than the max delay 259200000ms"), e.getErrorMessage());
        }
        Message near = message(topic, "near");
        near.setDelayTimeSec(259_190);
        send(near);
        Message word = message(topic, "word");
        MessageAccessor.putProperty(word, "TIMER_DELAY_MS", "soon");
        equal(13, codeOf(() -> send(word)), "a delay that is no number");
        Message one = message(topic, "one");
        one.setDelayTimeMs(5_000);
        try {
            PRODUCER.send(Arrays.asList(one, message(topic, "two")), new MessageQueue(topic, "broker-a", 0));
            throw new AssertionError("a timer message in a batch was taken");
        } catch (MQClientException | MQBrokerException | RuntimeException e) {
            // The client or the broker says no.
        }
    }

    static void levelWins() throws Exception {
        String topic = topic(1);
        Message both = message(topic, "both");
        both.setDelayTimeMs(60_000);
        both.setDelayTimeLevel(1);
        long began = System.currentTimeMillis();
        send(both);
        MessageExt got = only(topic, 10);
        onTime(got, began + 1_000);
        check(got.getProperty("TIMER_OUT_MS") == null, "it went through the timer");
    }

    // ---- Recall ------------------------------------------------------------------------------------

    static void recalls() throws Exception {
        configure("recallMessageEnable", "true");
        String topic = topic(1);
        SendResult unwanted = sendIn(topic, "unwanted", 4_000);
        sendIn(topic, "wanted", 4_000);
        RecallMessageHandle.HandleV1 handle = (RecallMessageHandle.HandleV1) RecallMessageHandle.decodeHandle(unwanted.getRecallHandle());
        equal(topic, handle.getTopic(), "topic of the handle");
        equal("broker-a", handle.getBrokerName(), "broker of the handle");
        equal(unwanted.getMsgId(), handle.getMessageId(), "message of the handle");
        check((Long.parseLong(handle.getTimestampStr()) - 1) % 1_000 == 0, "time of the handle: " + handle.getTimestampStr());
        equal(unwanted.getMsgId(), PRODUCER.recallMessage(topic, unwanted.getRecallHandle()), "what the recall answers");
        eventually(10, () -> !there(topic).isEmpty(), "the other message");
        Thread.sleep(3_000);
        equal(Arrays.asList("wanted"), bodies(topic), "what was delivered");
    }

    static void recallRefusals() throws Exception {
        configure("recallMessageEnable", "true");
        String topic = topic(1), other = topic(1);
        String handle = sendIn(topic, "m", 60_000).getRecallHandle();
        equal(604, call(RECALL, "topic", topic, "recallHandle", "nonsense", "producerGroup", "g").getCode(), "nonsense");
        equal("recall handle is invalid", call(RECALL, "topic", topic, "recallHandle", "nonsense", "producerGroup", "g").getRemark(), "nonsense");
        equal(604, call(RECALL, "topic", other, "recallHandle", handle, "producerGroup", "g").getCode(), "another topic");
        equal("recall failed, topic not match", call(RECALL, "topic", other, "recallHandle", handle, "producerGroup", "g").getRemark(), "another topic");
        equal(17, call(RECALL, "topic", "nowhere", "recallHandle", handle, "producerGroup", "g").getCode(), "no such topic");
        String elsewhere = RecallMessageHandle.HandleV1.buildHandle(topic, "broker-b", String.valueOf(System.currentTimeMillis() + 10_000), "id");
        equal(604, call(RECALL, "topic", topic, "recallHandle", elsewhere, "producerGroup", "g").getCode(), "another broker");
        String late = RecallMessageHandle.HandleV1.buildHandle(topic, "broker-a", String.valueOf(System.currentTimeMillis() - 1), "id");
        RemotingCommand refused = call(RECALL, "topic", topic, "recallHandle", late, "producerGroup", "g");
        equal(604, refused.getCode(), "too late");
        equal("recall failed, timestamp invalid", refused.getRemark(), "too late");
        configure("recallMessageEnable", "false");
        RemotingCommand off = call(RECALL, "topic", topic, "recallHandle", handle, "producerGroup", "g");
        equal(16, off.getCode(), "switched off");
        equal("recall failed, operation is forbidden", off.getRemark(), "switched off");
    }

    // ---- What it tells of itself -------------------------------------------------------------------

    static void tells() throws Exception {
        String topic = topic(1);
        sendIn(topic, "m", 60_000);
        sendIn(topic, "n", 60_000);
        eventually(10, () -> new String(call(METRICS).getBody(), StandardCharsets.UTF_8).matches(".*\"" + topic + "\":\\{\"count\":2,.*"), "two messages of the topic in the metrics");
        ByteBuffer point = ByteBuffer.wrap(call(CHECK_POINT).getBody());
        equal(56, point.remaining(), "bytes of the check point");
        long behind = System.currentTimeMillis() - point.getLong(0);
        check(behind >= -1_000 && behind < 10_000, "the timer is behind by " + behind);
        Map<String, String> runtime = ADMIN.fetchBrokerRuntimeStats(brokerAddress).getTable();
        for (String key : new String[] {"timerReadBehind", "timerOffsetBehind", "timerCongestNum", "timerEnqueueTps", "timerDequeueTps"})
            check(runtime.containsKey(key), key + " is missing");
        check(Long.parseLong(runtime.get("timerCongestNum")) >= 2, "timerCongestNum " + runtime.get("timerCongestNum"));
    }

    // ---- Restarts ----------------------------------------------------------------------------------

    static void pendingAcross(String how) throws Exception {
        String topic = topic(1);
        configure("recallMessageEnable", "true");
        List<String> wanted = new ArrayList<>();
        long due = System.currentTimeMillis() + 15_000;
        for (int i = 0; i < 100; i++) {
            Message each = message(topic, "m" + i);
            each.setDeliverTimeMs(due + i * 20);
            SendResult sent = send(each);
            if (i % 10 == 0) PRODUCER.recallMessage(topic, sent.getRecallHandle());
            else wanted.add("m" + i);
        }
        Thread.sleep(1_500);
        for (int i = 100; i < 150; i++) {
            sendIn(topic, "m" + i, 16_000);
            wanted.add("m" + i);
        }
        restart(how);
        eventually(40, () -> bodies(topic).containsAll(wanted), "all of them");
        for (MessageExt each : there(topic)) {
            String told = each.getProperty("TIMER_DELIVER_MS");
            if (told != null) check(each.getStoreTimestamp() >= Long.parseLong(told), "early: " + text(each));
            check(wanted.contains(text(each)), "recalled, and there: " + text(each));
        }
    }

    static void cases() {
        CASES.put("timer: seconds, milliseconds and absolute times arrive when they should", Timer::arrivesOnTime);
        CASES.put("timer: a time that is over", Timer::pastTimes);
        CASES.put("timer: many in one slot", Timer::keepsOrder);
        CASES.put("timer: what is refused", Timer::refusals);
        CASES.put("timer: a delay level wins", Timer::levelWins);
        CASES.put("timer: recall", Timer::recalls);
        CASES.put("timer: recalls that are refused", Timer::recallRefusals);
        CASES.put("timer: what it tells of itself", Timer::tells);
        CASES.put("timer: pending messages survive a restart", () -> pendingAcross("RESTART"));
        CASES.put("timer: pending messages survive a kill", () -> pendingAcross("KILL"));
    }

    public static void main(String[] arguments) throws Exception {
        begin(arguments);
        PRODUCER = producer();
        CONSUMER = puller();
        RAW = new NettyRemotingClient(new NettyClientConfig());
        RAW.start();
        cases();
        run(1);
    }
}
