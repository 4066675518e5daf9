import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** As tests/interop/cpp/peer.cc, with the published Java client: the other member of its group. */
public class Peer {
    static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    static String text(Message message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    static void got(List<MessageExt> batch) {
        for (MessageExt each : batch) say("GOT\t" + each.getQueueId() + "\t" + text(each));
    }

    public static void main(String[] args) throws Exception {
        String names = args[0], mode = args[1], group = args[2], topic = args[3];
        DefaultMQProducer producer = null;
        if (mode.equals("answer") || mode.equals("ask")) {
            producer = new DefaultMQProducer(mode.equals("ask") ? group : group + "-replies");
            producer.setNamesrvAddr(names);
            producer.start();
        }
        TransactionMQProducer transactional = null;
        if (mode.equals("transact")) {
            transactional = new TransactionMQProducer(group);
            transactional.setNamesrvAddr(names);
            transactional.setTransactionListener(new TransactionListener() {
                @Override
                public LocalTransactionState executeLocalTransaction(Message message, Object arg) {
                    return LocalTransactionState.UNKNOW;
                }

                @Override
                public LocalTransactionState checkLocalTransaction(MessageExt message) {
                    say("CHECKED\t" + text(message));
                    return LocalTransactionState.COMMIT_MESSAGE;
                }
            });
            transactional.start();
        }
        if (mode.equals("consume") || mode.equals("orderly") || mode.equals("answer")) {
            DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
            consumer.setNamesrvAddr(names);
            consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
            consumer.subscribe(topic, "*");
            final DefaultMQProducer replies = producer;
            if (mode.equals("orderly"))
                consumer.registerMessageListener((MessageListenerOrderly) (batch, context) -> {
                    got(batch);
                    return ConsumeOrderlyStatus.SUCCESS;
                });
            else
                consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
                    if (replies == null) got(batch);
                    else
                        for (MessageExt each : batch) {
                            try {
                                replies.send(MessageUtil.createReplyMessage(each, ("re " + text(each) + " from java").getBytes(StandardCharsets.UTF_8)), 3000);
                            } catch (Exception e) {
                                e.printStackTrace();
                            }
                        }
                    return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                });
            consumer.start();
        }
        say("READY");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            Message message = new Message(topic, line.getBytes(StandardCharsets.UTF_8));
            if (mode.equals("ask")) {
                try {
                    say("ANSWER\t" + text(producer.request(message, 30000)));
                } catch (Exception e) {
                    say("ERROR\t" + e.getMessage());
                }
            } else if (mode.equals("transact")) {
                transactional.sendMessageInTransaction(message, null);
                say("SENT\t" + line);
            }
        }
        System.exit(0);
    }
}
