# What every Python client does: hears its own "up", publishes to "quiet" which
# it may not receive, then tries what it may not do at all. A line that begins with
# > says each thing that happened; the test compares them.
import os
import queue
import sys

HOST, PORT = os.environ.get("MQTT_HOST"), int(os.environ.get("MQTT_PORT", "0"))
ALPN = os.environ.get("MQTT_ALPN")
CA, CERT, KEY = (os.environ.get("MQTT_" + n) for n in ("CA", "CERT", "KEY"))
THING, ELSEWHERE = os.environ["MQTT_THING"], os.environ["MQTT_ELSEWHERE"]
VERSION = int(os.environ.get("MQTT_VERSION", "4"))
WS_URL = os.environ.get("MQTT_WS_URL")
WAIT = 20


def say(*words):
    print(">", *words, flush=True)


class Client:
    """A client has connect(), subscribe(topic) -> granted and publish(topic,
    payload) -> accepted; it puts messages into `messages` and None when the
    connection is lost."""

    def __init__(self):
        self.messages = queue.Queue()

    def heard(self, topic, payload):
        self.messages.put((topic, payload))

    def lost(self):
        self.messages.put(None)

    def await_loss(self, seconds=WAIT):
        while self.messages.get(timeout=seconds) is not None:
            pass


def run(client):
    client.connect()
    say("connected")
    if os.environ.get("MQTT_DEAF"):
        deaf(client, THING + "/count")
    granted = [client.subscribe(THING + "/up"), client.subscribe(THING + "/quiet")]
    say("subscribed" if all(granted) else "not subscribed: %s" % granted)
    if os.environ.get("MQTT_HOLD"):
        client.await_loss(15)
        say("ended")
        finish()
    for name in ("quiet", "up"):
        if not client.publish("%s/%s" % (THING, name), "hello " + name):
            say("not published:", name)
    message = client.messages.get(timeout=WAIT)
    say("received", *(message or ("nothing",)))
    if not client.subscribe(ELSEWHERE):
        say("subscribe refused")
    if not client.publish(ELSEWHERE, "contraband"):
        say("publish refused")
    while not client.messages.empty():
        message = client.messages.get()
        if message is not None:
            say("received", *message)
    finish()


def deaf(client, topic):
    """Who may subscribe and publish and not receive."""
    say("subscribed" if client.subscribe(topic) else "subscribe refused")
    say("published" if client.publish(topic, "hello count") else "publish refused")
    try:
        say("received", *(client.messages.get(timeout=0.5) or ["nothing: the connection was lost"]))
    except queue.Empty:
        say("received nothing")
    finish()


def finish():
    sys.stdout.flush()
    os._exit(0)  # the libraries' threads would go on connecting
