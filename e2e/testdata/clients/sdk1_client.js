// aws-iot-device-sdk, the AWS IoT Device SDK for JavaScript v1, by TLS and by
// WebSocket, which it signs itself.
'use strict';
const awsIot = require('aws-iot-device-sdk');
const { env, thing, Messages, main } = require('./scenario.js');

class SDK1 {
  constructor() { this.messages = new Messages(); }

  connect() {
    const options = { clientId: thing, host: env.MQTT_HOST, port: Number(env.MQTT_PORT), offlineQueueing: false, autoResubscribe: false };
    if (env.MQTT_CERT) {
      Object.assign(options, { keyPath: env.MQTT_KEY, certPath: env.MQTT_CERT, caPath: env.MQTT_CA });
      if (env.MQTT_ALPN) options.ALPNProtocols = [env.MQTT_ALPN];
    } else {
      Object.assign(options, { protocol: 'wss', region: env.AWS_REGION, accessKeyId: env.AWS_ACCESS_KEY_ID, secretKey: env.AWS_SECRET_ACCESS_KEY });
      if (env.AWS_SESSION_TOKEN) options.sessionToken = env.AWS_SESSION_TOKEN;
    }
    const c = this.c = awsIot.device(options);
    c.on('message', (topic, payload) => this.messages.put([topic, payload.toString()]));
    this.closed = new Promise((resolve) => c.on('close', () => { this.messages.put(null); resolve(false); }));
    return new Promise((resolve, reject) => {
      c.on('connect', resolve);
      c.on('error', reject);
      this.closed.then(() => reject(new Error('closed')));
    });
  }

  subscribe(topic) {
    return new Promise((resolve) => this.c.subscribe(topic, { qos: 1 },
      (err, granted) => resolve(!err && granted.every((g) => g.qos < 128))));
  }

  publish(topic, payload) {
    const done = new Promise((resolve) => this.c.publish(topic, payload, { qos: 1 }, (err) => resolve(!err)));
    return Promise.race([done, this.closed]);
  }
}

main(new SDK1());
