import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.stream.Collectors;

import org.apache.rocketmq.client.consumer.AllocateMessageQueueStrategy;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMachineRoomNearby;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragelyByCircle;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueByMachineRoom;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueConsistentHash;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * How the published Java client divides queues: one line for each strategy, number of clients and client, with a tab before the queues that client gets.
 * tests/golden/record runs it.
 */
public class Allocation {
    static final String[] BROKERS = {"room1@a", "room1@b", "room2@c", "room3@d@x", "plain", "\uE000b", "\uD83D\uDE00b"};

    static List<MessageQueue> queues(int each) {
        List<MessageQueue> all = new ArrayList<>();
        for (String broker : BROKERS)
            for (int i = 0; i < each; i++) all.add(new MessageQueue("orders", broker, i));
        Collections.sort(all);
        return all;
    }

    static List<String> clients(int count) {
        List<String> all = new ArrayList<>();
        for (int i = 0; i < count; i++) all.add("10.0.0." + i + "@" + (i % 2 == 0 ? "room1" : "\uE000") + "#" + i);
        if (count > 2) all.set(2, "\uD83D\uDE00@room2#2");
        Collections.sort(all);
        return all;
    }

    static String room(String name) {
        if (name.contains("room1")) return "room1";
        if (name.contains("room2")) return "room2";
        return "elsewhere";
    }

    static void lines(AllocateMessageQueueStrategy strategy) {
        for (int each = 1; each <= 3; each++) {
            List<MessageQueue> queues = queues(each);
            for (int count = 1; count <= 24; count += count < 4 ? 1 : 5) {
                List<String> clients = clients(count);
                for (String client : clients) {
                    List<MessageQueue> mine = strategy.allocate("g", client, queues, clients);
                    System.out.println(strategy.getName() + "\t" + each + "\t" + count + "\t" + client + "\t"
                        + mine.stream().map(q -> q.getBrokerName() + "/" + q.getQueueId()).collect(Collectors.joining(" ")));
                }
            }
        }
    }

    public static void main(String[] args) throws Exception {
        System.setOut(new java.io.PrintStream(System.out, true, "UTF-8"));
        lines(new AllocateMessageQueueAveragely());
        lines(new AllocateMessageQueueAveragelyByCircle());
        AllocateMessageQueueByMachineRoom rooms = new AllocateMessageQueueByMachineRoom();
        rooms.setConsumeridcs(new HashSet<>(Arrays.asList("room1", "room2", "room3")));
        lines(rooms);
        lines(new AllocateMessageQueueConsistentHash());
        lines(new AllocateMachineRoomNearby(new AllocateMessageQueueAveragely(), new AllocateMachineRoomNearby.MachineRoomResolver() {
            public String brokerDeployIn(MessageQueue queue) {
                return room(queue.getBrokerName());
            }

            public String consumerDeployIn(String client) {
                return room(client);
            }
        }));
    }
}
