// What every JavaScript client does; see scenario.py.
'use strict';
const fs = require('fs');
const env = process.env;
const thing = env.MQTT_THING, elsewhere = env.MQTT_ELSEWHERE;

const say = (...words) => fs.writeSync(1, '> ' + words.join(' ') + '\n');

// A queue of messages; null stands for the loss of the connection.
class Messages {
  constructor() { this.list = []; this.waiting = []; }
  put(m) { const w = this.waiting.shift(); if (w) w(m); else this.list.push(m); }
  get() { return this.list.length ? Promise.resolve(this.list.shift()) : new Promise((resolve) => this.waiting.push(resolve)); }
}

function within(seconds, what, promise) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error('timeout: ' + what)), seconds * 1000); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// The client has async connect(), subscribe(topic) -> granted, publish(topic,
// payload) -> accepted, and puts [topic, payload] or null into messages.
async function run(client) {
  const messages = client.messages;
  await within(20, 'connect', client.connect());
  say('connected');
  if (env.MQTT_DEAF) await deaf(client, thing + '/count');
  const granted = [];
  for (const name of ['up', 'quiet']) granted.push(await within(20, 'subscribe', client.subscribe(thing + '/' + name)));
  say(granted.every((x) => x) ? 'subscribed' : 'not subscribed: ' + granted);
  if (env.MQTT_HOLD) {
    await within(15, 'loss', (async () => { while (await messages.get() !== null); })());
    say('ended');
    process.exit(0);
  }
  for (const name of ['quiet', 'up']) {
    if (!await within(20, 'publish', client.publish(thing + '/' + name, 'hello ' + name))) say('not published:', name);
  }
  say('received', ...(await within(20, 'message', messages.get()) || ['nothing']));
  if (!await within(20, 'subscribe', client.subscribe(elsewhere))) say('subscribe refused');
  if (!await within(20, 'publish', client.publish(elsewhere, 'contraband'))) say('publish refused');
  for (const m of messages.list) if (m) say('received', ...m);
  process.exit(0);
}

// Who may subscribe and publish and not receive.
async function deaf(client, topic) {
  say(await within(20, 'subscribe', client.subscribe(topic)) ? 'subscribed' : 'subscribe refused');
  say(await within(20, 'publish', client.publish(topic, 'hello count')) ? 'published' : 'publish refused');
  await new Promise((resolve) => setTimeout(resolve, 500));
  const m = client.messages.list.shift();
  say('received', ...(m === undefined ? ['nothing'] : m || ['nothing: the connection was lost']));
  process.exit(0);
}

function main(client) {
  run(client).catch((err) => { console.error(err); process.exit(1); });
}

module.exports = { env, thing, Messages, main };
