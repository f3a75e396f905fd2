# awsiotsdk, the AWS IoT Device SDK for Python v2: MQTT 3.1.1 and 5.
import os
import threading
from concurrent.futures import Future, TimeoutError

import awscrt.exceptions
from awscrt import mqtt, mqtt5, auth
from awsiot import mqtt5_client_builder, mqtt_connection_builder

import scenario

common = dict(endpoint=scenario.HOST, port=scenario.PORT, client_id=scenario.THING, ca_filepath=scenario.CA)


def websocket():
    return auth.AwsCredentialsProvider.new_static(
        os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], os.environ.get("AWS_SESSION_TOKEN"))


class SDK2(scenario.Client):
    def __init__(self):
        super().__init__()
        self.closed = threading.Event()
        more = dict(clean_session=True, keep_alive_secs=30, on_connection_interrupted=self.interrupted, **common)
        if scenario.CERT:
            self.c = mqtt_connection_builder.mtls_from_path(cert_filepath=scenario.CERT, pri_key_filepath=scenario.KEY, **more)
        else:
            self.c = mqtt_connection_builder.websockets_with_default_aws_signing(
                region=os.environ["AWS_REGION"], credentials_provider=websocket(), **more)

    def interrupted(self, connection, error, **_):
        self.closed.set()
        self.lost()

    def connect(self):
        self.c.connect().result(scenario.WAIT)

    def subscribe(self, topic):
        future, _ = self.c.subscribe(topic, mqtt.QoS.AT_LEAST_ONCE, lambda topic, payload, **_: self.heard(topic, payload.decode()))
        try:
            future.result(scenario.WAIT)
            return True
        except mqtt.SubscribeError:
            return False

    def publish(self, topic, payload):
        future, _ = self.c.publish(topic, payload, mqtt.QoS.AT_LEAST_ONCE)
        for _ in range(scenario.WAIT * 10):
            try:
                future.result(0.1)
                return True
            except TimeoutError:
                if self.closed.is_set():
                    return False
            except awscrt.exceptions.AwsCrtError:  # cancelled, when the connection was lost
                if self.closed.wait(scenario.WAIT):
                    return False
                raise
        raise TimeoutError(topic)


class SDK2v5(scenario.Client):
    def __init__(self):
        super().__init__()
        self.up = Future()
        more = dict(on_publish_received=self.received, on_lifecycle_connection_success=lambda d: self.up.set_result(d),
                    on_lifecycle_connection_failure=lambda d: self.up.done() or self.up.set_exception(d.exception),
                    on_lifecycle_disconnection=lambda d: self.lost(), **common)
        if scenario.CERT:
            self.c = mqtt5_client_builder.mtls_from_path(cert_filepath=scenario.CERT, pri_key_filepath=scenario.KEY, **more)
        else:
            self.c = mqtt5_client_builder.websockets_with_default_aws_signing(
                region=os.environ["AWS_REGION"], credentials_provider=websocket(), **more)

    def received(self, data):
        self.heard(data.publish_packet.topic, data.publish_packet.payload.decode())

    def connect(self):
        self.c.start()
        self.up.result(scenario.WAIT)

    def subscribe(self, topic):
        packet = mqtt5.SubscribePacket([mqtt5.Subscription(topic, mqtt5.QoS.AT_LEAST_ONCE)])
        return self.c.subscribe(packet).result(scenario.WAIT).reason_codes[0] < 0x80

    def publish(self, topic, payload):
        packet = mqtt5.PublishPacket(topic=topic, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE)
        return self.c.publish(packet).result(scenario.WAIT).puback.reason_code < 0x80


scenario.run(SDK2v5() if scenario.VERSION == 5 else SDK2())
