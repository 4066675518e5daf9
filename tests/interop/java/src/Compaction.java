import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;

import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Topics that keep the newest message of each key. The broker is configured with small files and a short pause between compactions. */
@SuppressWarnings("deprecation")
public class Compaction extends Words {
    static DefaultMQProducer PRODUCER;
    static DefaultMQPullConsumer PULLER;

    static String compacted(String name) throws Exception {
        TopicConfig config = new TopicConfig(name, 1, 1, 6);
        config.getAttributes().put("+cleanup.policy", "COMPACTION");
        return create(config);
    }

    static long send(String topic, String key, String body) throws Exception {
        return PRODUCER.send(new Message(topic, "tag", key, bytes(body)), queue(topic)).getQueueOffset();
    }

    /** `count` messages round `keys` keys; bodies are numbers from `from` on. */
    static void fill(String topic, int keys, int from, int count) throws Exception {
        for (int i = from; i < from + count; i++) send(topic, "key" + i % keys, String.format("%0100d", i));
    }

    static List<Integer> numbers(List<MessageExt> messages) {
        List<Integer> all = new ArrayList<>();
        for (MessageExt each : messages) all.add(Integer.parseInt(text(each)));
        return all;
    }

    static List<MessageExt> read(String topic) throws Exception {
        return all(PULLER, queue(topic), 0);
    }

    /** Each key's newest is there, with the offset it was sent with; all is in order. */
    static void checkNewest(List<MessageExt> messages, int keys, int sent) throws Exception {
        Map<String, Long> newest = new TreeMap<>();
        long last = -1;
        for (MessageExt each : messages) {
            check(each.getQueueOffset() > last, "order: " + each.getQueueOffset() + " behind " + last);
            last = each.getQueueOffset();
            equal(last, Long.parseLong(text(each)), "body at its offset");
            newest.put(each.getKeys(), last);
        }
        Map<String, Long> wanted = new TreeMap<>();
        for (int i = 0; i < sent; i++) wanted.put("key" + i % keys, (long) i);
        equal(wanted, newest, "the newest of each key");
    }

    /**
     * Until the files that are full are compacted: what is left is the last file and a message a key. Two readings must agree: one may have begun before the
     * compaction and ended after it, and holds then what is gone by now.
     */
    static List<MessageExt> afterCompaction(String topic, int keys, int sent) throws Exception {
        List<MessageExt> left = new ArrayList<>();
        eventually(60, () -> {
            List<Integer> before = numbers(left);
            left.clear();
            left.addAll(read(topic));
            boolean whole = !left.isEmpty() && left.get(left.size() - 1).getQueueOffset() == sent - 1; // a broker may be behind
            return whole && left.size() <= keys + 100 && numbers(left).equals(before);
        }, "compaction of " + topic);
        checkNewest(left, keys, sent);
        return left;
    }

    static void fill() {
        CASES.put("a message without a key is refused", () -> {
            String topic = compacted(fresh("C"));
            for (String key : Arrays.asList("", " ")) {
                try {
                    send(topic, key, "1");
                    check(false, "sent without a key");
                } catch (MQBrokerException e) {
                    equal(13, e.getResponseCode(), "code");
                    equal("Required message key is missing", e.getErrorMessage(), "remark");
                }
            }
        });
        CASES.put("the policy of a topic stays as it was made", () -> {
            String topic = compacted(fresh("C"));
            TopicConfig config = ADMIN.examineTopicConfig(brokerAddress, topic);
            equal("COMPACTION", config.getAttributes().get("cleanup.policy"), "attribute");
            config.getAttributes().clear();
            config.getAttributes().put("-cleanup.policy", "");
            try {
                ADMIN.createAndUpdateTopicConfig(brokerAddress, config);
                check(false, "changed");
            } catch (Exception e) {
                check(e.getMessage().contains("unchangeable"), e.getMessage());
            }
        });
        CASES.put("the newest of each key is kept", () -> {
            String topic = compacted(fresh("C"));
            fill(topic, 10, 0, 50);
            eventually(10, () -> read(topic).size() == 50, "all of a file that is not full");
            fill(topic, 10, 50, 450);
            List<MessageExt> left = afterCompaction(topic, 10, 500);
            long first = left.get(0).getQueueOffset(), second = left.get(1).getQueueOffset();
            check(first > 0 && second > first, "the first are gone");
            MessageQueue queue = queue(topic);
            PullResult before = PULLER.pull(queue, "*", 0, 1);
            equal(PullStatus.FOUND, before.getPullStatus(), "a pull before what is left");
            equal(first, before.getMsgFoundList().get(0).getQueueOffset(), "its message");
            equal(first + 1, before.getNextBeginOffset(), "its next offset");
            equal(first, before.getMinOffset(), "the least offset a pull tells");
            equal(500L, before.getMaxOffset(), "the end a pull tells");
            equal(0L, PULLER.minOffset(queue), "the queue's least offset");
            equal(500L, PULLER.maxOffset(queue), "the queue's end");
            equal(PullStatus.NO_NEW_MSG, PULLER.pull(queue, "*", 500, 32).getPullStatus(), "a pull at the end");
            PullResult behind = PULLER.pull(queue, "*", 600, 32);
            equal(PullStatus.OFFSET_ILLEGAL, behind.getPullStatus(), "a pull behind the end");
            equal(500L, behind.getNextBeginOffset(), "where it goes on");
            equal(0L, PULLER.searchOffset(queue, left.get(0).getStoreTimestamp() - 60_000), "the first of a time before all");
            check(PULLER.searchOffset(queue, left.get(0).getStoreTimestamp()) <= first, "the first of a time");
        });
        CASES.put("a consumer that comes later gets the newest of each key", () -> {
            String topic = compacted(fresh("C"));
            fill(topic, 7, 0, 400);
            afterCompaction(topic, 7, 400);
            Map<String, Long> newest = new ConcurrentHashMap<>();
            DefaultMQPushConsumer consumer = consumer(fresh("G"), topic, "tag");
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                for (MessageExt each : messages) newest.merge(each.getKeys(), each.getQueueOffset(), Math::max);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
            Map<String, Long> wanted = new TreeMap<>();
            for (int i = 0; i < 400; i++) wanted.put("key" + i % 7, (long) i);
            eventually(40, () -> newest.equals(wanted), "the newest of each key");
            fill(topic, 7, 400, 3);
            for (int i = 400; i < 403; i++) wanted.put("key" + i % 7, (long) i);
            eventually(20, () -> newest.equals(wanted), "what comes while it listens");
            consumer.shutdown();
        });
        for (String how : Arrays.asList("RESTART", "KILL")) {
            CASES.put("what is kept is kept over a " + how.toLowerCase(), () -> {
                String topic = compacted(fresh("C"));
                fill(topic, 5, 0, 400);
                List<Integer> before = numbers(afterCompaction(topic, 5, 400));
                restart(how);
                eventually(30, () -> hasRoute(topic), "route of " + topic);
                eventually(30, () -> !read(topic).isEmpty(), "messages of " + topic);
                checkNewest(read(topic), 5, 400);
                check(before.containsAll(numbers(read(topic))), "nothing comes back");
                fill(topic, 5, 400, 300);
                afterCompaction(topic, 5, 700);
            });
        }
    }

    static void connect() throws Exception {
        PRODUCER = producer();
        PULLER = puller();
    }

    public static void main(String[] arguments) throws Exception {
        begin(arguments);
        connect();
        fill();
        run(1);
    }
}
