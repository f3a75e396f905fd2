package registry

import (
	"strconv"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/policy"
)

// Keys answers the condition keys and variables of one AWS IoT decision. It
// serves one request and is not safe for concurrent use.
//
// Sources: the developer guide's pages basic-policy-variables,
// thing-policy-variables and cert-policy-variables.
type Keys struct {
	Thing       *AttachedThing // nil where thing variables do not resolve
	NoThing     string         // why Thing is nil
	Certificate policy.Keys    // the certificate's variables; nil for none

	ClientID          string   // "" where the request has none: everything but MQTT
	ConnectAttributes []string // Connect only
	DomainName        string
	SourceIP          string // a public listener
	SourceVPCE        string // the closed network
	VPCSourceIP       string // likewise
	Now               time.Time

	currentTime, epochTime string // made when first asked for
}

// Lookup returns the values of a key.
func (k *Keys) Lookup(key string) policy.Values {
	switch {
	case strings.HasPrefix(key, "iot:connection.thing."):
		return k.thing(key[len("iot:connection.thing."):])
	case strings.HasPrefix(key, "iot:certificate"):
		if k.Certificate == nil {
			return policy.Absent("the principal is not a certificate")
		}
		return k.Certificate.Lookup(key)
	case strings.HasPrefix(key, "aws:"):
		return k.aws(key)
	}
	switch key {
	case "iot:clientid":
		return present(k.ClientID, "the request has no MQTT client ID")
	case "iot:thing.thingname": // as some of AWS's examples write it
		return k.thing("thingname")
	case "iot:domainname":
		return present(k.DomainName, "the connection named no host")
	case "iot:connectattributes":
		if k.ConnectAttributes == nil {
			return policy.Absent("the connection asks for neither persistence nor a will, or the request is no Connect")
		}
		return policy.Many(k.ConnectAttributes)
	}
	return policy.Values{}
}

func (k *Keys) thing(name string) policy.Values {
	if name == "isattached" {
		return policy.One(strconv.FormatBool(k.Thing != nil))
	}
	if k.Thing == nil {
		return policy.Absent(k.NoThing)
	}
	switch name {
	case "thingname":
		return policy.One(string(k.Thing.Name))
	case "thingtypename":
		return present(k.Thing.TypeName, "the thing has no type")
	}
	if a, ok := strings.CutPrefix(name, "attributes["); ok && strings.HasSuffix(a, "]") {
		if v, ok := k.Thing.Attributes[a[:len(a)-1]]; ok {
			return policy.One(v)
		}
		return policy.Absent("the thing has no such attribute")
	}
	return policy.Values{}
}

func (k *Keys) aws(key string) policy.Values {
	switch key {
	case "aws:sourceip":
		return present(k.SourceIP, "the request did not come through a public listener")
	case "aws:sourcevpce":
		return present(k.SourceVPCE, "the request did not come through the closed network")
	case "aws:vpcsourceip":
		return present(k.VPCSourceIP, "the request did not come through the closed network")
	case "aws:securetransport":
		return policy.One("true")
	case "aws:currenttime":
		if k.currentTime == "" {
			k.currentTime = k.Now.UTC().Format(time.RFC3339)
		}
		return policy.One(k.currentTime)
	case "aws:epochtime":
		if k.epochTime == "" {
			k.epochTime = strconv.FormatInt(k.Now.Unix(), 10)
		}
		return policy.One(k.epochTime)
	}
	return policy.Values{}
}

func present(s, why string) policy.Values {
	if s == "" {
		return policy.Absent(why)
	}
	return policy.One(s)
}
