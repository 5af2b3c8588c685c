"""Prints what was committed to topics of Kafka, up to their ends: read_committed.py HOST:PORT,... TOPIC...

A line of JSON for each record, in the order of partitions and offsets: topic, partition, offset, timestamp (in milliseconds), key, value
and headers. Bytes that are not UTF-8 are {"base64": ...}, those that are not there null. Independent of wasmill: another client, in
another language, so that what tests conclude from it does not hang on the code they test. Ends with an error if the end is not reached
within READ_SECONDS_MAX.
"""
import base64, json, sys, time

from confluent_kafka import Consumer, KafkaError, TopicPartition

READ_SECONDS_MAX = 120


def text(data):
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def read(consumer, topic, until):
    found = consumer.list_topics(topic, timeout=30).topics[topic]
    if found.error is not None:
        sys.exit(f"{topic}: {found.error}")
    records, last = {}, {}
    for partition in found.partitions:
        # The end of what is committed: what is open behind it does not count.
        begin, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
        if begin < end:
            records[partition], last[partition] = [], end - 1
    # At an offset there need not be a record, where a transaction ends there is none: so it may be the partition that says it ends.
    left = set(records)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in left])
    while left:
        message = consumer.poll(max(0, min(1, until - time.monotonic())))
        if message is None:
            if time.monotonic() >= until:
                sys.exit(f"{topic}: the end of partitions {sorted(left)} is not reached within {READ_SECONDS_MAX} s")
        elif message.error() is None:
            if message.partition() in left and message.offset() <= last[message.partition()]:
                records[message.partition()].append(message)
            if message.offset() >= last[message.partition()]:
                left.discard(message.partition())
        elif message.error().code() == KafkaError._PARTITION_EOF:
            left.discard(message.partition())
        else:
            sys.exit(f"{topic}: {message.error()}")
    return [message for _, messages in sorted(records.items()) for message in messages]


def main(servers, topics):
    consumer = Consumer({
        "bootstrap.servers": servers, "group.id": "read-committed", "enable.auto.commit": False, "auto.offset.reset": "earliest",
        "isolation.level": "read_committed", "enable.partition.eof": True,
    })
    until = time.monotonic() + READ_SECONDS_MAX
    for topic in topics:
        for message in read(consumer, topic, until):
            print(json.dumps({
                "topic": message.topic(), "partition": message.partition(), "offset": message.offset(),
                "timestamp": message.timestamp()[1], "key": text(message.key()), "value": text(message.value()),
                "headers": [[name, text(value)] for name, value in message.headers() or []],
            }))
    consumer.close()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__.splitlines()[0])
    main(sys.argv[1], sys.argv[2:])
