import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Writes to a broker and checks what is there, as steps of a story in which the broker is another one each time:
 * write PREFIX COUNT; commit GROUP OFFSET; check GROUP OFFSET PREFIX:COUNT,... Ends with OK or with what is wrong.
 */
@SuppressWarnings("deprecation")
public class Exchange extends Words {
    static final String TOPIC = "ExchangeTopic";

    static void write(String prefix, int count) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("ExchangeProducer");
        producer.setNamesrvAddr(nameServer);
        producer.setSendMsgTimeout(10_000);
        producer.setMqClientApiTimeout(10_000);
        producer.start();
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            Message message = new Message(TOPIC, i % 2 == 0 ? "A" : "B", prefix + i, (prefix + i + "x".repeat(i * 7 % 3000)).getBytes(StandardCharsets.UTF_8));
            if (i % 10 == 9) {
                batch.add(message);
                if (batch.size() < 5) continue;
                check(producer.send(batch).getSendStatus() == SendStatus.SEND_OK, "batch");
                batch.clear();
            } else {
                SendResult result = producer.send(message);
                check(result.getSendStatus() == SendStatus.SEND_OK, "send " + i + ": " + result.getSendStatus());
            }
        }
        if (!batch.isEmpty()) producer.send(batch);
        producer.shutdown();
    }

    static DefaultMQPullConsumer consumer(String group) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(group);
        consumer.setNamesrvAddr(nameServer);
        consumer.setMqClientApiTimeout(10_000);
        consumer.start();
        return consumer;
    }

    static Set<MessageQueue> queues(DefaultMQPullConsumer consumer) throws Exception {
        for (int i = 0; ; i++) {
            try {
                return consumer.fetchSubscribeMessageQueues(TOPIC);
            } catch (Exception e) {
                if (i == 50) throw e;
                Thread.sleep(200);
            }
        }
    }

    static void commit(String group, long offset) throws Exception {
        DefaultMQPullConsumer consumer = consumer(group);
        for (MessageQueue queue : queues(consumer)) {
            consumer.pull(queue, "*", 0, 1);
            consumer.updateConsumeOffset(queue, offset);
            consumer.getOffsetStore().persist(queue);
            for (int i = 0; consumer.fetchConsumeOffset(queue, true) != offset; i++) {
                check(i < 50, "offset " + offset + " of " + queue);
                Thread.sleep(100);
            }
        }
        consumer.shutdown();
    }

    static void checkAll(String group, long offset, String parts) throws Exception {
        DefaultMQPullConsumer consumer = consumer(group);
        List<String> keys = new ArrayList<>();
        for (MessageQueue queue : queues(consumer)) {
            long next = consumer.minOffset(queue), end = consumer.maxOffset(queue);
            check(next == 0, "first offset of " + queue + " is " + next);
            while (next < end) {
                PullResult result = consumer.pull(queue, "*", next, 32);
                check(result.getPullStatus() == PullStatus.FOUND, result.getPullStatus() + " at " + next + " of " + queue);
                for (MessageExt each : result.getMsgFoundList()) {
                    check(each.getQueueOffset() == next, "offset " + each.getQueueOffset() + " where " + next + " should be");
                    next++;
                    keys.add(each.getKeys());
                    check(new String(each.getBody(), StandardCharsets.UTF_8).startsWith(each.getKeys()), "body of " + each.getKeys());
                }
            }
            long kept = consumer.fetchConsumeOffset(queue, true);
            check(kept == offset, "the group's offset in " + queue + " is " + kept + ", not " + offset);
        }
        Set<String> wanted = new HashSet<>();
        for (String part : parts.split(",")) {
            String[] words = part.split(":");
            int count = Integer.parseInt(words[1]);
            for (int i = 0; i < count; i++) wanted.add(words[0] + i);
            for (int i : new int[] {0, count / 2, count - 1}) found(consumer, words[0] + i);
        }
        check(keys.size() == wanted.size() && new HashSet<>(keys).equals(wanted), keys.size() + " messages, " + wanted.size() + " were sent");
        consumer.shutdown();
    }

    static void found(DefaultMQPullConsumer consumer, String key) throws Exception {
        for (int i = 0; ; i++) {
            try {
                QueryResult result = consumer.queryMessage(TOPIC, key, 8, 0, System.currentTimeMillis() + 60_000);
                check(result.getMessageList().size() == 1 && result.getMessageList().get(0).getKeys().equals(key), "by key " + key);
                return;
            } catch (Exception e) {
                check(i < 20, "by key " + key + ": " + e.getMessage());
                Thread.sleep(200);
            }
        }
    }

    public static void main(String[] args) throws Exception {
        nameServer = args[0];
        try {
            switch (args[1]) {
                case "write":
                    write(args[2], Integer.parseInt(args[3]));
                    break;
                case "commit":
                    commit(args[2], Long.parseLong(args[3]));
                    break;
                default:
                    checkAll(args[2], Long.parseLong(args[3]), args[4]);
            }
            System.out.println("OK");
        } catch (Throwable e) {
            System.out.println(args[1] + ": " + e);
        }
        System.exit(0);
    }
}
