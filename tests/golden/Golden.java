import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;

import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.DataVersion;
import org.apache.rocketmq.remoting.protocol.LanguageCode;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RemotingSerializable;
import org.apache.rocketmq.remoting.protocol.SerializeType;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;
import org.apache.rocketmq.remoting.protocol.admin.OffsetWrapper;
import org.apache.rocketmq.remoting.protocol.admin.TopicOffset;
import org.apache.rocketmq.remoting.protocol.admin.TopicStatsTable;
import org.apache.rocketmq.remoting.protocol.body.LockBatchRequestBody;
import org.apache.rocketmq.remoting.protocol.body.RegisterBrokerBody;
import org.apache.rocketmq.remoting.protocol.body.ResetOffsetBody;
import org.apache.rocketmq.remoting.protocol.body.TopicConfigAndMappingSerializeWrapper;
import org.apache.rocketmq.remoting.protocol.header.PullMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.QueryConsumerOffsetRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.SendMessageRequestHeaderV2;
import org.apache.rocketmq.remoting.protocol.heartbeat.ConsumeType;
import org.apache.rocketmq.remoting.protocol.heartbeat.ConsumerData;
import org.apache.rocketmq.remoting.protocol.heartbeat.HeartbeatData;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;
import org.apache.rocketmq.remoting.protocol.heartbeat.ProducerData;
import org.apache.rocketmq.remoting.protocol.filter.FilterAPI;
import org.apache.rocketmq.remoting.protocol.route.BrokerData;
import org.apache.rocketmq.remoting.protocol.route.QueueData;
import org.apache.rocketmq.remoting.protocol.route.TopicRouteData;

/** Records what the published Java classes make of fixed values: one line each, name, a tab, hexadecimal. tests/golden/record runs it. */
public class Golden {
    static void line(String name, byte[] bytes) {
        System.out.println(name + "\t" + UtilAll.bytes2string(bytes).toLowerCase());
    }

    static byte[] frame(RemotingCommand command, SerializeType type) {
        command.setSerializeTypeCurrentRPC(type);
        command.setOpaque(7);
        command.setLanguage(LanguageCode.JAVA);
        command.setVersion(479);
        ByteBuffer head = command.encode();
        byte[] bytes = new byte[head.remaining()];
        head.get(bytes);
        return bytes;
    }

    static void frames(SerializeType type) {
        QueryConsumerOffsetRequestHeader query = new QueryConsumerOffsetRequestHeader();
        query.setConsumerGroup("g");
        query.setTopic("t");
        query.setQueueId(1);
        RemotingCommand command = RemotingCommand.createRequestCommand(14, query);
        command.setBody(new byte[] {1, 2});
        line("frame.query_offset." + type, frame(command, type));

        SendMessageRequestHeaderV2 send = new SendMessageRequestHeaderV2();
        send.setA("producers");
        send.setB("orders");
        send.setC("TBW102");
        send.setD(4);
        send.setE(3);
        send.setF(0);
        send.setG(1700000000000L);
        send.setH(17);
        send.setI("KEYS\u0001k1 k2\u0002TAGS\u0001grün\u0002");
        send.setJ(0);
        send.setK(false);
        send.setL(16);
        send.setM(false);
        command = RemotingCommand.createRequestCommand(310, send);
        command.setBody("hello".getBytes());
        line("frame.send." + type, frame(command, type));

        PullMessageRequestHeader pull = new PullMessageRequestHeader();
        pull.setConsumerGroup("g");
        pull.setTopic("t");
        pull.setQueueId(2);
        pull.setQueueOffset(1L << 40);
        pull.setMaxMsgNums(32);
        pull.setSysFlag(6);
        pull.setCommitOffset(0L);
        pull.setSuspendTimeoutMillis(15000L);
        pull.setSubscription("A || B");
        pull.setSubVersion(1700000000000L);
        pull.setExpressionType("TAG");
        line("frame.pull." + type, frame(RemotingCommand.createRequestCommand(11, pull), type));

        command = RemotingCommand.createResponseCommand(17, "topic \"x\"\nnot\\there");
        command.markResponseType();
        line("frame.remark." + type, frame(command, type));
    }

