//go:build e2e

package e2e_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// TestReceiveWhileAway: what a session may receive is judged by the policies of
// now, whatever they were when its client was there before.
func TestReceiveWhileAway(t *testing.T) {
	t.Parallel()
	d, w := shared.device(t), shared.device(t)
	d.grant(t, everything())
	w.grant(t, everything())
	pub := w.open(t, session{id: w.thing})
	up := d.thing + "/up"
	publish := func(payload string) {
		t.Helper()
		code, err := pub.publish(1, false, up, payload)
		check(t, err)
		if code != mqtt.Success {
			t.Fatalf("PUBACK %v", code)
		}
	}
	s := session{id: d.thing, keep: true}
	l := d.open(t, s)
	_, err := l.subscribe(1, up)
	check(t, err)
	publish("one")
	if got := l.drain(t, 300*time.Millisecond); len(got) != 1 {
		t.Fatalf("with iot:Receive: %v", got)
	}
	check(t, l.Close())

	check(t, second(shared.iot.DetachPolicy(t.Context(), &iot.DetachPolicyInput{PolicyName: &d.policy, Target: aws.String(d.certARN)})))
	d.grant(t, allow([]string{"iot:Connect", "iot:Subscribe"}, "*"))
	publish("two, while it is away")
	time.Sleep(1100 * time.Millisecond) // one CONNECT a second
	l = d.open(t, s)
	if got := l.drain(t, 300*time.Millisecond); len(got) != 0 {
		t.Errorf("without iot:Receive, from before: %v", got)
	}
	publish("three")
	if got := l.drain(t, 300*time.Millisecond); len(got) != 0 {
		t.Errorf("without iot:Receive: %v", got)
	}
	d.denied(t, "iot:Receive", "topic/"+up)
}
