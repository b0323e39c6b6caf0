package cascade.bench;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;

/**
 * Four chained hops that decode an Avro packet, add a trace and encode it again.
 *
 * <p>Arguments: bootstrap servers, application id, folder for state, schema file, five topics.
 */
public final class Forward {
  private static final List<String> HOPS = List.of("strategic", "tactical", "risk", "execution");
  private static final int HEADER = 10;

  private final String hop;
  private final Schema traceSchema;
  private final GenericDatumReader<GenericRecord> reader;
  private final GenericDatumWriter<GenericRecord> writer;
  private BinaryDecoder decoder;
  private BinaryEncoder encoder;

  private Forward(String hop, Schema schema) {
    this.hop = hop;
    this.traceSchema =
        schema.getField("envelope").schema().getField("trace").schema().getElementType();
    this.reader = new GenericDatumReader<>(schema);
    this.writer = new GenericDatumWriter<>(schema);
  }

  private byte[] apply(byte[] value) {
    try {
      long started = System.currentTimeMillis() * 1000;
      decoder = DecoderFactory.get().binaryDecoder(value, HEADER, value.length - HEADER, decoder);
      GenericRecord packet = reader.read(null, decoder);
      GenericRecord envelope = (GenericRecord) packet.get("envelope");
      List<Object> traces = new ArrayList<>((List<?>) envelope.get("trace"));
      GenericRecord trace = new GenericData.Record(traceSchema);
      trace.put("stage", hop);
      trace.put("received", started);
      trace.put("started", started);
      trace.put("finished", System.currentTimeMillis() * 1000);
      traces.add(trace);
      envelope.put("trace", traces);
      ByteArrayOutputStream out = new ByteArrayOutputStream(value.length + 64);
      out.write(value, 0, HEADER);
      encoder = EncoderFactory.get().binaryEncoder(out, encoder);
      writer.write(packet, encoder);
      encoder.flush();
      return out.toByteArray();
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  private static Properties properties(String[] arguments) {
    Properties properties = new Properties();
    properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
    properties.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[1]);
    properties.put(StreamsConfig.STATE_DIR_CONFIG, arguments[2]);
    properties.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
    properties.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
    properties.put(StreamsConfig.producerPrefix("linger.ms"), 0);
    return properties;
  }

  /** Runs until the process is told to end. */
  public static void main(String[] arguments) throws Exception {
    Schema schema = new Schema.Parser().parse(new File(arguments[3]));
    StreamsBuilder builder = new StreamsBuilder();
    for (int index = 0; index < HOPS.size(); index++) {
      String name = HOPS.get(index);
      // Codecs keep buffers, so each thread of each hop has its own.
      ThreadLocal<Forward> hop = ThreadLocal.withInitial(() -> new Forward(name, schema));
      builder
          .<byte[], byte[]>stream(arguments[4 + index])
          .mapValues(value -> hop.get().apply(value))
          .to(arguments[5 + index]);
    }
    KafkaStreams streams = new KafkaStreams(builder.build(), properties(arguments));
    CountDownLatch ended = new CountDownLatch(1);
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  streams.close();
                  ended.countDown();
                }));
    streams.setUncaughtExceptionHandler(
        error -> {
          error.printStackTrace();
          Runtime.getRuntime().halt(1);
          return null;
        });
    streams.start();
    ended.await();
  }
}