    static void records() throws Exception {
        MessageExt message = new MessageExt();
        message.setTopic("orders");
        message.setBody("hello".getBytes());
        message.setBodyCRC(UtilAll.crc32("hello".getBytes()));
        message.setQueueId(3);
        message.setFlag(17);
        message.setQueueOffset(42);
        message.setCommitLogOffset(123456789012L);
        message.setSysFlag(0);
        message.setBornTimestamp(1700000000001L);
        message.setBornHost(new InetSocketAddress("10.0.0.9", 5001));
        message.setStoreTimestamp(1700000000002L);
        message.setStoreHost(new InetSocketAddress("10.0.0.1", 10911));
        message.setReconsumeTimes(2);
        message.setPreparedTransactionOffset(0);
        message.setKeys("k1 k2");
        message.setTags("grün");
        line("record.v4", MessageDecoder.encode(message, false));
        message.setBornHost(new InetSocketAddress("fe80::1", 5001));
        message.setBornHostV6Flag();
        line("record.v6_born", MessageDecoder.encode(message, false));

        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            Message each = new Message("orders", "tag" + i, "key" + i, ("body " + i).getBytes());
            each.setFlag(i);
            batch.add(each);
        }
        line("batch", MessageDecoder.encodeMessages(batch));
    }

    static byte[] number(long value) {
        return ByteBuffer.allocate(8).putLong(value).array();
    }

    static void small() throws Exception {
        for (String tag : Arrays.asList("TagA", "", "grün", "中文标签", "\uD83D\uDE80 rocket")) line("hash." + UtilAll.bytes2string(tag.getBytes("UTF-8")), number(tag.hashCode()));
        line("crc.123456789", number(UtilAll.crc32("123456789".getBytes())));
        ByteBuffer host = ByteBuffer.allocate(8).put(new byte[] {10, 0, 0, 1}).putInt(10911);
        host.flip();
        line("message_id", MessageDecoder.createMessageId(ByteBuffer.allocate(16), host, 12345).getBytes());
    }

    static void bodies() throws Exception {
        HeartbeatData heartbeat = new HeartbeatData();
        heartbeat.setClientID("10.0.0.9@1#2");
        ProducerData producer = new ProducerData();
        producer.setGroupName("p");
        heartbeat.getProducerDataSet().add(producer);
        ConsumerData consumer = new ConsumerData();
        consumer.setGroupName("g");
        consumer.setConsumeType(ConsumeType.CONSUME_PASSIVELY);
        consumer.setMessageModel(MessageModel.CLUSTERING);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        var subscription = FilterAPI.buildSubscriptionData("t", "TagA || TagB");
        subscription.setSubVersion(1700000000000L);
        consumer.getSubscriptionDataSet().add(subscription);
        heartbeat.getConsumerDataSet().add(consumer);
        line("body.heartbeat", heartbeat.encode());

        TopicRouteData route = new TopicRouteData();
        QueueData queue = new QueueData();
        queue.setBrokerName("broker-a");
        queue.setReadQueueNums(8);
        queue.setWriteQueueNums(4);
        queue.setPerm(6);
        route.setQueueDatas(new ArrayList<>(Arrays.asList(queue)));
        HashMap<Long, String> addresses = new HashMap<>();
        addresses.put(0L, "10.0.0.1:10911");
        addresses.put(1L, "10.0.0.2:10911");
        route.setBrokerDatas(new ArrayList<>(Arrays.asList(new BrokerData("C1", "broker-a", addresses))));
        route.setFilterServerTable(new HashMap<>());
        line("body.route", route.encode());

        TopicConfigAndMappingSerializeWrapper topics = new TopicConfigAndMappingSerializeWrapper();
        DataVersion version = new DataVersion();
        version.setTimestamp(1700000000000L);
        version.setCounter(new java.util.concurrent.atomic.AtomicLong(3));
        topics.setDataVersion(version);
        TopicConfig config = new TopicConfig("t", 8, 4, 6);
        config.getAttributes().put("message.type", "FIFO");
        topics.getTopicConfigTable().put("t", config);
        RegisterBrokerBody register = new RegisterBrokerBody();
        register.setTopicConfigSerializeWrapper(topics);
        register.setFilterServerList(new ArrayList<>(Arrays.asList("f:1")));
        line("body.register", register.encode(false));
        line("body.register_compressed", register.encode(true));

        LockBatchRequestBody lock = new LockBatchRequestBody();
        lock.setClientId("c");
        lock.setConsumerGroup("g");
        lock.setMqSet(new HashSet<>(Arrays.asList(new MessageQueue("t", "broker-a", 0), new MessageQueue("t", "broker-a", 1))));
        line("body.lock", lock.encode());

        ConsumeStats stats = new ConsumeStats();
        OffsetWrapper offsets = new OffsetWrapper();
        offsets.setBrokerOffset(10);
        offsets.setConsumerOffset(7);
        offsets.setPullOffset(8);
        offsets.setLastTimestamp(1700000000000L);
        stats.setOffsetTable(new ConcurrentHashMap<>());
        stats.getOffsetTable().put(new MessageQueue("t", "broker-a", 0), offsets);
        stats.setConsumeTps(1.5);
        line("body.consume_stats", stats.encode());

        TopicStatsTable table = new TopicStatsTable();
        TopicOffset offset = new TopicOffset();
        offset.setMinOffset(1);
        offset.setMaxOffset(10);
        offset.setLastUpdateTimestamp(1700000000000L);
        table.setOffsetTable(new ConcurrentHashMap<>());
        table.getOffsetTable().put(new MessageQueue("t", "broker-a", 0), offset);
        line("body.topic_stats", table.encode());

        ResetOffsetBody reset = new ResetOffsetBody();
        reset.setOffsetTable(new HashMap<>());
        reset.getOffsetTable().put(new MessageQueue("t", "broker-a", 0), 100L);
        line("body.reset", reset.encode());
    }

    public static void main(String[] args) throws Exception {
        frames(SerializeType.JSON);
        frames(SerializeType.ROCKETMQ);
        records();
        small();
        bodies();
    }
}
