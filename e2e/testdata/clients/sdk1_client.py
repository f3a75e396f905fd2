# AWSIoTPythonSDK, the AWS IoT Device SDK for Python v1.
import threading

from AWSIoTPythonSDK.exception.AWSIoTExceptions import publishTimeoutException, subackError
from AWSIoTPythonSDK.MQTTLib import AWSIoTMQTTClient

import scenario


class SDK1(scenario.Client):
    def __init__(self):
        super().__init__()
        c = self.c = AWSIoTMQTTClient(scenario.THING)
        c.configureEndpoint(scenario.HOST, scenario.PORT)
        if scenario.ALPN:  # which it does by itself on port 443
            c._mqtt_core.configure_alpn_protocols()
        c.configureCredentials(scenario.CA, scenario.KEY, scenario.CERT)
        c.configureOfflinePublishQueueing(0)
        c.configureAutoReconnectBackoffTime(30, 60, 90)
        c.configureMQTTOperationTimeout(5)
        c.onOffline = self.offline
        self.closed = threading.Event()

    def offline(self):
        self.closed.set()
        self.lost()

    def connect(self):
        self.c.connect()

    def subscribe(self, topic):
        try:
            return self.c.subscribe(topic, 1, lambda c, u, m: self.heard(m.topic, m.payload.decode()))
        except subackError:
            return False

    def publish(self, topic, payload):
        try:
            self.c.publish(topic, payload, 1)
            return True
        except publishTimeoutException:
            if not self.closed.is_set():
                raise
            return False


scenario.run(SDK1())
