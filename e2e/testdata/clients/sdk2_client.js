// aws-iot-device-sdk-v2, the AWS IoT Device SDK for JavaScript v2: MQTT 3.1.1
// and 5, by TLS (with ALPN on every port) and by WebSocket.
'use strict';
const fs = require('fs');
const { mqtt, mqtt5, iot, auth } = require('aws-iot-device-sdk-v2');
const { env, thing, Messages, main } = require('./scenario.js');

class SDK2 {
  constructor() { this.messages = new Messages(); }

  connect() {
    const b = env.MQTT_CERT
      ? iot.AwsIotMqttConnectionConfigBuilder.new_mtls_builder_from_path(env.MQTT_CERT, env.MQTT_KEY)
      : iot.AwsIotMqttConnectionConfigBuilder.new_with_websockets()
        .with_credentials(env.AWS_REGION, env.AWS_ACCESS_KEY_ID, env.AWS_SECRET_ACCESS_KEY, env.AWS_SESSION_TOKEN);
    b.with_certificate_authority_from_path(undefined, env.MQTT_CA);
    b.with_client_id(thing).with_endpoint(env.MQTT_HOST).with_port(Number(env.MQTT_PORT)).with_clean_session(true);
    const c = this.c = new mqtt.MqttClient().new_connection(b.build());
    const end = new Promise((resolve) => c.on('interrupt', () => { this.messages.put(null); resolve(false); }));
    this.closed = end;
    c.on('error', () => {});
    return c.connect();
  }

  async subscribe(topic) {
    try {
      const ack = await this.c.subscribe(topic, mqtt.QoS.AtLeastOnce,
        (t, payload) => this.messages.put([t, Buffer.from(payload).toString()]));
      return !(ack.error_code) && ack.qos < 128;
    } catch { return false; }
  }

  publish(topic, payload) {
    const done = this.c.publish(topic, payload, mqtt.QoS.AtLeastOnce).then(() => true, () => false);
    return Promise.race([done, this.closed]);
  }
}

class SDK2v5 {
  constructor() { this.messages = new Messages(); }

  connect() {
    const b = env.MQTT_CERT
      ? iot.AwsIotMqtt5ClientConfigBuilder.newDirectMqttBuilderWithMtlsFromPath(env.MQTT_HOST, env.MQTT_CERT, env.MQTT_KEY)
      : iot.AwsIotMqtt5ClientConfigBuilder.newWebsocketMqttBuilderWithSigv4Auth(env.MQTT_HOST, {
        region: env.AWS_REGION,
        credentialsProvider: auth.AwsCredentialsProvider.newStatic(env.AWS_ACCESS_KEY_ID, env.AWS_SECRET_ACCESS_KEY, env.AWS_SESSION_TOKEN),
      });
    b.withCertificateAuthorityFromPath(undefined, env.MQTT_CA);
    b.withPort(Number(env.MQTT_PORT));
    b.withConnectProperties({ clientId: thing, keepAliveIntervalSeconds: 60 });
    const c = this.c = new mqtt5.Mqtt5Client(b.build());
    c.on('messageReceived', (e) => this.messages.put([e.message.topicName, Buffer.from(e.message.payload).toString()]));
    c.on('disconnection', () => this.messages.put(null));
    return new Promise((resolve, reject) => {
      c.on('connectionSuccess', resolve);
      c.on('connectionFailure', (e) => reject(e.error));
      c.start();
    });
  }

  async subscribe(topic) {
    const ack = await this.c.subscribe({ subscriptions: [{ topicFilter: topic, qos: mqtt5.QoS.AtLeastOnce }] });
    return ack.reasonCodes[0] < 128;
  }

  async publish(topic, payload) {
    const ack = await this.c.publish({ topicName: topic, payload, qos: mqtt5.QoS.AtLeastOnce });
    return ack.reasonCode < 128;
  }
}

main(env.MQTT_VERSION === '5' ? new SDK2v5() : new SDK2());
