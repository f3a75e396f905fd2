package conformance

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// match compares a received packet with what a script expects, and returns
// what differs. last is the identifier of the packet that p answers.
func match(p mqtt.Packet, kind string, list []arg, last uint16, vars map[string]uint16) error {
	a := &args{list: list}
	if got := strings.Fields(describe(p))[0]; got != kind {
		return fmt.Errorf("it is no %s", kind)
	}
	var err error
	switch p := p.(type) {
	case *mqtt.Connack:
		err = join(expect(a, "code", uint32(p.Code), "0"), expect(a, "present", bit(p.SessionPresent), "*"), matchProperties(a, p.Properties, false))
	case *mqtt.Publish:
		err = matchPublish(a, p, vars)
	case *mqtt.Ack:
		err = join(matchID(a, p.ID, last, vars), expect(a, "code", uint32(p.Code), "0"), matchProperties(a, p.Properties, false))
	case *mqtt.Suback:
		err = join(matchID(a, p.ID, last, vars), matchCodes(a, p.Codes), matchProperties(a, p.Properties, false))
	case *mqtt.Unsuback:
		err = join(matchID(a, p.ID, last, vars), matchCodes(a, p.Codes), matchProperties(a, p.Properties, false))
	case *mqtt.Disconnect:
		err = join(expect(a, "code", uint32(p.Code), "0"), matchProperties(a, p.Properties, false))
	}
	return join(err, a.end())
}

// join is the first error.
func join(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func bit(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// expect compares a number.
func expect(a *args, name string, got uint32, absent string) error {
	want, _ := a.text(name, absent)
	ok, err := among(got, want)
	if err == nil && !ok {
		err = fmt.Errorf("%s is %#x, want %s", name, got, want)
	}
	return err
}

// among reports whether a number is one of "1|2|3", or any for "*".
func among(got uint32, want string) (bool, error) {
	if want == "*" {
		return true, nil
	}
	for s := range strings.SplitSeq(want, "|") {
		n, err := strconv.ParseUint(s, 0, 32)
		if err != nil {
			return false, err
		}
		if uint32(n) == got {
			return true, nil
		}
	}
	return false, nil
}

// matchID compares a packet identifier: with last unless the script names one.
func matchID(a *args, got, last uint16, vars map[string]uint16) error {
	absent := "*"
	if last != 0 {
		absent = strconv.Itoa(int(last))
	}
	want, _ := a.text("id", absent)
	if got == 0 {
		return fmt.Errorf("packet identifier 0")
	}
	if name, ok := strings.CutPrefix(want, "!$"); ok {
		if vars[name] == got {
			return fmt.Errorf("id is %d, which is $%s", got, name)
		}
		return nil
	}
	name, isVar := strings.CutPrefix(want, "$")
	if !isVar {
		a.list = append(slices.Clone(a.list), arg{name: "id", value: want})
		return expect(a, "id", uint32(got), "")
	}
	if n, ok := vars[name]; ok && n != got {
		return fmt.Errorf("id is %d, want $%s, which is %d", got, name, n)
	}
	vars[name] = got
	return nil
}

// matchCodes compares reason codes; no values means that they do not count.
func matchCodes(a *args, got []mqtt.ReasonCode) error {
	want := a.rest()
	if len(want) == 0 {
		return nil
	}
	if len(want) != len(got) {
		return fmt.Errorf("%d reason codes, want %d", len(got), len(want))
	}
	for i := range want {
		if ok, err := among(uint32(got[i]), want[i]); err != nil || !ok {
			return fmt.Errorf("reason code %d is %#x, want %s", i+1, byte(got[i]), want[i])
		}
	}
	return nil
}

func matchPublish(a *args, p *mqtt.Publish, vars map[string]uint16) error {
	topic, _ := a.next()
	payload, named := a.next()
	switch {
	case topic != "*" && topic != string(p.Topic):
		return fmt.Errorf("topic %q, want %q", short(p.Topic), short([]byte(topic)))
	case (named || payload != "*") && payload != "*" && payload != string(p.Payload):
		return fmt.Errorf("payload %q, want %q", short(p.Payload), short([]byte(payload)))
	}
	err := join(expect(a, "qos", uint32(p.QoS), "0"), expect(a, "dup", bit(p.Dup), "0"), expect(a, "retain", bit(p.Retain), "0"))
	if err == nil && p.QoS > 0 {
		err = matchID(a, p.ID, 0, vars)
	}
	return join(err, matchProperties(a, p.Properties, true))
}

// matchProperties compares properties. Those of user properties and
// subscription identifiers may be several: user properties keep their order.
func matchProperties(a *args, got mqtt.Properties, exact bool) error {
	_, any := a.text("props", "")
	var left []arg
	var users []string
	named := map[mqtt.PropertyID][]string{}
	for _, x := range a.list {
		if name, ok := strings.CutPrefix(x.name, "user:"); ok {
			users = append(users, name+"="+x.value)
			named[mqtt.UserProperty] = nil
		} else if id, ok := propertyNames()[x.name]; ok {
			named[id] = append(named[id], x.value)
		} else {
			left = append(left, x)
		}
	}
	a.list = left
	have := map[mqtt.PropertyID][]mqtt.Property{}
	for x := range got.All() {
		have[x.ID] = append(have[x.ID], x)
		if _, ok := named[x.ID]; !ok && exact && !any {
			return fmt.Errorf("unexpected property %s", x.ID)
		}
	}
	if _, ok := named[mqtt.UserProperty]; ok {
		if err := matchUsers(have[mqtt.UserProperty], users); err != nil {
			return err
		}
		delete(named, mqtt.UserProperty)
	}
	for id, want := range named {
		if err := matchProperty(id, have[id], want); err != nil {
			return err
		}
	}
	return nil
}

func matchUsers(got []mqtt.Property, want []string) error {
	var have []string
	for _, x := range got {
		have = append(have, string(x.Name)+"="+string(x.Value))
	}
	if !slices.Equal(have, want) {
		return fmt.Errorf("user properties %q, want %q", have, want)
	}
	return nil
}

func matchProperty(id mqtt.PropertyID, got []mqtt.Property, want []string) error {
	if want[0] == "-" {
		if len(got) > 0 {
			return fmt.Errorf("there is a %s", id)
		}
		return nil
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d times %s, want %d", len(got), id, len(want))
	}
	for _, x := range got {
		if !slices.ContainsFunc(want, func(w string) bool { return matchValue(x, w) }) {
			return fmt.Errorf("%s is %d %q, want %s", id, x.Number, x.Value, strings.Join(want, " and "))
		}
	}
	return nil
}

// matchValue compares one value: "*" is any, "3..5" a range.
func matchValue(x mqtt.Property, want string) bool {
	if want == "*" {
		return len(x.Value) > 0 || x.Number > 0
	}
	if x.Value != nil {
		return string(x.Value) == want
	}
	if low, high, ok := strings.Cut(want, ".."); ok {
		from, err1 := strconv.ParseUint(low, 0, 32)
		to, err2 := strconv.ParseUint(high, 0, 32)
		return err1 == nil && err2 == nil && uint64(x.Number) >= from && uint64(x.Number) <= to
	}
	ok, err := among(x.Number, want)
	return err == nil && ok
}
