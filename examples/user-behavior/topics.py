"""The topics of the example: made, written to, read. Needs `pip install confluent-kafka`, and WASMILL_KAFKA as the address of a broker.

  topics.py create             makes the four topics
  topics.py write [RECORDS]    writes behavior, an hour for each 3600 records; one record is no JSON
  topics.py read TOPIC         shows what is committed there, to its end
"""
import json, os, random, sys

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

BROKERS = {"bootstrap.servers": os.environ.get("WASMILL_KAFKA", "127.0.0.1:9092")}
TOPICS = ["behavior", "behavior-counts", "behavior-late", "behavior-dead"]
START_MS = 1_700_000_000_000


def create():
    client = AdminClient(BROKERS)
    for topic, made in client.create_topics([NewTopic(topic, num_partitions=2) for topic in TOPICS]).items():
        try:
            made.result()
            print(topic)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            print(f"{topic} is there already")


def delivered(error, _):
    if error is not None:
        raise KafkaException(error)


def write(records):
    producer, choose = Producer(BROKERS | {"enable.idempotence": True}), random.Random(1)
    for number in range(records):
        user = choose.randrange(20)
        record = {"userId": user, "itemId": choose.randrange(100), "behavior": choose.choice(["pv", "pv", "cart", "fav", "buy"]),
                  "timestamp": START_MS + number * 1000}
        producer.produce("behavior", key=str(user), value=json.dumps(record), on_delivery=delivered)
        producer.poll(0)
    producer.produce("behavior", key="0", value="no JSON", on_delivery=delivered)
    if producer.flush(60) > 0:
        sys.exit("the broker does not take the records")
    print(f"{records} records, and one that is none")


def read(topic):
    consumer = Consumer(BROKERS | {"group.id": "example", "auto.offset.reset": "earliest", "enable.auto.commit": False,
                                   "isolation.level": "read_committed"})
    consumer.subscribe([topic])
    # A group takes a moment to be joined.
    patience = 10.0
    while (message := consumer.poll(patience)) is not None:
        if message.error():
            raise KafkaException(message.error())
        print(message.value().decode())
        patience = 2.0
    consumer.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["create"]:
            create()
        case ["write", *rest]:
            write(int(rest[0]) if rest else 7200)
        case ["read", topic]:
            read(topic)
        case _:
            sys.exit(__doc__)
