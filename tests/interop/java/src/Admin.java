import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;

import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * Runs commands of mqadmin one after the other in one JVM: a line of standard input is a command, its words separated by
 * tabs. Its output follows, and then a line "END". Commands that begin with @ are of this program: clients for mqadmin to look at.
 */
public class Admin {
    private static final List<DefaultMQPushConsumer> CONSUMERS = new ArrayList<>();
    private static final List<DefaultMQProducer> PRODUCERS = new ArrayList<>();
    private static final AtomicInteger CONSUMED = new AtomicInteger();

    public static void main(String[] args) throws Exception {
        PrintStream real = System.out;
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            PrintStream captured = new PrintStream(bytes, true, "UTF-8");
            System.setOut(captured);
            System.setErr(captured);
            String[] words = line.split("\t");
            try {
                if (words[0].equals("@limited")) {
                    limited(Integer.parseInt(words[1]), java.util.Arrays.copyOfRange(words, 2, words.length));
                } else if (words[0].startsWith("@")) {
                    own(words);
                } else {
                    MQAdminStartup.main0(words, null);
                }
            } catch (Exception e) {
                e.printStackTrace();
            }
            System.setOut(real);
            real.println(new String(bytes.toByteArray(), StandardCharsets.UTF_8));
            real.println("END");
            real.flush();
        }
        System.exit(0);
    }

    /** @limited SECONDS COMMAND: for commands that never end by themselves; interrupted after that time. */
    private static void limited(int seconds, String[] words) throws InterruptedException {
        Thread thread = new Thread(() -> MQAdminStartup.main0(words, null));
        thread.start();
        thread.join(seconds * 1000L);
        while (thread.isAlive()) {
            thread.interrupt();
            thread.join(200);
        }
    }

    /**
     * @join GROUP TOPIC; @produce GROUP TOPIC COUNT; @traced GROUP TOPIC: one message with a trace; @consumed COUNT waits until so many
     * were consumed and no more come, and stores the offsets; @leave. Each prints how many messages were consumed or sent.
     */
    private static void own(String[] words) throws Exception {
        String nameServer = words[words.length - 1];
        if (words[0].equals("@join")) {
            DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(words[1]);
            consumer.setNamesrvAddr(nameServer);
            consumer.setInstanceName("looked-at");
            consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
            consumer.subscribe(words[2], "*");
            consumer.setMessageListener((MessageListenerConcurrently) (messages, context) -> {
                CONSUMED.addAndGet(messages.size());
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
            CONSUMERS.add(consumer);
        } else if (words[0].equals("@produce")) {
            DefaultMQProducer producer = new DefaultMQProducer(words[1]);
            producer.setNamesrvAddr(nameServer);
            producer.setInstanceName("looked-at-too");
            producer.start();
            PRODUCERS.add(producer);
            int count = Integer.parseInt(words[3]);
            for (int i = 0; i < count; i++) {
                producer.send(new Message(words[2], "TagA", ("message " + i).getBytes(StandardCharsets.UTF_8)));
            }
            System.out.println("sent " + count);
        } else if (words[0].equals("@traced")) {
            DefaultMQProducer producer = new DefaultMQProducer(words[1], null, true, null);
            producer.setNamesrvAddr(nameServer);
            producer.setInstanceName("traced");
            producer.start();
            SendResult sent = producer.send(new Message(words[2], "TagA", "tracedkey", "traced".getBytes(StandardCharsets.UTF_8)));
            producer.shutdown(); // sends what the trace has gathered
            System.out.println("id " + sent.getMsgId());
        } else if (words[0].equals("@consumed")) {
            int wanted = Integer.parseInt(words[1]);
            for (int i = 0; i < 300 && CONSUMED.get() < wanted; i++) {
                Thread.sleep(100);
            }
            for (int before = -1; before != CONSUMED.get(); Thread.sleep(500)) before = CONSUMED.get();
            for (DefaultMQPushConsumer each : CONSUMERS) each.getDefaultMQPushConsumerImpl().persistConsumerOffset();
            System.out.println("consumed " + CONSUMED.get());
        } else if (words[0].equals("@leave")) {
            CONSUMERS.forEach(DefaultMQPushConsumer::shutdown);
            PRODUCERS.forEach(DefaultMQProducer::shutdown);
            CONSUMERS.clear();
            PRODUCERS.clear();
        }
    }
}
