package api

import (
	"testing"

	"github.com/sekisho-iot/sekisho/internal/policy"
)

// iot:ConnectAttributes is a list, so that ForAllValues and ForAnyValue are explained.
func TestImaginedConnectAttributes(t *testing.T) {
	t.Parallel()
	p := mustPolicy(t, policy.IoT, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:Connect","Resource":"*","Condition":{"ForAllValues:StringEquals":{"iot:ConnectAttributes":["PersistentConnect","LastWill"]}}},
		{"Effect":"Deny","Action":"iot:Connect","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"iot:ConnectAttributes":"LastWill"}}}]}`)
	for given, want := range map[string]string{
		"PersistentConnect": "allow", "PersistentConnect, LastWill": "explicitDeny", "LastWill": "explicitDeny",
		"PersistentConnect,Other": "implicitDeny", "": "allow", "PersistentConnect,LastWill,": "explicitDeny",
	} {
		keys := imagine(map[string]string{"iot:connectATTRIBUTES": given, "aws:SourceIp": "a,b"}, policy.KeyMap{"x": policy.One("y")})
		x := policy.Set{p}.Explain(&policy.Request{Action: "iot:Connect", Resource: "arn:aws:iot:us-east-1:1:client/c", Keys: keys})
		if got := decision(x.Decision); got != want {
			t.Errorf("%q: %s, want %s\n%s", given, got, want, x.String())
		}
		if keys.Lookup("aws:sourceip").One != "a,b" || keys.Lookup("x").One != "y" {
			t.Error("other keys have changed")
		}
	}
}
