package servertest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// What a simulation costs is bounded, and so is its answer, however a policy is made.
func TestSecurityRule14_Simulator(t *testing.T) { //nolint:paralleltest // it measures time
	s := servertest.Start(t)
	list := func(of string, n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "&"+of, i+1)
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	const most = 131_072
	statements := func(int) string {
		one := `{"Effect":"Allow","Action":"*","Resource":"*"}`
		return `{"Version":"2012-10-17","Statement":[` + one + strings.Repeat(","+one, most/len(one)-100) + "]}"
	}
	conditions := func(doc int) string {
		b := []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:userid":"v"`)
		for i := 0; len(b) < most-100; i++ {
			b = fmt.Appendf(b, `,"AWS:RequestTag/%d-%d":"v"`, doc, i)
		}
		return string(b) + "}}}]}"
	}
	documents := func(document func(int) string) string {
		var b strings.Builder
		for i := range 7 {
			fmt.Fprintf(&b, "&PolicyInputList.member.%d=%s", i+1, plainForm(document(i)))
		}
		return b.String()
	}
	actions := list("ActionNames.member.%d=", 60, "s3:Get%d")
	for name, body := range map[string]string{
		"statements":   "Action=SimulateCustomPolicy&Version=2010-05-08" + documents(statements) + actions,
		"keys":         "Action=SimulateCustomPolicy&Version=2010-05-08" + documents(conditions) + actions,
		"keys, listed": "Action=GetContextKeysForCustomPolicy&Version=2010-05-08" + documents(conditions),
	} {
		began := time.Now()
		status, answer := s.Do(servertest.Admin(), servertest.Request{
			Method: http.MethodPost, Target: "/", Service: "iam", Body: body, Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
		})
		if took := time.Since(began); status != http.StatusOK || took > 20*time.Second || len(answer) > 16<<20 {
			t.Errorf("%s: %d after %v, %d KiB: %.2000s", name, status, took, len(answer)>>10, answer)
		}
	}
}

// plainForm escapes what a form must, and no more.
func plainForm(s string) string {
	return strings.NewReplacer("%", "%25", "&", "%26", "+", "%2B", ";", "%3B").Replace(s)
}
