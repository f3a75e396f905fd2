# What document 003 has the pubsub sample of awsiotsdk do: subscribes, publishes
# COUNT messages as JSON strings, waits until all have come back. The command
# line is the document's, and the words are those of its log.
import argparse
import json
import threading

from awscrt import mqtt
from awsiot import mqtt_connection_builder

parser = argparse.ArgumentParser()
for name in ("endpoint", "ca_file", "cert", "key", "client_id", "topic"):
    parser.add_argument("--" + name, required=True)
parser.add_argument("--count", type=int, default=10)
parser.add_argument("--port", type=int, default=8883)
args = parser.parse_args()

received, all_received = [], threading.Event()


def on_message_received(topic, payload, dup, qos, retain, **kwargs):
    print("Received message from topic '{}': {}".format(topic, payload))
    received.append(payload)
    if len(received) == args.count:
        all_received.set()


connection = mqtt_connection_builder.mtls_from_path(
    endpoint=args.endpoint, port=args.port, cert_filepath=args.cert, pri_key_filepath=args.key, ca_filepath=args.ca_file,
    client_id=args.client_id, clean_session=False, keep_alive_secs=30)
print("Connecting to {} with client ID '{}'...".format(args.endpoint, args.client_id))
connection.connect().result(20)
print("Connected!")
print("Subscribing to topic '{}'...".format(args.topic))
future, _ = connection.subscribe(topic=args.topic, qos=mqtt.QoS.AT_LEAST_ONCE, callback=on_message_received)
print("Subscribed with {}".format(int(future.result(20)["qos"])))
print("Sending {} message(s)".format(args.count))
for number in range(1, args.count + 1):
    message = "Hello World!  [{}]".format(number)
    print("Publishing message to topic '{}': {}".format(args.topic, message))
    connection.publish(topic=args.topic, payload=json.dumps(message), qos=mqtt.QoS.AT_LEAST_ONCE)
all_received.wait(8)
print("{} message(s) received.".format(len(received)))
print("Disconnecting...")
connection.disconnect().result(20)
print("Disconnected!")
