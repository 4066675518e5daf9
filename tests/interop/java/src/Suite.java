import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** What a RocketMQ application does, against whatever name server it is given. */
public class Suite extends Words {
    // ---- Words of the suite ----------------------------------------------------------------------

    /** The enum moved between packages from 4.9 to 5. */
    @SuppressWarnings({"unchecked", "rawtypes"})
    static void broadcast(DefaultMQPushConsumer consumer) throws RuntimeException {
        for (var method : DefaultMQPushConsumer.class.getMethods()) {
            if (!method.getName().equals("setMessageModel")) continue;
            try {
                method.invoke(consumer, Enum.valueOf((Class<Enum>) method.getParameterTypes()[0], "BROADCASTING"));
            } catch (ReflectiveOperationException e) {
                throw new RuntimeException(e);
            }
        }
    }

    /** 4.9 wants the cluster behind the topic, 5 has a form without it. */
    static void deleteInNameServer(String topic) throws Exception {
        Set<String> servers = Collections.singleton(nameServer);
        try {
            DefaultMQAdminExt.class.getMethod("deleteTopicInNameServer", Set.class, String.class).invoke(ADMIN, servers, topic);
        } catch (NoSuchMethodException e) {
            DefaultMQAdminExt.class.getMethod("deleteTopicInNameServer", Set.class, String.class, String.class).invoke(ADMIN, servers, topic, cluster);
        }
    }

    static Message message(String topic, String body) {
        return new Message(topic, bytes(body));
    }

