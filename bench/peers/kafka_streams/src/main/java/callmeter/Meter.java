package callmeter;

import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.Stores;

/**
 * The fold of Callmeter's plain plan on Kafka Streams, exactly once: what one would write in Java, tuned.
 *
 * <p>Arguments: bootstrap servers, topic to read, topic to write, application id, folder for state, {@code memory} or
 * {@code rocksdb}, threads. It runs until it is told to end.
 */
public final class Meter {
    private static final String ACCOUNTS = "accounts";

    public static void main(String[] arguments) throws Exception {
        String store = arguments[5];
        Properties settings = new Properties();
        settings.putAll(Map.of(
                StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0],
                StreamsConfig.APPLICATION_ID_CONFIG, arguments[3],
                StreamsConfig.STATE_DIR_CONFIG, arguments[4],
                StreamsConfig.NUM_STREAM_THREADS_CONFIG, arguments[6],
                StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2,
                StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, "100",
                StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, Long.toString(128L << 20),
                StreamsConfig.REPLICATION_FACTOR_CONFIG, "1"));
        settings.putAll(Map.of(
                StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest",
                StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), "5000",
                StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), Integer.toString(4 << 20),
                StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), Integer.toString(1_000_000),
                StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), "5",
                StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), Long.toString(256L << 20)));

        KeyValueBytesStoreSupplier supplier = store.equals("rocksdb")
                ? Stores.persistentKeyValueStore(ACCOUNTS)
                : Stores.inMemoryKeyValueStore(ACCOUNTS);
        Topology topology = new Topology();
        topology.addSource("log", Serdes.ByteArray().deserializer(), Serdes.ByteArray().deserializer(), arguments[1]);
        topology.addProcessor("rate", () -> new Rater(ACCOUNTS), "log");
        // With the cache a batch's changes of an account are one record of the changelog, as in Callmeter's ledger.
        topology.addStateStore(
                Stores.keyValueStoreBuilder(supplier, Serdes.String(), AccountBytes.serde()).withCachingEnabled(), "rate");
        topology.addSink("rated", arguments[2], Serdes.ByteArray().serializer(), Serdes.ByteArray().serializer(), "rate");

        KafkaStreams streams = new KafkaStreams(topology, settings);
        CountDownLatch ended = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close();
            ended.countDown();
        }));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return null;
        });
        streams.start();
        ended.await();
    }
}
