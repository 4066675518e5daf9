import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * The words that all suites share, and how their cases are run: name server, broker address, cluster and, if given, the text that the names of the cases wanted
 * contain, and whose broker it is. One line a case: CASE, name, PASS or FAIL, milliseconds, detail; separated by tabs. Compiled with each client, so only what all of them have.
 */
@SuppressWarnings("deprecation")
class Words {
    interface Body {
        void run() throws Exception;
    }

    static String nameServer, brokerAddress, cluster, only;
    /** The broker is ours: what must come once comes once. Apache's may ask about, and deliver, a transaction twice before it has written down its end. */
    static boolean exact;
    static boolean old; // the broker is of version 4
    static DefaultMQAdminExt ADMIN;
    static final Map<String, Body> CASES = new LinkedHashMap<>();
    static final AtomicInteger NEXT = new AtomicInteger();
    static final long RUN = System.currentTimeMillis() % 1_000_000_000L;

    static void check(boolean good, String what) {
        if (!good) throw new AssertionError(what);
    }

    static void equal(Object wanted, Object got, String what) {
        if (!wanted.equals(got)) throw new AssertionError(what + ": wanted " + wanted + ", got " + got);
    }

    interface Condition {
        boolean holds() throws Exception;
    }

    static boolean holds(Condition condition) {
        try {
            return condition.holds();
        } catch (Exception e) {
            return false;
        }
    }

    /** A question that fails is asked again. */
    static void eventually(int seconds, Condition condition, String what) throws Exception {
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        for (;;) {
            Exception last = null;
            try {
                if (condition.holds()) return;
            } catch (Exception e) {
                last = e;
            }
            if (System.nanoTime() > end) throw new AssertionError("not within " + seconds + " s: " + what + (last == null ? "" : ", " + last));
            Thread.sleep(20);
        }
    }

    static String fresh(String prefix) {
        return prefix + "_" + RUN + "_" + NEXT.incrementAndGet();
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(Message message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    static boolean hasRoute(String topic) {
        return holds(() -> !ADMIN.examineTopicRouteInfo(topic).getBrokerDatas().isEmpty());
    }

    /** Makes it in the broker, and waits until the name server knows. */
    static String create(TopicConfig config) throws Exception {
        ADMIN.createAndUpdateTopicConfig(brokerAddress, config);
        eventually(15, () -> hasRoute(config.getTopicName()), "route of " + config.getTopicName());
        return config.getTopicName();
    }

    /** A topic of its own for the case. */
    static String topic(int queues) throws Exception {
        return create(new TopicConfig(fresh("T"), queues, queues, 6));
    }

    static DefaultMQProducer producer() throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(fresh("P"));
        producer.setNamesrvAddr(nameServer);
        producer.setInstanceName(fresh("i"));
        producer.setSendMsgTimeout(10_000);
        producer.start();
        return producer;
    }

    static DefaultMQPullConsumer puller() throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(fresh("G"));
        consumer.setNamesrvAddr(nameServer);
        consumer.setInstanceName(fresh("i"));
        consumer.start();
        return consumer;
    }

    /** A push consumer that begins with the first message; its listener is still to be given. */
    static DefaultMQPushConsumer consumer(String group, String topic, String expression) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(nameServer);
        consumer.setInstanceName(fresh("i"));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, expression);
        return consumer;
    }

    static MessageQueue queue(String topic) {
        return new MessageQueue(topic, "broker-a", 0);
    }

    /** What a queue holds now, from an offset on. */
    static List<MessageExt> all(DefaultMQPullConsumer consumer, MessageQueue queue, long from) throws Exception {
        List<MessageExt> messages = new ArrayList<>();
        for (long at = from; ; ) {
            PullResult result = consumer.pull(queue, "*", at, 32);
            if (result.getPullStatus() != PullStatus.FOUND) return messages;
            messages.addAll(result.getMsgFoundList());
            at = result.getNextBeginOffset();
        }
    }

    /** RESTART or KILL: has the broker stopped and started again; back when it answers. */
    static void restart(String how) throws Exception {
        System.out.println(how);
        System.out.flush();
        int read;
        do {
            read = System.in.read();
            check(read >= 0, "nobody restarts the broker");
        } while (read != '\n');
        eventually(30, () -> ADMIN.fetchBrokerRuntimeStats(brokerAddress) != null, "the broker is back");
    }

    static void begin(String[] arguments) throws Exception {
        nameServer = arguments[0];
        brokerAddress = arguments[1];
        cluster = arguments[2];
        only = arguments.length > 3 ? arguments[3] : "";
        exact = arguments.length > 4 && arguments[4].equals("apogee");
        old = arguments.length > 4 && arguments[4].equals("apache49");
        ADMIN = new DefaultMQAdminExt(10_000);
        ADMIN.setNamesrvAddr(nameServer);
        ADMIN.setInstanceName(fresh("admin"));
        ADMIN.start();
    }

    /** Runs the cases that are wanted, so many at a time, and ends the program. */
    static void run(int threads) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(threads);
        for (Map.Entry<String, Body> each : CASES.entrySet())
            if (each.getKey().contains(only)) pool.submit(() -> run(each.getKey(), each.getValue()));
        pool.shutdown();
        pool.awaitTermination(14, TimeUnit.MINUTES);
        System.exit(0);
    }

    private static void run(String name, Body body) {
        long began = System.nanoTime();
        String detail = "";
        boolean good = false;
        try {
            body.run();
            good = true;
        } catch (Throwable e) {
            detail = (e + " at " + (e.getStackTrace().length > 0 ? e.getStackTrace()[0] : "?")).replaceAll("\\s+", " ");
            if (detail.length() > 600) detail = detail.substring(0, 600);
        }
        System.out.println("CASE\t" + name + "\t" + (good ? "PASS" : "FAIL") + "\t" + (System.nanoTime() - began) / 1_000_000 + "\t" + detail);
        System.out.flush();
    }
}