    /** Consumes until `count` bodies have come, and gives them back sorted. */
    static List<String> receive(String topic, String expression, int count) throws Exception {
        List<String> bodies = new CopyOnWriteArrayList<>();
        DefaultMQPushConsumer consumer = consumer(fresh("G"), topic, expression);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt each : messages) bodies.add(text(each));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        try {
            eventually(40, () -> bodies.size() >= count, count + " messages of " + topic + ", " + bodies.size() + " came");
        } finally {
            consumer.shutdown();
        }
        List<String> sorted = new ArrayList<>(bodies);
        Collections.sort(sorted);
        return sorted;
    }

    static List<String> numbered(String prefix, int count) {
        List<String> all = new ArrayList<>();
        for (int i = 0; i < count; i++) all.add(String.format("%s%04d", prefix, i));
        return all;
    }

    // ---- Sending ---------------------------------------------------------------------------------

    static void sending() {
        CASES.put("sync sends arrive once each", () -> {
            String topic = topic(4);
            DefaultMQProducer producer = producer();
            Set<String> offsetIds = new HashSet<>();
            for (String body : numbered("s", 50)) {
                SendResult result = producer.send(message(topic, body));
                equal(SendStatus.SEND_OK, result.getSendStatus(), "status");
                check(result.getQueueOffset() >= 0 && result.getMsgId() != null, "ids of " + result);
                offsetIds.add(result.getOffsetMsgId());
            }
            equal(50, offsetIds.size(), "different offset ids");
            equal(numbered("s", 50), receive(topic, "*", 50), "bodies");
            producer.shutdown();
        });
        CASES.put("async sends call back and arrive", () -> {
            String topic = topic(4);
            DefaultMQProducer producer = producer();
            CountDownLatch done = new CountDownLatch(200);
            AtomicInteger good = new AtomicInteger();
            for (String body : numbered("a", 200)) {
                producer.send(message(topic, body), new SendCallback() {
                    public void onSuccess(SendResult result) {
                        good.incrementAndGet();
                        done.countDown();
                    }

                    public void onException(Throwable e) {
                        done.countDown();
                    }
                });
            }
            check(done.await(20, TimeUnit.SECONDS), "all called back");
            equal(200, good.get(), "good sends");
            equal(numbered("a", 200), receive(topic, "*", 200), "bodies");
            producer.shutdown();
        });
        CASES.put("oneway sends arrive", () -> {
            String topic = topic(4);
            DefaultMQProducer producer = producer();
            for (String body : numbered("o", 20)) producer.sendOneway(message(topic, body));
            equal(numbered("o", 20), receive(topic, "*", 20), "bodies");
            producer.shutdown();
        });
        CASES.put("a batch arrives as its messages", () -> {
            String topic = topic(1);
            DefaultMQProducer producer = producer();
            List<Message> batch = new ArrayList<>();
            for (String body : numbered("b", 30)) batch.add(new Message(topic, "tag", "key" + body, bytes(body)));
            SendResult result = producer.send(batch);
            equal(SendStatus.SEND_OK, result.getSendStatus(), "status");
            equal(30, result.getOffsetMsgId().split(",").length, "offset ids");
            equal(numbered("b", 30), receive(topic, "tag", 30), "bodies");
            producer.shutdown();
        });
        CASES.put("a send makes its topic", () -> {
            String topic = fresh("AUTO");
            DefaultMQProducer producer = producer();
            equal(SendStatus.SEND_OK, producer.send(message(topic, "first")).getSendStatus(), "status");
            eventually(10, () -> hasRoute(topic), "route");
            equal(Arrays.asList("first"), receive(topic, "*", 1), "bodies");
            producer.shutdown();
        });
        CASES.put("properties, keys, tags and flags come back as sent", () -> {
            String topic = topic(1);
            DefaultMQProducer producer = producer();
            Message sent = new Message(topic, "tägs", "key1 key2", 17, bytes("body"), true);
            sent.putUserProperty("color", "grün");
            sent.putUserProperty("quote", "\"a\\b\"\n");
            producer.send(sent);
            List<MessageExt> got = new CopyOnWriteArrayList<>();
            DefaultMQPushConsumer consumer = consumer(fresh("G"), topic, "tägs");
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                got.addAll(messages);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
            eventually(20, () -> got.size() == 1, "the message");
            MessageExt message = got.get(0);
            equal("grün", message.getUserProperty("color"), "property");
            equal("\"a\\b\"\n", message.getUserProperty("quote"), "property with quotes");
            equal("tägs", message.getTags(), "tags");
            equal("key1 key2", message.getKeys(), "keys");
            equal(17, message.getFlag(), "flag");
            equal("DefaultRegion", message.getProperty("MSG_REGION"), "region");
            consumer.shutdown();
            producer.shutdown();
        });
        CASES.put("large bodies are compressed and come back whole", () -> {
            String topic = topic(1);
            DefaultMQProducer producer = producer();
            StringBuilder large = new StringBuilder();
            for (int i = 0; i < 300_000; i++) large.append(i % 10_007).append(' ');
            producer.send(message(topic, large.toString()));
            equal(Arrays.asList(large.toString()), receive(topic, "*", 1), "body");
            producer.shutdown();
        });
        CASES.put("an oversized body is refused as illegal", () -> {
            String topic = topic(1);
            DefaultMQProducer producer = producer();
            producer.setMaxMessageSize(8 << 20);
            producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
            try {
                producer.send(new Message(topic, new byte[5 << 20]));
                throw new AssertionError("the send succeeded");
            } catch (MQBrokerException e) {
                equal(13, e.getResponseCode(), "code");
            }
            producer.shutdown();
        });
        CASES.put("a queue that does not exist is refused", () -> {
            String topic = topic(2);
            DefaultMQProducer producer = producer();
            String broker = producer.fetchPublishMessageQueues(topic).get(0).getBrokerName();
            try {
                producer.send(message(topic, "x"), new MessageQueue(topic, broker, 99));
                throw new AssertionError("the send succeeded");
            } catch (MQBrokerException e) {
                equal(29, e.getResponseCode(), "code");
            }
            producer.shutdown();
        });
        CASES.put("sends to a built-in topic are refused", () -> {
            DefaultMQProducer producer = producer();
            String broker = ADMIN.examineBrokerClusterInfo().getBrokerAddrTable().keySet().iterator().next();
            try {
                producer.send(message("SCHEDULE_TOPIC_XXXX", "x"), new MessageQueue("SCHEDULE_TOPIC_XXXX", broker, 0));
                throw new AssertionError("the send succeeded");
            } catch (MQBrokerException e) {
                equal(16, e.getResponseCode(), "code");
            } catch (MQClientException e) {
                check(e.getErrorMessage().contains("forbidden"), e.toString()); // the client refuses it itself
            }
            producer.shutdown();
        });
    }

    // ---- Consuming -------------------------------------------------------------------------------

    static void consuming() {
        CASES.put("tags choose what a consumer gets", () -> {
            String topic = topic(2);
            DefaultMQProducer producer = producer();
            for (int i = 0; i < 30; i++) producer.send(new Message(topic, "ABC".substring(i % 3, i % 3 + 1), bytes(String.format("%s%02d", "ABC".charAt(i % 3), i))));
            List<String> got = receive(topic, "A || C", 20);
            equal(20, got.size(), "messages");
            for (String body : got) check(!body.startsWith("B"), "tag B came through");
            producer.shutdown();
        });
        CASES.put("one key keeps its order through an orderly consumer", () -> {
            String topic = topic(4);
            DefaultMQProducer producer = producer();
            for (int i = 0; i < 100; i++) {
                int order = i % 5;
                producer.send(message(topic, order + ":" + i / 5), (queues, m, key) -> queues.get((Integer) key % queues.size()), order);
            }
            Map<String, List<Integer>> seen = new ConcurrentHashMap<>();
            AtomicInteger count = new AtomicInteger();
            DefaultMQPushConsumer consumer = consumer(fresh("G"), topic, "*");
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                for (MessageExt each : messages) {
                    String[] parts = text(each).split(":");
                    seen.computeIfAbsent(parts[0], k -> Collections.synchronizedList(new ArrayList<>())).add(Integer.parseInt(parts[1]));
                    count.incrementAndGet();
                }
                return ConsumeOrderlyStatus.SUCCESS;
            });
            consumer.start();
            eventually(40, () -> count.get() >= 100, "100 messages, " + count + " came");
            consumer.shutdown();
            for (Map.Entry<String, List<Integer>> entry : seen.entrySet()) {
                for (int i = 0; i < 20; i++) equal(i, entry.getValue().get(i), "position " + i + " of order " + entry.getKey());
            }
            producer.shutdown();
        });
        CASES.put("a broadcast reaches every consumer", () -> {
            String topic = topic(4);
            String group = fresh("G");
            List<Set<String>> seen = new ArrayList<>();
            List<DefaultMQPushConsumer> consumers = new ArrayList<>();
            for (int i = 0; i < 2; i++) {
                Set<String> mine = ConcurrentHashMap.newKeySet();
                seen.add(mine);
                DefaultMQPushConsumer consumer = consumer(group, topic, "*");
                broadcast(consumer);
                consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                    for (MessageExt each : messages) mine.add(text(each));
                    return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                });
                consumer.start();
                consumers.add(consumer);
            }
            DefaultMQProducer producer = producer();
            for (String body : numbered("x", 20)) producer.send(message(topic, body));
            eventually(40, () -> seen.get(0).size() == 20 && seen.get(1).size() == 20, "20 each, " + seen.get(0).size() + " and " + seen.get(1).size() + " came");
            for (DefaultMQPushConsumer each : consumers) each.shutdown();
            producer.shutdown();
        });
        CASES.put("two consumers share a group and one takes over when the other leaves", () -> {
            String topic = topic(4);
            String group = fresh("G");
            DefaultMQProducer producer = producer();
            Map<String, AtomicInteger> times = new ConcurrentHashMap<>();
            List<AtomicInteger> each = Arrays.asList(new AtomicInteger(), new AtomicInteger());
            List<DefaultMQPushConsumer> consumers = new ArrayList<>();
            for (int i = 0; i < 2; i++) {
                AtomicInteger mine = each.get(i);
                DefaultMQPushConsumer consumer = consumer(group, topic, "*");
                consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                    for (MessageExt m : messages) {
                        times.computeIfAbsent(text(m), k -> new AtomicInteger()).incrementAndGet();
                        mine.incrementAndGet();
                    }
                    return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                });
                consumer.start();
                consumers.add(consumer);
            }
            // Balanced once each gets a share of what is sent to all queues.
            AtomicInteger sent = new AtomicInteger();
            eventually(60, () -> {
                int before0 = each.get(0).get(), before1 = each.get(1).get();
                try {
                    for (int i = 0; i < 8; i++) producer.send(message(topic, String.format("r%05d", sent.getAndIncrement())));
                    Thread.sleep(300);
                } catch (Exception e) {
                    return false;
                }
                return each.get(0).get() > before0 && each.get(1).get() > before1;
            }, "both get messages");
            consumers.get(0).shutdown();
            for (int i = 0; i < 40; i++) producer.send(message(topic, String.format("r%05d", sent.getAndIncrement())));
            eventually(40, () -> times.size() == sent.get(), "all " + sent + " consumed, " + times.size() + " were");
            consumers.get(1).shutdown();
            producer.shutdown();
        });
        CASES.put("a failing message comes again and ends with the dead letters", () -> {
            String topic = topic(1);
            String group = fresh("G");
            DefaultMQProducer producer = producer();
            producer.send(new Message(topic, "tag", "k", bytes("poison")));
            Map<Integer, String> attempts = new ConcurrentHashMap<>();
            DefaultMQPushConsumer consumer = consumer(group, topic, "*");
            consumer.setMaxReconsumeTimes(2);
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                for (MessageExt each : messages) attempts.put(each.getReconsumeTimes(), each.getTopic());
                context.setDelayLevelWhenNextConsume(1);
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            });
            consumer.start();
            eventually(60, () -> attempts.size() == 3, "three attempts: " + attempts);
            equal(new TreeMap<>(Map.of(0, topic, 1, topic, 2, topic)), new TreeMap<>(attempts), "attempts under the first topic's name");
            String dead = "%DLQ%" + group;
            eventually(20, () -> hasRoute(dead), "dead-letter topic");
            consumer.shutdown();
            DefaultMQPushConsumer reader = consumer(fresh("G"), dead, "*");
            List<MessageExt> letters = new CopyOnWriteArrayList<>();
            reader.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                letters.addAll(messages);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            reader.start();
            eventually(30, () -> letters.size() == 1, "the dead letter");
            equal("poison", text(letters.get(0)), "body");
            equal(topic, letters.get(0).getProperty("RETRY_TOPIC"), "RETRY_TOPIC");
            equal(3, letters.get(0).getReconsumeTimes(), "reconsume times");
            reader.shutdown();
            producer.shutdown();
        });
        CASES.put("an orderly consumer tries again in place", () -> {
            String topic = topic(1);
            DefaultMQProducer producer = producer();
            for (String body : numbered("q", 5)) producer.send(message(topic, body));
            List<String> seen = new CopyOnWriteArrayList<>();
            DefaultMQPushConsumer consumer = consumer(fresh("G"), topic, "*");
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                for (MessageExt each : messages) {
                    seen.add(text(each));
                    if (text(each).equals("q0002") && Collections.frequency(seen, "q0002") < 3) {
                        context.setSuspendCurrentQueueTimeMillis(100);
                        return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
                    }
                }
                return ConsumeOrderlyStatus.SUCCESS;
            });
            consumer.start();
            eventually(40, () -> seen.contains("q0004"), "the last message: " + seen);
            equal(Arrays.asList("q0000", "q0001", "q0002", "q0002", "q0002", "q0003", "q0004"), new ArrayList<>(seen), "order");
            consumer.shutdown();
            producer.shutdown();
        });
        CASES.put("offsets are kept when a consumer comes back", () -> {
            String topic = topic(2);
            String group = fresh("G");
            DefaultMQProducer producer = producer();
            for (int round = 0; round < 2; round++) {
                List<String> wanted = numbered("round" + round + "-", 10);
                for (String body : wanted) producer.send(message(topic, body));
                List<String> got = new CopyOnWriteArrayList<>();
                DefaultMQPushConsumer consumer = consumer(group, topic, "*");
                consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                    for (MessageExt each : messages) got.add(text(each));
                    return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                });
                consumer.start();
                eventually(40, () -> got.size() >= 10, "10 messages, " + got.size() + " came");
                Thread.sleep(300);
                consumer.shutdown();
                List<String> sorted = new ArrayList<>(got);
                Collections.sort(sorted);
                equal(wanted, sorted, "round " + round);
            }
            producer.shutdown();
        });
        // The broker has it begin at 0 as long as the queue's first message is there and in memory; only then the client's wish counts.
        CASES.put("a consumer that starts from last still gets a young queue whole", () -> {
            String topic = topic(4), group = fresh("FromLastGroup");
            DefaultMQProducer producer = producer();
            for (int i = 0; i < 4; i++) producer.send(message(topic, "before " + i));
            List<String> got = new CopyOnWriteArrayList<>();
            DefaultMQPushConsumer consumer = consumer(group, topic, "*");
            consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                for (MessageExt each : messages) got.add(text(each));
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
            eventually(30, () -> got.size() == 4, "the 4 messages from before, " + got.size() + " came");
            for (int i = 0; i < 4; i++) producer.send(message(topic, "after " + i));
            eventually(30, () -> got.size() == 8, "the 4 messages from after, " + got.size() + " came");
            consumer.shutdown();
            producer.shutdown();
        });
        CASES.put("a consumer starts from a time stamp", () -> {
            String topic = topic(1);
            DefaultMQProducer producer = producer();
            for (String body : numbered("old", 5)) producer.send(message(topic, body));
            Thread.sleep(2_100); // the client's time stamp counts seconds
            long middle = System.currentTimeMillis() - 500;
            for (String body : numbered("new", 5)) producer.send(message(topic, body));
            MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(0);
            equal(5L, producer.searchOffset(queue, middle), "offset of the time");
            equal(0L, producer.minOffset(queue), "min offset");
            equal(10L, producer.maxOffset(queue), "max offset");
            equal(10L, producer.searchOffset(queue, System.currentTimeMillis() + 100_000), "offset of a time to come");
            producer.shutdown();
        });
    }

    // ---- Pulling ---------------------------------------------------------------------------------

    @SuppressWarnings("deprecation")
    static void pulling() {
        CASES.put("a pull consumer reads a queue from its beginning", () -> {
            String topic = topic(1);
            DefaultMQProducer producer = producer();
            for (String body : numbered("p", 50)) producer.send(message(topic, body));
            DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(fresh("G"));
            consumer.setNamesrvAddr(nameServer);
            consumer.setInstanceName(fresh("i"));
            consumer.start();
            List<String> got = new ArrayList<>();
            MessageQueue queue = consumer.fetchSubscribeMessageQueues(topic).iterator().next();
            long offset = 0;
            for (int i = 0; i < 100 && got.size() < 50; i++) {
                var result = consumer.pull(queue, "*", offset, 16);
                offset = result.getNextBeginOffset();
                if (result.getPullStatus() == PullStatus.FOUND) for (MessageExt each : result.getMsgFoundList()) got.add(text(each));
            }
            equal(numbered("p", 50), got, "bodies in order");
            equal(PullStatus.NO_NEW_MSG, consumer.pull(queue, "*", 50, 16).getPullStatus(), "at the end");
            equal(PullStatus.OFFSET_ILLEGAL, consumer.pull(queue, "*", 500, 16).getPullStatus(), "behind the end");
            consumer.updateConsumeOffset(queue, 33);
            consumer.getOffsetStore().persist(queue);
            // The client sends the update from another thread than the question.
            eventually(10, () -> consumer.fetchConsumeOffset(queue, true) == 33, "offset 33 kept by the broker");
            consumer.shutdown();
            producer.shutdown();
        });
        CASES.put("a held pull is answered when a message comes", () -> {
            String topic = topic(1);
            DefaultMQProducer producer = producer();
            producer.send(message(topic, "before"));
            DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(fresh("G"));
            consumer.setNamesrvAddr(nameServer);
            consumer.setInstanceName(fresh("i"));
            consumer.start();
            MessageQueue queue = consumer.fetchSubscribeMessageQueues(topic).iterator().next();
            CountDownLatch sent = new CountDownLatch(1);
            Thread sender = new Thread(() -> {
                try {
                    Thread.sleep(400);
                    producer.send(message(topic, "after"));
                    sent.countDown();
                } catch (Exception e) {
                    // the latch says it
                }
            });
            sender.start();
            long began = System.nanoTime();
            var result = consumer.pullBlockIfNotFound(queue, "*", 1, 16);
            long ms = (System.nanoTime() - began) / 1_000_000;
            equal(PullStatus.FOUND, result.getPullStatus(), "status");
            equal("after", text(result.getMsgFoundList().get(0)), "body");
            check(ms < 5_000, "answered after " + ms + " ms");
            check(sent.await(5, TimeUnit.SECONDS), "sent");
            consumer.shutdown();
            producer.shutdown();
        });
        CASES.put("a lite pull consumer subscribes, seeks and commits", () -> {
            String topic = topic(2);
            DefaultMQProducer producer = producer();
            for (String body : numbered("l", 40)) producer.send(message(topic, body));
            DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(fresh("G"));
            consumer.setNamesrvAddr(nameServer);
            consumer.setInstanceName(fresh("i"));
            consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
            consumer.subscribe(topic, "*");
            consumer.start();
            Set<String> got = new HashSet<>();
            long end = System.nanoTime() + 40_000_000_000L;
            while (got.size() < 40 && System.nanoTime() < end) for (MessageExt each : consumer.poll(500)) got.add(text(each));
            equal(40, got.size(), "messages");
            consumer.shutdown();

            DefaultLitePullConsumer assigned = new DefaultLitePullConsumer(fresh("G"));
            assigned.setNamesrvAddr(nameServer);
            assigned.setInstanceName(fresh("i"));
            assigned.setAutoCommit(false);
            assigned.start();
            MessageQueue queue = assigned.fetchMessageQueues(topic).iterator().next();
            assigned.assign(Arrays.asList(queue));
            assigned.seek(queue, 3);
            MessageExt first = null;
            end = System.nanoTime() + 20_000_000_000L;
            while (first == null && System.nanoTime() < end) for (MessageExt each : assigned.poll(500)) if (first == null) first = each;
            check(first != null, "a message after seek");
            equal(3L, first.getQueueOffset(), "offset after seek");
            assigned.shutdown();
            producer.shutdown();
        });
    }

    // ---- Queries and administration -----------------------------------------------------------------

    static void queries() {
        CASES.put("messages are found by key, unique key and id", () -> {
            String topic = topic(2);
            DefaultMQProducer producer = producer();
            SendResult sent = producer.send(new Message(topic, "tag", "order-17 other", bytes("found")));
            eventually(20, () -> producer.queryMessage(topic, "order-17", 8, 0, System.currentTimeMillis() + 60_000).getMessageList().size() == 1, "by key");
            equal("found", text(ADMIN.viewMessage(topic, sent.getOffsetMsgId())), "by offset id");
            equal("found", text(producer.viewMessage(topic, sent.getMsgId())), "by unique key");
            producer.shutdown();
        });
        CASES.put("an admin creates, changes, lists and deletes topics", () -> {
            String topic = topic(3);
            equal(3, ADMIN.examineTopicRouteInfo(topic).getQueueDatas().get(0).getReadQueueNums(), "queues");
            ADMIN.createAndUpdateTopicConfig(brokerAddress, new TopicConfig(topic, 5, 5, 6));
            eventually(10, () -> ADMIN.examineTopicRouteInfo(topic).getQueueDatas().get(0).getWriteQueueNums() == 5, "five queues in the route");
            check(ADMIN.fetchAllTopicList().getTopicList().contains(topic), "in the list of topics");
            check(ADMIN.examineTopicStats(topic).getOffsetTable().size() == 5, "statistics of five queues");
            ADMIN.deleteTopicInBroker(Collections.singleton(brokerAddress), topic);
            deleteInNameServer(topic);
            eventually(10, () -> !hasRoute(topic), "no route any more");
        });
        CASES.put("cluster, runtime and configuration can be looked at", () -> {
            var info = ADMIN.examineBrokerClusterInfo();
            check(info.getClusterAddrTable().containsKey(cluster), "cluster in " + info.getClusterAddrTable());
            var table = ADMIN.fetchBrokerRuntimeStats(brokerAddress).getTable();
            for (String key : Arrays.asList("brokerVersionDesc", "bootTimestamp", "putTps", "getTotalTps", "msgPutTotalTodayNow", "commitLogMaxOffset", "runtime", "commitLogDirCapacity")) {
                check(table.containsKey(key), "runtime info has " + key);
            }
            check(ADMIN.getBrokerConfig(brokerAddress).containsKey("brokerName"), "configuration has brokerName");
        });
        CASES.put("progress, connections and running info of a live consumer", () -> {
            String topic = topic(2);
            String group = fresh("G");
            DefaultMQProducer producer = producer();
            AtomicInteger got = new AtomicInteger();
            DefaultMQPushConsumer consumer = consumer(group, topic, "*");
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                got.addAndGet(messages.size());
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
            SendResult last = null;
            for (String body : numbered("c", 10)) last = producer.send(message(topic, body));
            eventually(60, () -> got.get() == 10, "10 messages");
            consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
            eventually(20, () -> ADMIN.examineConsumeStats(group, topic).computeTotalDiff() == 0, "no lag");
            var connections = ADMIN.examineConsumerConnectionInfo(group);
            equal(1, connections.getConnectionSet().size(), "connections");
            String clientId = connections.getConnectionSet().iterator().next().getClientId();
            check(ADMIN.getConsumerRunningInfo(group, clientId, false).getMqTable().size() >= 2, "running info names the queues");
            var directly = ADMIN.consumeMessageDirectly(group, clientId, topic, last.getMsgId());
            equal("CR_SUCCESS", directly.getConsumeResult().name(), "consumed directly");
            check(ADMIN.queryTopicConsumeByWho(topic).getGroupList().contains(group), "who consumes");
            consumer.shutdown();
            producer.shutdown();
        });
        CASES.put("offsets are reset by time", () -> {
            String topic = topic(1);
            String group = fresh("G");
            DefaultMQProducer producer = producer();
            for (String body : numbered("z", 6)) producer.send(message(topic, body));
            List<String> got = new CopyOnWriteArrayList<>();
            DefaultMQPushConsumer consumer = consumer(group, topic, "*");
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                for (MessageExt each : messages) got.add(text(each));
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
            eventually(30, () -> got.size() == 6, "6 messages");
            consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
            ADMIN.resetOffsetByTimestamp(topic, group, 0, true);
            eventually(60, () -> got.size() == 12, "the same 6 again, " + got.size() + " came");
            consumer.shutdown();
            producer.shutdown();
        });
    }

    // ---- Running -------------------------------------------------------------------------------------

    public static void main(String[] args) throws Exception {
        begin(args);
        sending();
        consuming();
        pulling();
        queries();
        run(6);
    }
}
