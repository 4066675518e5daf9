import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;

import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.compression.CompressionType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Batches that stay whole in batch queues, and every way to compress a body: what the clients of version 5 alone have. */
@SuppressWarnings("deprecation")
public class Batches extends Words {
    static DefaultMQProducer PRODUCER;

    static String topic(Map<String, String> attributes) throws Exception {
        TopicConfig config = new TopicConfig(fresh("K"), 1, 1, 6);
        config.setAttributes(attributes);
        return create(config);
    }

    static List<Message> batch(String topic, String prefix, int count) {
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < count; i++) batch.add(new Message(topic, "A", prefix + i, bytes(prefix + i)));
        return batch;
    }

    /** Every message of the batches at its own offset, one after the other. */
    static void checkBatches(DefaultMQPullConsumer consumer, String topic, String... prefixes) throws Exception {
        List<MessageExt> got = all(consumer, queue(topic), 0);
        equal(10 * prefixes.length, got.size(), "messages");
        for (int i = 0; i < got.size(); i++) {
            equal((long) i, got.get(i).getQueueOffset(), "queue offset");
            equal(prefixes[i / 10] + i % 10, text(got.get(i)), "body at " + i);
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
            eventually(10, () -> consumer.maxOffset(queue(topic)) == 20, "both batches in the queue");
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
            DefaultMQPushConsumer consumer = consumer(fresh("G"), topic, "*"); // a batch has no tag of its own
            List<String> got = new CopyOnWriteArrayList<>();
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                for (MessageExt each : messages) got.add(text(each));
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
            eventually(30, () -> got.size() >= 50, "50 messages");
            consumer.shutdown();
            equal(50, new HashSet<>(got).size(), "different messages");
        });
        CASES.put("an attribute that cannot be is refused", () -> {
            try {
                topic(Map.of("+queue.type", "NoCQ"));
            } catch (Exception e) {
                check(e.getMessage().matches("(?s).*value is not in set: \\[(BatchCQ, SimpleCQ|SimpleCQ, BatchCQ)\\].*"), e.getMessage());
                return;
            }
            check(false, "queue.type=NoCQ was taken");
        });
        for (CompressionType type : CompressionType.values()) {
            CASES.put("a body compressed with " + type + " arrives whole", () -> {
                String topic = topic(1);
                DefaultMQProducer producer = producer();
                producer.setCompressMsgBodyOverHowmuch(1_000);
                producer.setCompressType(type);
                String body = "compress me ".repeat(5_000);
                producer.send(new Message(topic, bytes(body)));
                producer.shutdown();
                DefaultMQPullConsumer consumer = puller();
                Thread.sleep(500);
                List<MessageExt> got = all(consumer, queue(topic), 0);
                consumer.shutdown();
                equal(1, got.size(), "messages");
                equal(body, text(got.get(0)), "body");
                check(got.get(0).getStoreSize() < 5_000, "stored size " + got.get(0).getStoreSize());
            });
        }
    }

    public static void main(String[] arguments) throws Exception {
        begin(arguments);
        PRODUCER = producer();
        fill();
        run(1);
    }
}
