// MQTT.js 5, by TLS and by WebSocket, MQTT 3.1.1 and 5.
'use strict';
const fs = require('fs');
const mqtt = require('mqtt');
const { env, thing, Messages, main } = require('./scenario.js');

class MQTTJS {
  constructor() { this.messages = new Messages(); }

  async connect() {
    const options = { clientId: thing, protocolVersion: Number(env.MQTT_VERSION), reconnectPeriod: 0, ca: fs.readFileSync(env.MQTT_CA) };
    if (!env.MQTT_WS_URL) {
      Object.assign(options, { host: env.MQTT_HOST, port: env.MQTT_PORT, protocol: 'mqtts', servername: env.MQTT_HOST,
        cert: fs.readFileSync(env.MQTT_CERT), key: fs.readFileSync(env.MQTT_KEY) });
      if (env.MQTT_ALPN) options.ALPNProtocols = [env.MQTT_ALPN];
      this.c = await mqtt.connectAsync(options, false);
    } else {
      this.c = await mqtt.connectAsync(env.MQTT_WS_URL, options, false);
    }
    this.c.on('message', (topic, payload) => this.messages.put([topic, payload.toString()]));
    this.closed = new Promise((resolve) => this.c.on('close', () => { this.messages.put(null); resolve(false); }));
    this.c.on('error', () => {});
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

main(new MQTTJS());
