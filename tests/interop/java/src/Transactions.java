import java.util.Arrays;
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
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Transactions, and questions with answers, by the published client.
 * With the word half or finish instead of a case's name: a step of a story in which the broker is another one each time; ends with OK.
 */
public class Transactions extends Words {
    /** A producer whose answers are set by body; what it was asked about is kept. */
    static class Teller implements AutoCloseable, TransactionListener {
        final TransactionMQProducer producer;
        final Map<String, LocalTransactionState> later = new ConcurrentHashMap<>();
        final List<String> asked = new CopyOnWriteArrayList<>();

        Teller(String group) throws Exception {
            producer = new TransactionMQProducer(group);
            producer.setInstanceName(fresh("teller"));
            producer.setNamesrvAddr(nameServer);
            producer.setSendMsgTimeout(10_000);
            producer.setTransactionListener(this);
            producer.start();
        }

        /** At once: as the word before the first colon of the body says. */
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return (LocalTransactionState) argument;
        }

        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            String body = text(message);
            asked.add(body);
            return later.getOrDefault(body, LocalTransactionState.UNKNOW);
        }

        SendResult send(String topic, String body, LocalTransactionState atOnce) throws Exception {
            return producer.sendMessageInTransaction(new Message(topic, "T", "key-" + body, bytes(body)), atOnce);
        }

        public void close() {
            producer.shutdown();
        }
    }

    /** What arrives of a topic, from its beginning. */
    static class Reader implements AutoCloseable {
        final DefaultMQPushConsumer consumer;
        final List<MessageExt> arrived = new CopyOnWriteArrayList<>();

        Reader(String topic) throws Exception {
            this(topic, fresh("G"));
        }

        Reader(String topic, String group) throws Exception {
            consumer = new DefaultMQPushConsumer(group);
            consumer.setInstanceName(fresh("reader"));
            consumer.setNamesrvAddr(nameServer);
            consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
            consumer.subscribe(topic, "*");
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                arrived.addAll(messages);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
        }

        Set<String> bodies() {
            Set<String> bodies = new TreeSet<>();
            for (MessageExt each : arrived) bodies.add(text(each));
            return bodies;
        }

        void expect(int seconds, String... wanted) throws Exception {
            Set<String> all = new TreeSet<>(Arrays.asList(wanted));
            eventually(seconds, () -> bodies().equals(all), "arrives " + all + ", but " + bodies());
        }

        public void close() {
            consumer.shutdown();
        }
    }

    static void cases() {
        CASES.put("a committed message arrives, with its transaction", () -> {
            String topic = fresh("T");
            try (Teller teller = new Teller(fresh("P"))) {
                SendResult sent = teller.send(topic, "pay", LocalTransactionState.COMMIT_MESSAGE);
                try (Reader reader = new Reader(topic)) {
                    reader.expect(30, "pay");
                    MessageExt message = reader.arrived.get(0);
                    equal(sent.getMsgId(), message.getMsgId(), "message id");
                    equal("key-pay", message.getKeys(), "keys");
                    equal("T", message.getTags(), "tags");
                    equal(8, message.getSysFlag() & 12, "transaction flag");
                    check(message.getPreparedTransactionOffset() > 0 || message.getQueueOffset() == 0, "prepared offset");
                    if (!old) equal(sent.getTransactionId(), message.getTransactionId(), "transaction id");
                    Set<String> names = new TreeSet<>(message.getProperties().keySet());
                    names.removeAll(Arrays.asList("CONSUME_START_TIME", "MAX_OFFSET", "MIN_OFFSET", "CLUSTER"));
                    if (!old) equal(new TreeSet<>(Arrays.asList("KEYS", "MSG_REGION", "PGROUP", "TAGS", "TRACE_ON", "TRAN_MSG", "UNIQ_KEY", "WAIT", "__transactionId__")), names, "properties");
                }
            }
        });
        CASES.put("a rolled back message does not arrive", () -> {
            String topic = fresh("T");
            try (Teller teller = new Teller(fresh("P")); Reader reader = new Reader(topic)) {
                teller.send(topic, "no", LocalTransactionState.ROLLBACK_MESSAGE);
                teller.send(topic, "yes", LocalTransactionState.COMMIT_MESSAGE);
                reader.expect(40, "yes");
                Thread.sleep(5_000);
                equal(new TreeSet<>(Arrays.asList("yes")), reader.bodies(), "after two rounds of questions");
                check(!exact || !teller.asked.contains("no"), "asked about what was rolled back");
            }
        });
        CASES.put("an undecided transaction is asked about, and answered", () -> {
            String topic = fresh("T");
            try (Teller teller = new Teller(fresh("P")); Reader reader = new Reader(topic)) {
                teller.later.put("commit", LocalTransactionState.COMMIT_MESSAGE);
                teller.later.put("rollback", LocalTransactionState.ROLLBACK_MESSAGE);
                for (String body : new String[] {"commit", "rollback"}) teller.send(topic, body, LocalTransactionState.UNKNOW);
                reader.expect(40, "commit");
                eventually(30, () -> teller.asked.contains("rollback"), "asked about the other");
                Thread.sleep(1_000);
                int before = teller.asked.size();
                Thread.sleep(6_000);
                if (exact) equal(before, teller.asked.size(), "questions about what has ended");
                if (exact) equal(1, reader.arrived.size(), "arrived");
            }
        });
        CASES.put("another producer of the group answers for one that is gone", () -> {
            String topic = fresh("T"), group = fresh("P");
            try (Teller first = new Teller(group)) {
                first.send(topic, "left", LocalTransactionState.UNKNOW);
            }
            try (Teller second = new Teller(group); Reader reader = new Reader(topic)) {
                second.later.put("left", LocalTransactionState.COMMIT_MESSAGE);
                second.send(topic, "own", LocalTransactionState.COMMIT_MESSAGE);  // so that it is known to the broker
                reader.expect(40, "left", "own");
            }
        });
        CASES.put("a message waits for the immunity it brings along", () -> {
            String topic = fresh("T");
            try (Teller teller = new Teller(fresh("P"))) {
                Message message = new Message(topic, bytes("immune"));
                message.putUserProperty(MessageConst.PROPERTY_CHECK_IMMUNITY_TIME_IN_SECONDS, "12");
                long began = System.currentTimeMillis();
                teller.producer.sendMessageInTransaction(message, LocalTransactionState.UNKNOW);
                eventually(60, () -> teller.asked.contains("immune"), "asked about");
                check(System.currentTimeMillis() - began > 11_000, "asked after " + (System.currentTimeMillis() - began) + " ms");
                teller.later.put("immune", LocalTransactionState.ROLLBACK_MESSAGE);
                Thread.sleep(5_000);
            }
        });
        CASES.put("what is open survives a restart of the broker", () -> survives("RESTART"));
        CASES.put("what is open survives kill -9", () -> survives("KILL"));
        CASES.put("a question is answered", () -> {
            String topic = fresh("Q");
            try (Answerer answerer = new Answerer(topic)) {
                DefaultMQProducer asker = producer();
                Message answer = asker.request(new Message(topic, bytes("six")), 15_000);
                equal("answer to six", text(answer), "answer");
                AtomicReference<String> called = new AtomicReference<>();
                CountDownLatch over = new CountDownLatch(1);
                asker.request(new Message(topic, bytes("seven")), new RequestCallback() {
                    public void onSuccess(Message message) {
                        called.set(text(message));
                        over.countDown();
                    }

                    public void onException(Throwable e) {
                        called.set(e.toString());
                        over.countDown();
                    }
                }, 15_000);
                check(over.await(20, TimeUnit.SECONDS), "the callback ran");
                equal("answer to seven", called.get(), "answer to the callback");
                asker.shutdown();
            }
        });
        CASES.put("a question nobody answers ends in time", () -> {
            String topic = fresh("Q");
            DefaultMQProducer asker = producer();
            try {
                asker.request(new Message(topic, bytes("anyone?")), 3_000);
                check(false, "no exception");
            } catch (Exception e) {
                check(e.getMessage() != null && e.getMessage().contains("wait reply message timeout"), "the reason: " + e.getMessage());
            }
            asker.shutdown();
        });
        CASES.put("a transaction nobody decides is given up", () -> {
            String topic = fresh("T"), lost = fresh("lost");
            try (Teller teller = new Teller(fresh("P")); Reader dead = new Reader("TRANS_CHECK_MAX_TIME_TOPIC")) {
                teller.send(topic, lost, LocalTransactionState.UNKNOW);
                eventually(120, () -> dead.bodies().contains(lost), "in the topic of those given up, after " + teller.asked.size() + " questions");
                check(teller.asked.size() >= 14 && teller.asked.size() <= 16, teller.asked.size() + " questions");
            }
        });
    }

    static void survives(String how) throws Exception {
        String topic = fresh("T");
        try (Teller teller = new Teller(fresh("P"))) {
            teller.send(topic, "before", LocalTransactionState.COMMIT_MESSAGE);
            teller.send(topic, "open", LocalTransactionState.UNKNOW);
            teller.send(topic, "never", LocalTransactionState.ROLLBACK_MESSAGE);
            // Apache's broker gathers the ends of transactions for 3 s in memory.
            Thread.sleep(4_000);
            restart(how);
            teller.later.put("open", LocalTransactionState.COMMIT_MESSAGE);
            try (Reader reader = new Reader(topic)) {
                reader.expect(90, "before", "open");
                if (exact) equal(2, reader.arrived.size(), "arrived");
            }
        }
    }

    static class Answerer implements AutoCloseable {
        final DefaultMQProducer replies = producer();
        final DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(fresh("G"));

        Answerer(String topic) throws Exception {
            replies.send(new Message(topic, bytes("the topic is made")));
            CountDownLatch first = new CountDownLatch(1);
            consumer.setInstanceName(fresh("answerer"));
            consumer.setNamesrvAddr(nameServer);
            consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
            consumer.setPullInterval(0);
            consumer.subscribe(topic, "*");
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                for (MessageExt each : messages) {
                    first.countDown();
                    if (each.getProperty(MessageConst.PROPERTY_CORRELATION_ID) == null) continue;
                    try {
                        replies.send(MessageUtil.createReplyMessage(each, bytes("answer to " + text(each))), 3_000);
                    } catch (Exception e) {
                        e.printStackTrace();
                    }
                }
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
            check(first.await(40, TimeUnit.SECONDS), "the answerer consumes");
        }

        public void close() {
            consumer.shutdown();
            replies.shutdown();
        }
    }

    // ---- Steps of a story in which the broker changes ----------------------------------------------

    static void half(String topic) throws Exception {
        try (Teller teller = new Teller("ExchangeTellers")) {
            teller.send(topic, "committed", LocalTransactionState.COMMIT_MESSAGE);
            teller.send(topic, "rolled back", LocalTransactionState.ROLLBACK_MESSAGE);
            for (String body : new String[] {"open to commit", "open to roll back", "open too"}) teller.send(topic, body, LocalTransactionState.UNKNOW);
            Thread.sleep(4_000);
        }
    }

    /** Apache's broker writes the ends of transactions every 3 s and may ask, and deliver, once more before that. */
    static void finish(String topic, boolean once) throws Exception {
        try (Teller teller = new Teller("ExchangeTellers")) {
            teller.later.put("open to commit", LocalTransactionState.COMMIT_MESSAGE);
            teller.later.put("open to roll back", LocalTransactionState.ROLLBACK_MESSAGE);
            teller.later.put("open too", LocalTransactionState.COMMIT_MESSAGE);
            teller.send(topic, "after", LocalTransactionState.COMMIT_MESSAGE);
            try (Reader reader = new Reader(topic, "ExchangeReaders")) {
                reader.expect(60, "after", "committed", "open to commit", "open too");
                eventually(20, () -> teller.asked.contains("open to roll back"), "asked about the one to roll back");
                Thread.sleep(5_000);
                reader.expect(1, "after", "committed", "open to commit", "open too");
                if (once) equal(4, reader.arrived.size(), "arrived");
            }
        }
    }

    public static void main(String[] args) throws Exception {
        nameServer = args[0];
        if (args.length > 1 && (args[1].equals("half") || args[1].equals("finish"))) {
            try {
                if (args[1].equals("half")) half(args[2]);
                else finish(args[2], args[3].equals("once"));
                System.out.println("OK");
            } catch (Throwable e) {
                System.out.println(args[1] + ": " + e);
            }
            System.exit(0);
        }
        begin(args);
        cases();
        run(1);
    }
}
