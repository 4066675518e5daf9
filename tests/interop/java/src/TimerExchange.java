import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;

import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * Timer messages in a story in which the broker is another one each time: write PREFIX COUNT SECONDS sends messages due in so many seconds, every tenth
 * of which is recalled; await once|again PREFIX:COUNT,... waits until all of them and no recalled one are there, none of them early and, with "once", none twice.
 * Ends with OK or with what is wrong.
 */
@SuppressWarnings("deprecation")
public class TimerExchange extends Words {
    static final String TOPIC = "TimerExchangeTopic";

    static void write(String prefix, int count, int seconds) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("TimerExchangeProducer");
        producer.setNamesrvAddr(nameServer);
        producer.setSendMsgTimeout(10_000);
        producer.start();
        DefaultMQAdminExt admin = new DefaultMQAdminExt(10_000);
        admin.setNamesrvAddr(nameServer);
        admin.start();
        MessageQueue queue = null;
        for (int i = 0; i < count; i++) {
            Message message = new Message(TOPIC, "A", (prefix + i).getBytes(StandardCharsets.UTF_8));
            message.setDelayTimeSec(seconds);
            SendResult sent = queue == null ? producer.send(message) : producer.send(message, queue);
            if (queue == null) {
                queue = sent.getMessageQueue();
                String address = admin.examineTopicRouteInfo(TOPIC).getBrokerDatas().get(0).selectBrokerAddr();
                Properties properties = new Properties();
                properties.setProperty("recallMessageEnable", "true");
                admin.updateBrokerConfig(address, properties);
            }
            if (i % 10 == 9) producer.recallMessage(TOPIC, sent.getRecallHandle());
        }
        producer.shutdown();
        admin.shutdown();
    }

    static List<MessageExt> there(DefaultMQPullConsumer consumer) throws Exception {
        List<MessageExt> all = new ArrayList<>();
        for (MessageQueue queue : consumer.fetchSubscribeMessageQueues(TOPIC)) {
            for (long offset = 0;;) {
                PullResult result = consumer.pull(queue, "*", offset, 32);
                if (result.getPullStatus() != PullStatus.FOUND) break;
                all.addAll(result.getMsgFoundList());
                offset = result.getNextBeginOffset();
            }
        }
        return all;
    }

    static void await(boolean once, String wanted) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer("TimerExchangeGroup");
        consumer.setNamesrvAddr(nameServer);
        consumer.start();
        long end = System.currentTimeMillis() + 60_000;
        String missing;
        do {
            Thread.sleep(500);
            Map<String, Integer> times = new HashMap<>();
            try {
                for (MessageExt each : there(consumer)) {
                    times.merge(new String(each.getBody(), StandardCharsets.UTF_8), 1, Integer::sum);
                    long due = each.getBornTimestamp() + Long.parseLong(each.getProperty("TIMER_DELAY_SEC")) * 1000;
                    check(each.getStoreTimestamp() >= due, "early: " + new String(each.getBody(), StandardCharsets.UTF_8));
                }
            } catch (org.apache.rocketmq.client.exception.MQClientException e) {
                // Not registered yet.
            }
            missing = null;
            for (String part : wanted.split(",")) {
                String prefix = part.substring(0, part.indexOf(':'));
                for (int i = 0; i < Integer.parseInt(part.substring(part.indexOf(':') + 1)); i++) {
                    int count = times.getOrDefault(prefix + i, 0);
                    if (i % 10 == 9) check(count == 0, prefix + i + " was recalled and is there");
                    else if (count == 0) missing = prefix + i;
                    if (once) check(count <= 1, prefix + i + " is there " + count + " times");
                }
            }
        } while (missing != null && System.currentTimeMillis() < end);
        check(missing == null, missing + " is not there");
        consumer.shutdown();
    }

    public static void main(String[] arguments) {
        nameServer = arguments[0];
        try {
            if (arguments[1].equals("write")) write(arguments[2], Integer.parseInt(arguments[3]), Integer.parseInt(arguments[4]));
            else await(arguments[2].equals("once"), arguments[3]);
            System.out.println("OK");
        } catch (Throwable e) {
            System.out.println(String.valueOf(e).replaceAll("\\s+", " "));
        }
        System.exit(0);
    }
}
