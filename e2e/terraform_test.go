//go:build e2e

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iot"
)

// pluginDir finds a folder with an unpacked mirror of hashicorp/aws 5.100.0:
// SEKISHO_E2E_TERRAFORM_PLUGINS, or one of the usual places.
func pluginDir(t *testing.T) string {
	t.Helper()
	home, _ := os.UserHomeDir()
	for _, pattern := range []string{
		os.Getenv("SEKISHO_E2E_TERRAFORM_PLUGINS"), filepath.Join(home, ".terraform.d", "plugins"),
		"/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins", "/opt/*",
	} {
		found, _ := filepath.Glob(filepath.Join(pattern, "*", "hashicorp", "aws", "5.100.0"))
		if pattern != "" && len(found) > 0 {
			return filepath.Join(found[0], "..", "..", "..", "..")
		}
	}
	t.Skip("no mirror of the Terraform provider hashicorp/aws 5.100.0 on this machine")
	return ""
}

// TestTerraform: apply, an empty second plan, a change in place, destroy.
func TestTerraform(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Skip("terraform is not on this machine, and no package of Debian has it")
	}
	plugins := pluginDir(t)
	s := start(t)
	dir := t.TempDir()
	config, err := os.ReadFile(testdata(t, "terraform/main.tf"))
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "main.tf"), config, 0o600))
	env := s.environ("TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1", "TF_CLI_CONFIG_FILE=")
	tf := func(args ...string) string { return runIn(t, dir, env, "terraform", args...) }
	tf("init", "-no-color", "-input=false", "-plugin-dir="+plugins)
	tf("apply", "-no-color", "-input=false", "-auto-approve")
	if got := strings.TrimSpace(tf("output", "-raw", "endpoint")); got != s.credentialEndpoint() {
		t.Errorf("endpoint %q", got)
	}
	// -detailed-exitcode: 0 means that there is nothing to change.
	tf("plan", "-no-color", "-input=false", "-detailed-exitcode")
	tf("apply", "-no-color", "-input=false", "-auto-approve", "-var", "site=kyoto")
	tf("plan", "-no-color", "-input=false", "-detailed-exitcode", "-var", "site=kyoto")
	thing, err := s.iot.DescribeThing(t.Context(), &iot.DescribeThingInput{ThingName: new("tf-camera")})
	check(t, err)
	if thing.Attributes["site"] != "kyoto" {
		t.Errorf("attributes %v", thing.Attributes)
	}
	tf("destroy", "-no-color", "-input=false", "-auto-approve")
	things, err := s.iot.ListThings(t.Context(), &iot.ListThingsInput{})
	check(t, err)
	certificates, err := s.iot.ListCertificates(t.Context(), &iot.ListCertificatesInput{})
	check(t, err)
	roles, err := s.iam.ListRoles(t.Context(), &iam.ListRolesInput{})
	check(t, err)
	groups, err := s.iot.ListThingGroups(t.Context(), &iot.ListThingGroupsInput{})
	check(t, err)
	if len(things.Things)+len(certificates.Certificates)+len(roles.Roles)+len(groups.ThingGroups) != 0 {
		t.Errorf("left: %d things, %d certificates, %d roles, %d groups", len(things.Things), len(certificates.Certificates), len(roles.Roles), len(groups.ThingGroups))
	}
}
