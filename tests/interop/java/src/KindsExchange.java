import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;

import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Kinds of messages in a store that changes hands: in chapter 1 one broker takes them, in chapter 2 the other serves them and takes more, in chapter 3 the first serves
 * all. Arguments: name server, broker, cluster, chapter, clean or kill. A case a kind; what a chapter must tell the next is in kinds.properties.
 */
@SuppressWarnings("deprecation")
public class KindsExchange extends Pop {
    static int chapter;
    static boolean clean; // the broker before this one was not killed: nothing comes twice
    static final Path STATE = Path.of("kinds.properties");

    static synchronized Properties state() throws Exception {
        Properties properties = new Properties();
        if (Files.exists(STATE)) properties.load(Files.newBufferedReader(STATE));
        return properties;
    }

    static synchronized void keep(String key, String value) throws Exception {
        Properties properties = state();
        properties.setProperty(key, value);
        properties.store(Files.newBufferedWriter(STATE), null);
    }

    static String topicNamed(String name) throws Exception {
        if (chapter == 1) return create(new TopicConfig(name, 1, 1, 6));
        eventually(30, () -> hasRoute(name), "route of " + name);
        return name;
    }

    static DefaultMQPullConsumer puller(String group) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(group);
        consumer.setNamesrvAddr(nameServer);
        consumer.setInstanceName(fresh("i"));
        consumer.start();
        return consumer;
    }

    static List<String> numbered(String prefix, int count) {
        List<String> all = new ArrayList<>();
        for (int i = 0; i < count; i++) all.add(prefix + i);
        return all;
    }

    static List<String> texts(List<MessageExt> messages) {
        List<String> all = new ArrayList<>();
        for (MessageExt each : messages) all.add(text(each));
        return all;
    }

    /** Waits until the queue holds each of them; nothing else may be there, and nothing twice where that was promised. */
    static List<MessageExt> expect(DefaultMQPullConsumer consumer, String topic, int seconds, Set<String> wanted) throws Exception {
        List<MessageExt> got = new ArrayList<>();
        eventually(seconds, () -> {
            got.clear();
            got.addAll(all(consumer, queue(topic), 0));
            return new TreeSet<>(texts(got)).containsAll(wanted);
        }, wanted.size() + " messages of " + topic);
        equal(new TreeSet<>(wanted), new TreeSet<>(texts(got)), topic);
        if (clean) equal(wanted.size(), got.size(), "messages of " + topic);
        return got;
    }

    // ---- Delayed, and sent back ----------------------------------------------------------------------

    /** messageDelayLevel=1s 20s 40s */
    static final int[] LEVEL_SECONDS = {0, 1, 20, 40};

    static void delayed() throws Exception {
        String topic = topicNamed("ExchangeDelayed");
        DefaultMQPullConsumer consumer = puller("ExchangeDelayedReaders");
        Set<String> wanted = new TreeSet<>();
        for (int before = 1; before < chapter; before++) wanted.addAll(numbered(before + "-", 30));
        for (int i = 0; i < 30 && chapter < 3; i++) {
            Message message = new Message(topic, bytes(chapter + "-" + i));
            message.setDelayTimeLevel(i % 3 + 1);
            PRODUCER.send(message);
        }
        if (chapter == 1) return;
        if (chapter == 2) wanted.addAll(numbered("2-", 30));
        for (MessageExt each : expect(consumer, topic, 90, wanted)) {
            long delay = LEVEL_SECONDS[Integer.parseInt(text(each).substring(2)) % 3 + 1] * 1_000L;
            check(each.getStoreTimestamp() - each.getBornTimestamp() >= delay - 50, text(each) + " came early");
        }
    }

    static void sentBack() throws Exception {
        String topic = topicNamed("ExchangeRetried"), group = "ExchangeRetriers";
        DefaultMQPullConsumer consumer = puller(group);
        if (chapter == 1) {
            for (String each : numbered("r", 12)) PRODUCER.send(new Message(topic, "A", "key-" + each, bytes(each)));
            List<MessageExt> got = expect(consumer, topic, 20, new TreeSet<>(numbered("r", 12)));
            for (int i = 0; i < got.size(); i++) consumer.sendMessageBack(got.get(i), i % 3 + 1);
            return;
        }
        Map<String, Integer> times = new TreeMap<>(), wanted = new TreeMap<>();
        for (String each : numbered("r", 12)) wanted.put(each, chapter == 3 && each.compareTo("r5") >= 0 ? 2 : 1);
        List<MessageExt> got = new ArrayList<>();
        eventually(90, () -> {
            got.clear();
            got.addAll(all(consumer, queue("%RETRY%" + group), 0));
            for (MessageExt each : got) times.merge(text(each), each.getReconsumeTimes(), Math::max);
            return times.equals(wanted);
        }, "retries: " + wanted + ", and there are " + times);
        for (MessageExt each : got) {
            equal(topic, each.getProperty("RETRY_TOPIC"), "RETRY_TOPIC");
            equal("key-" + text(each), each.getKeys(), "keys");
            check(each.getProperty("ORIGIN_MESSAGE_ID") != null, "ORIGIN_MESSAGE_ID");
        }
        if (clean) equal(chapter == 3 ? 12 + (int) wanted.values().stream().filter(each -> each == 2).count() : 12, got.size(), "retries");
        Set<String> dead = new TreeSet<>(), seen = new TreeSet<>();
        for (String each : numbered("r", 12)) if (each.compareTo("r5") < 0) dead.add(each);
        if (chapter == 2)
            for (MessageExt each : got) if (seen.add(text(each))) consumer.sendMessageBack(each, dead.contains(text(each)) ? -1 : 2);
        expect(consumer, "%DLQ%" + group, 20, dead);
    }

    // ---- Many queues, and batches --------------------------------------------------------------------

    static void lmqs() throws Exception {
        String topic = topicNamed("ExchangeLmqs"), one = "%LMQ%one", two = "%LMQ%two";
        DefaultMQPullConsumer consumer = puller("%LMQ%ExchangeReaders");
        eventually(20, () -> consumer.pull(queue(topic), "*", 0, 1) != null, "a pull");
        List<String> first = new ArrayList<>(), both = new ArrayList<>();
        for (int each = 1; each <= chapter; each++) {
            if (each == chapter) seen(consumer, one, first, two, both);
            if (each == chapter && chapter > 1) equal(7L * (chapter - 1), consumer.fetchConsumeOffset(queue(one), true), "the group's offset");
            for (String body : numbered(each + "-", 20)) {
                boolean in_both = body.hashCode() % 2 == 0;
                first.add(body);
                if (in_both) both.add(body);
                if (each < chapter) continue;
                Message message = new Message(topic, bytes(body));
                MessageAccessor.putProperty(message, "INNER_MULTI_DISPATCH", in_both ? one + "," + two : one);
                PRODUCER.send(message);
            }
        }
        seen(consumer, one, first, two, both);
        consumer.updateConsumeOffset(queue(one), 7L * chapter);
        consumer.getOffsetStore().persist(queue(one));
        eventually(10, () -> consumer.fetchConsumeOffset(queue(one), true) == 7L * chapter, "the offset kept");
    }

    static void seen(DefaultMQPullConsumer consumer, String one, List<String> first, String two, List<String> both) throws Exception {
        eventually(20, () -> texts(all(consumer, queue(one), 0)).equals(first), first.size() + " messages of " + one);
        eventually(20, () -> texts(all(consumer, queue(two), 0)).equals(both), both.size() + " messages of " + two);
        long next = 0;
        for (MessageExt each : all(consumer, queue(two), 0)) {
            String[] offsets = each.getProperty("INNER_MULTI_QUEUE_OFFSET").split(",");
            equal(next++, Long.parseLong(offsets[offsets.length - 1]), "offset in " + two);
        }
    }

    static void batches() throws Exception {
        TopicConfig config = new TopicConfig("ExchangeBatches", 1, 1, 6);
        config.setAttributes(Map.of("+queue.type", "BatchCQ"));
        String topic = chapter == 1 ? create(config) : topicNamed("ExchangeBatches");
        DefaultMQPullConsumer consumer = puller("ExchangeBatchReaders");
        List<String> wanted = new ArrayList<>();
        for (int each = 1; each <= chapter; each++)
            for (int batch = 0; batch < 4; batch++) {
                List<Message> messages = new ArrayList<>();
                for (String body : numbered(each + "-" + batch + "-", 10)) messages.add(new Message(topic, "A", body, bytes(body)));
                if (each == chapter) equal((long) wanted.size(), PRODUCER.send(messages).getQueueOffset(), "offset of a batch");
                wanted.addAll(numbered(each + "-" + batch + "-", 10));
            }
        eventually(20, () -> texts(all(consumer, queue(topic), 0)).equals(wanted), wanted.size() + " messages in order");
        long next = 0;
        for (MessageExt each : all(consumer, queue(topic), 0)) equal(next++, each.getQueueOffset(), "queue offset");
        equal((long) wanted.size(), consumer.maxOffset(queue(topic)), "end of the queue");
    }

    // ---- Popped --------------------------------------------------------------------------------------

    static void popped() throws Exception {
        String topic = topicNamed("ExchangePopped"), group = "ExchangePoppers";
        if (chapter == 1) {
            send(topic, 0, "A", numbered("p", 12).toArray(new String[0]));
            Popped popped = pop(group, topic, 0, 32, 90_000, 0);
            equal(numbered("p", 12), popped.bodies(), "popped");
            for (MessageExt each : popped.messages) {
                String handle = handle(popped, each);
                if (Integer.parseInt(text(each).substring(1)) < 4) equal(0, ack(group, topic, handle), "ack");
                else keep(text(each), handle);
            }
            return;
        }
        Set<String> acked = new TreeSet<>(numbered("p", 4)), again = new TreeSet<>(), wanted = new TreeSet<>();
        if (chapter == 2) {
            for (String each : new String[] {"p4", "p5"}) equal(0, ack(group, topic, state().getProperty(each)), "ack of what the other broker gave");
            wanted.addAll(Arrays.asList("p6", "p7", "p8", "p9", "p10", "p11"));
        } else {
            acked.addAll(Arrays.asList("p6", "p7", "p8"));
            wanted.addAll(Arrays.asList("p9", "p10", "p11"));
        }
        acked.addAll(Arrays.asList("p4", "p5"));
        Set<String> leave = chapter == 2 ? Set.of("p9", "p10", "p11") : Set.of();
        eventually(160, () -> {
            Popped popped = pop(group, topic, -1, 32, 60_000, 1_000);
            for (MessageExt each : popped.messages) {
                check(!acked.contains(text(each)), text(each) + " was acked, and comes again");
                again.add(text(each));
                check(each.getReconsumeTimes() >= 1, text(each) + " was consumed " + each.getReconsumeTimes() + " times");
                if (!leave.contains(text(each))) equal(0, ack(group, topic, handle(popped, each)), "ack");
            }
            return again.containsAll(wanted);
        }, wanted + " again; came " + again);
        equal(wanted, again, "what came again");
        if (chapter == 3) equal(0, drain(group, topic, 5, 1).size(), "more");
    }

    static void poppedInOrder() throws Exception {
        String topic = topicNamed("ExchangePoppedInOrder"), group = "ExchangeOrderlyPoppers";
        if (chapter == 1) send(topic, 0, "A", "m0", "m1", "m2");
        else {
            equal(210, pop(group, topic, -1, 1, 300_000, 0, "order", true, "attemptId", "other" + chapter).answer.getCode(), "while one is open");
            equal(0, ack(group, topic, state().getProperty("order")), "ack of what the other broker gave");
        }
        Popped popped = pop(group, topic, -1, 1, 300_000, 0, "order", true, "attemptId", "a" + chapter);
        equal(Arrays.asList("m" + (chapter - 1)), popped.bodies(), "the next");
        keep("order", handle(popped, popped.messages.get(0)));
    }

    // ---- Groups --------------------------------------------------------------------------------------

    static void offsets() throws Exception {
        String topic = topicNamed("ExchangeOffsets");
        if (chapter == 1) for (String each : numbered("o", 40)) PRODUCER.send(new Message(topic, bytes(each)), queue(topic));
        for (int i = 0; i < 8; i++) {
            DefaultMQPullConsumer consumer = puller("ExchangeOffsets" + i);
            eventually(20, () -> consumer.pull(queue(topic), "*", 0, 1) != null, "a pull");
            for (MessageQueue queue : Arrays.asList(queue(topic), queue("%RETRY%ExchangeOffsets" + i))) {
                long before = consumer.fetchConsumeOffset(queue, true), kept = i + 10L * (chapter - 1);
                if (chapter > 1) equal(kept, before, "offset of group " + i + " in " + queue.getTopic());
                long next = i + 10L * chapter;
                consumer.updateConsumeOffset(queue, next);
                consumer.getOffsetStore().persist(queue);
                eventually(10, () -> consumer.fetchConsumeOffset(queue, true) == next, "offset of group " + i + " kept");
            }
            consumer.shutdown();
        }
    }

    static void expressions() throws Exception {
        String topic = topicNamed("ExchangeExpressions"), group = "ExchangeChoosers";
        if (chapter > 1) {
            String kept = Files.readString(Path.of("store/config/consumerFilter.json")).replaceAll("\\s+", "");
            check(kept.contains("\"expression\":\"a>5\"") && kept.contains("\"" + group + "\""), "consumerFilter.json has it not: " + kept);
            // What it has had comes again, chosen by whatever the other broker kept about it.
            DefaultMQPullConsumer back = puller(group);
            back.updateConsumeOffset(queue(topic), 0);
            back.getOffsetStore().persist(queue(topic));
            eventually(10, () -> back.fetchConsumeOffset(queue(topic), true) == 0, "the group's offset");
            back.shutdown();
        }
        for (int i = 0; i < 10; i++) {
            Message message = new Message(topic, "T" + i % 2, bytes(chapter + "-" + i));
            message.putUserProperty("a", String.valueOf(i));
            PRODUCER.send(message);
        }
        Map<String, Integer> got = new ConcurrentHashMap<>();
        DefaultMQPushConsumer consumer = consumer(group, topic, "*");
        consumer.subscribe(topic, MessageSelector.bySql("a > 5"));
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt each : messages) got.merge(text(each), 1, Integer::sum);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        Map<String, Integer> wanted = new HashMap<>();
        for (int of = 1; of <= chapter; of++) for (int i = 6; i < 10; i++) wanted.put(of + "-" + i, 1);
        eventually(60, () -> got.size() >= wanted.size(), "what it chooses; came " + got);
        Thread.sleep(1_000);
        consumer.shutdown();
        equal(wanted, new HashMap<>(got), "what it chooses");
        DefaultMQPullConsumer even = puller("ExchangeEven");
        Set<String> tagged = new TreeSet<>();
        for (int of = 1; of <= chapter; of++) for (int i = 0; i < 10; i += 2) tagged.add(of + "-" + i);
        List<String> chosen = new ArrayList<>();
        for (long at = 0; at < 10L * chapter;) {
            PullResult pulled = even.pull(queue(topic), "T0", at, 32);
            if (pulled.getMsgFoundList() != null) chosen.addAll(texts(pulled.getMsgFoundList()));
            at = pulled.getNextBeginOffset();
        }
        even.shutdown();
        equal(new ArrayList<>(tagged), chosen, "what has the tag");
    }

    public static void main(String[] arguments) throws Exception {
        begin(arguments);
        only = "";
        chapter = Integer.parseInt(arguments[3]);
        clean = arguments[4].equals("clean");
        connect();
        eventually(30, () -> PRODUCER.send(new Message("ExchangeReady", bytes("ready"))) != null, "the broker");
        CASES.put("delayed messages", KindsExchange::delayed);
        CASES.put("messages sent back", KindsExchange::sentBack);
        CASES.put("LMQs", KindsExchange::lmqs);
        CASES.put("batch queues", KindsExchange::batches);
        CASES.put("popped messages", KindsExchange::popped);
        CASES.put("messages popped in order", KindsExchange::poppedInOrder);
        CASES.put("offsets", KindsExchange::offsets);
        CASES.put("expressions", KindsExchange::expressions);
        run(8);
    }
}
