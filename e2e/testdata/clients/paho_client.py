# paho-mqtt 1.x and 2.x, by TLS and by WebSocket.
import ssl
import threading
import urllib.parse

import paho.mqtt.client as mqtt

import scenario


class Paho(scenario.Client):
    def __init__(self):
        super().__init__()
        more = {"transport": "websockets"} if scenario.WS_URL else {}
        protocol = mqtt.MQTTv5 if scenario.VERSION == 5 else mqtt.MQTTv311
        if hasattr(mqtt, "CallbackAPIVersion"):
            more["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION2
        c = self.c = mqtt.Client(client_id=scenario.THING, protocol=protocol, **more)
        host, port = scenario.HOST, scenario.PORT
        context = ssl.create_default_context(cafile=scenario.CA)
        if scenario.WS_URL:
            url = urllib.parse.urlsplit(scenario.WS_URL)
            host, port = url.hostname, url.port
            c.ws_set_options(path=url.path + "?" + url.query)
        else:
            context.load_cert_chain(scenario.CERT, scenario.KEY)
        if scenario.ALPN:
            context.set_alpn_protocols([scenario.ALPN])
        c.tls_set_context(context)
        self.address = host, port
        self.acks, self.event, self.closed = {}, threading.Condition(), threading.Event()
        c.on_connect = lambda *a: self.ack("connect", a[3])
        c.on_subscribe = lambda *a: self.ack(a[2], a[3])
        c.on_publish = lambda *a: self.ack(a[2], a[3] if len(a) > 3 else 0)
        c.on_message = lambda c, u, m: self.heard(m.topic, m.payload.decode())
        c.on_disconnect = self.disconnected

    def disconnected(self, *_):
        self.closed.set()
        with self.event:
            self.event.notify_all()
        self.lost()
        self.c.disconnect()  # do not come back

    def ack(self, what, code):
        with self.event:
            self.acks[what] = code
            self.event.notify_all()

    def wait(self, what):
        with self.event:
            if not self.event.wait_for(lambda: what in self.acks or self.closed.is_set(), scenario.WAIT):
                raise TimeoutError(str(what))
            return self.acks.pop(what, None)

    def connect(self):
        self.c.connect(*self.address, keepalive=60)
        self.c.loop_start()
        code = self.wait("connect")
        if code is None or value(code) != 0:
            raise ConnectionError(str(code))

    def subscribe(self, topic):
        _, mid = self.c.subscribe(topic, qos=1)
        codes = self.wait(mid)
        return codes is not None and value(codes[0]) < 0x80

    def publish(self, topic, payload):
        code = self.wait(self.c.publish(topic, payload, qos=1).mid)
        return code is not None and value(code) < 0x80


def value(code):
    return getattr(code, "value", code)


scenario.run(Paho())
