import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.Locale;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;

/** As load.cc, with the published Java client. */
public class Load {
    static final int IN_FLIGHT = 256;
    static DefaultMQProducer producer;
    static String topic;
    static byte[] body;
    static final AtomicLong failed = new AtomicLong();

    static long oneByOne(long end) {
        long sent = 0;
        for (; System.nanoTime() < end; sent++) {
            try {
                producer.send(new Message(topic, body), 3000);
            } catch (Exception e) {
                failed.incrementAndGet();
            }
        }
        return sent;
    }

    static long eightThreads(long end) throws Exception {
        AtomicLong sent = new AtomicLong();
        Thread[] threads = new Thread[8];
        for (int i = 0; i < threads.length; i++) {
            threads[i] = new Thread(() -> sent.addAndGet(oneByOne(end)));
            threads[i].start();
        }
        for (Thread each : threads) each.join();
        return sent.get();
    }

    static long manyInFlight(long end) throws Exception {
        Semaphore room = new Semaphore(IN_FLIGHT);
        long sent = 0;
        SendCallback done = new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                room.release();
            }

            @Override
            public void onException(Throwable e) {
                failed.incrementAndGet();
                room.release();
            }
        };
        for (; System.nanoTime() < end; sent++) {
            room.acquire();
            producer.send(new Message(topic, body), done, 3000);
        }
        room.acquire(IN_FLIGHT);
        return sent;
    }

    static long run(String mode, double seconds) throws Exception {
        long end = System.nanoTime() + (long) (seconds * 1e9);
        return mode.equals("sync") ? oneByOne(end) : mode.equals("sync8") ? eightThreads(end) : manyInFlight(end);
    }

    public static void main(String[] args) throws Exception {
        producer = new DefaultMQProducer("load");
        producer.setNamesrvAddr(args[0]);
        producer.setCompressMsgBodyOverHowmuch(64 << 20);
        producer.start();
        topic = args[1];
        body = new byte[Integer.parseInt(args[2])];
        java.util.Arrays.fill(body, (byte) 'x');
        String mode = args[4];
        run(mode, args.length > 5 ? Double.parseDouble(args[5]) : 1);
        failed.set(0);
        OperatingSystemMXBean system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        long cpu = system.getProcessCpuTime();
        long began = System.nanoTime();
        long sent = run(mode, Double.parseDouble(args[3]));
        double took = (System.nanoTime() - began) / 1e9;
        System.out.println(String.format(Locale.ROOT, "{\"messages\": %d, \"failed\": %d, \"a_second\": %.0f, \"cpu_us\": %.3f}", sent, failed.get(), sent / took,
            (system.getProcessCpuTime() - cpu) / 1e3 / sent));
        producer.shutdown();
        System.exit(0);
    }
}
