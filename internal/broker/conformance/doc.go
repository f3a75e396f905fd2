// Package conformance runs packet scripts against an MQTT broker: any broker
// that answers on a connection, so that one set of scripts proves ours and
// compares it with others. The scripts are in testdata/conformance of package
// broker; this is their language.
//
// A file holds scripts. A script is a line "== name", header lines, and steps;
// lines that begin with // are comments.
//
//	== a retained message reaches a later subscriber
//	profile: standard            aws or standard; without it, both
//	version: 5                   3.1.1 or 5; without it, both, one run each
//	v3: 3.3.1-6 3.3.1-8          the statements of MQTT 3.1.1 that it proves
//	v5: 3.3.1-9                  and those of MQTT 5
//	paho: client_test5.test_x    the case of Eclipse paho.mqtt.testing that it re-expresses
//	limit: subscriptions=2       limits of the broker that the script needs
//	mosquitto: differs: reason   the known difference; "skip: reason" if it cannot be compared;
//	                             mosquitto-3.1.1 and mosquitto-5 speak of one version alone
//	A connect
//	A publish a/b hello qos=1 retain
//	B connect
//	B subscribe a/b qos=1
//	B receive a/b hello qos=1 retain
//	B quiet
//
// A step is a client, an operation and its arguments; [5] in front limits it to
// a version, [aws] to a profile, [mosquitto] or [!mosquitto] to a broker. The
// client identifier of A is "a" unless id= says otherwise. The exact operations:
//
//	A > PACKET ...    sends a packet, over a new TCP connection if A has none
//	A > raw 10 {0004 "MQTT" ...}   sends bytes: hex, strings, 78*300 for 300 of them; braces
//	                  stand for the remaining length and the rest of the packet
//	A < PACKET ...    the next packet is this one
//	A <* PACKET ...   one of a group: consecutive <* lines of a client match in any order
//	A quiet           nothing comes, and the connection stays
//	A closed          the server has closed, and nothing unread came before
//	A ends            the server has closed, whatever came before
//	A drop            closes the TCP connection without DISCONNECT
//	clock 90s         lets time pass
//	restart           ends the broker, and starts it again with what it kept on disk
//
// and those that stand for an exchange:
//
//	A connect ...     CONNECT, and the CONNACK of success (present= is its session present)
//	A subscribe F...  SUBSCRIBE, and the SUBACK that grants what was asked (codes= for others)
//	A unsubscribe F.. UNSUBSCRIBE and UNSUBACK
//	A publish T P ... PUBLISH and all acknowledgements of its QoS
//	A receive T P ... the PUBLISH is expected and acknowledged; receive* in a group
//	A+B receive ...   one of them receives it, the others do not
//	A ping            PINGREQ and PINGRESP
//	A disconnect ...  DISCONNECT, and the server closes
//	A refused CODE    the server ends the connection: in MQTT 5 by DISCONNECT with the code
//	A rejected CODE   it refuses CONNECT: by CONNACK where the version has one for the code
//
// Arguments are values by their place (topic and payload, filters, codes),
// name=value pairs, and flags: dup, retain, nl (no local), rap (retain as
// published). The pairs are those of the packet (id, qos, keepalive, clean,
// will, will.payload, will.qos, will.retain, user, pass, present, code, rh) and
// the names of properties in the propertyNames table, "user:NAME" for user properties.
// Values are quoted as in Go where they have spaces or odd bytes; in others
// ~300 is 300 letters x; F@1 is filter F at QoS 1 where the other
// filters have another.
//
// What is expected is exact for PUBLISH: flags that are not named are 0,
// properties that are not named are absent (props=* lets them be). Of other
// packets what is not named does not count. * is any value, - an absent
// property, a|b either; id=$x remembers a packet identifier, or compares with
// what is remembered, and id=!$x has to be another. Messages and answers are two streams: no standard says
// which of a PUBLISH and, say, a PUBACK comes first.
package conformance
