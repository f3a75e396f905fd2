//go:build e2e

package e2e_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"testing"
)

// TestEveryOperation calls each operation of the control plane that the table
// calls built, with boto3 and with the AWS CLI.
func TestEveryOperation(t *testing.T) {
	t.Parallel()
	need(t, "python3", "aws", "openssl")
	b, err := json.Marshal(builtOperations(t, "iot", "iam", "sts", "iot-data"))
	check(t, err)
	for _, by := range []string{"boto3", "cli"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			s := start(t) // settings of the whole account are changed
			env := s.environ("PYTHONDONTWRITEBYTECODE=1", "PREFIX="+unique("every"), "BY="+by, "BUILT="+string(b))
			runIn(t, t.TempDir(), env, "python3", testdata(t, "operations.py"))
		})
	}
}

// builtOperations reads the table that is made of the operations' rows.
func builtOperations(t *testing.T, services ...string) map[string][]string {
	t.Helper()
	b, err := os.ReadFile("../docs/compatibility.md")
	check(t, err)
	built, service := map[string][]string{}, ""
	for _, m := range regexp.MustCompile(`(?m)^(?:## (\S+)|\| (\w+) \| built \|)`).FindAllStringSubmatch(string(b), -1) {
		if m[1] != "" {
			service = m[1]
		} else if slices.Contains(services, service) {
			built[service] = append(built[service], m[2])
		}
	}
	for _, s := range services {
		if len(built[s]) == 0 {
			t.Fatalf("nothing of %s is built, says docs/compatibility.md", s)
		}
	}
	return built
}
