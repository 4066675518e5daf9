import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Locale;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** As latency.cc, with the published Java client. */
public class Latency {
    static final long WARM_UP = 3_000_000_000L;
    static final AtomicLong failed = new AtomicLong();
    static double[] us = new double[1 << 20];
    static int seen = 0;

    static synchronized void keep(double latency) {
        if (seen < us.length) us[seen++] = latency;
    }

    static synchronized double at(double part) {
        if (seen == 0) return 0;
        double[] sorted = Arrays.copyOf(us, seen);
        Arrays.sort(sorted);
        return sorted[(int) (part * (seen - 1))];
    }

    static synchronized int count() {
        return seen;
    }

    public static void main(String[] args) throws Exception {
        String topic = args[1];
        int bytes = Integer.parseInt(args[2]);
        double seconds = Double.parseDouble(args[3]);
        long period = 1_000_000_000L / Integer.parseInt(args[4]);
        DefaultMQProducer producer = new DefaultMQProducer("latency");
        producer.setNamesrvAddr(args[0]);
        producer.start();
        producer.send(new Message(topic, "0 ".getBytes(StandardCharsets.UTF_8)), 3000);
        long measuredFrom = System.nanoTime() + WARM_UP + 5_000_000_000L;
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("latency");
        consumer.setNamesrvAddr(args[0]);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            long now = System.nanoTime();
            for (MessageExt each : messages) {
                String text = new String(each.getBody(), StandardCharsets.UTF_8);
                long due = Long.parseLong(text.substring(0, text.indexOf(' ')));
                if (due >= measuredFrom) keep((now - due) / 1e3);
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        long end = measuredFrom + (long) (seconds * 1e9);
        long sent = 0;
        for (long due = System.nanoTime(); due < end; due += period) {
            while (System.nanoTime() < due) LockSupport.parkNanos(due - System.nanoTime());
            StringBuilder body = new StringBuilder(due + " ");
            while (body.length() < bytes) body.append('x');
            producer.send(new Message(topic, body.toString().getBytes(StandardCharsets.UTF_8)), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                }

                @Override
                public void onException(Throwable e) {
                    failed.incrementAndGet();
                }
            }, 3000);
            if (due >= measuredFrom) sent++;
        }
        for (int i = 0; i < 50 && count() < sent; i++) Thread.sleep(100);
        System.out.println(String.format(Locale.ROOT, "{\"messages\": %d, \"failed\": %d, \"p50_us\": %.0f, \"p99_us\": %.0f, \"p999_us\": %.0f}",
            count(), failed.get() + (sent - count()), at(0.5), at(0.99), at(0.999)));
        System.exit(0);
    }
}
