import java.util.List;

import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Topics that keep the newest message of each key, in a store that changes hands: each of three chapters finds what those before have left, sends more and waits until it
 * is compacted. Arguments: name server, broker, cluster, chapter, clean or kill.
 */
public class CompactionExchange extends Compaction {
    static final int KEYS = 9, SENT = 330; // a chapter's

    public static void main(String[] arguments) throws Exception {
        begin(arguments);
        only = "";
        int chapter = Integer.parseInt(arguments[3]);
        connect();
        eventually(30, () -> PRODUCER.send(new Message("ExchangeReady", bytes("ready"))) != null, "the broker");
        CASES.put("compacted topics", () -> {
            String topic = "Compacted";
            int before = (chapter - 1) * SENT;
            if (chapter == 1) {
                compacted(topic);
            } else {
                eventually(30, () -> hasRoute(topic), "route of " + topic);
                eventually(30, () -> !read(topic).isEmpty(), "messages of " + topic);
                List<MessageExt> left = read(topic);
                checkNewest(left, KEYS, before);
                check(left.size() <= KEYS + 100, "nothing comes back: " + left.size());
            }
            fill(topic, KEYS, before, SENT);
            afterCompaction(topic, KEYS, before + SENT);
        });
        run(1);
    }
}
