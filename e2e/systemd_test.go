//go:build e2e && linux

package e2e_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	installed = "/usr/local/bin/sekisho-device" // where the units expect the agent
	exposure  = 1.5                             // the most that systemd-analyze may say, of 10
)

// directives are those that the units may use, by section.
var directives = map[string]string{ //nolint:gochecknoglobals // a table
	"Unit":    "Description Documentation Wants After StartLimitIntervalSec",
	"Install": "WantedBy",
	"Service": "Type User Group Environment EnvironmentFile LoadCredential ExecStart Restart RestartSec RestartPreventExitStatus " +
		"StateDirectory StateDirectoryMode CacheDirectory CacheDirectoryMode RuntimeDirectory RuntimeDirectoryMode ReadWritePaths MemoryMax TasksMax " +
		"CapabilityBoundingSet LockPersonality MemoryDenyWriteExecute NoNewPrivileges PrivateDevices PrivateTmp ProcSubset ProtectClock " +
		"ProtectControlGroups ProtectHome ProtectHostname ProtectKernelLogs ProtectKernelModules ProtectKernelTunables ProtectProc ProtectSystem " +
		"RemoveIPC RestrictAddressFamilies RestrictNamespaces RestrictRealtime RestrictSUIDSGID SystemCallArchitectures SystemCallFilter " +
		"SystemCallErrorNumber UMask",
}

// unit is a unit file: section and directive to its values.
type unit map[string][]string

func readUnit(t *testing.T, path string) unit {
	t.Helper()
	b, err := os.ReadFile(path)
	check(t, err)
	u, section := unit{}, ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
		default:
			name, value, ok := strings.Cut(line, "=")
			if !ok || !slices.Contains(strings.Fields(directives[section]), name) {
				t.Errorf("%s: %q in [%s]", filepath.Base(path), line, section)
			}
			u[section+"."+name] = append(u[section+"."+name], value)
		}
	}
	return u
}

func units(t *testing.T) map[string]string {
	t.Helper()
	found, err := filepath.Glob("../packaging/systemd/sekisho-device-*.service")
	check(t, err)
	all := map[string]string{}
	for _, path := range found {
		all[strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "sekisho-device-"), ".service")] = path
	}
	if len(all) != 2 {
		t.Fatalf("units: %v", found)
	}
	return all
}

// TestSystemdUnits: systemd knows what stands in them and finds little exposed,
// and the agent knows the flags.
func TestSystemdUnits(t *testing.T) {
	t.Parallel()
	bin, _ := filepath.Abs("../bin/sekisho-device")
	for command, path := range units(t) {
		u := readUnit(t, path)
		words := strings.Fields(u["Service.ExecStart"][0])
		if words[0] != installed || words[1] != command {
			t.Errorf("%s: %v", path, words)
		}
		help := runIn(t, t.TempDir(), nil, bin, command, "--help")
		for _, w := range words[2:] {
			if strings.HasPrefix(w, "--") && !strings.Contains(help, "\n  "+w+" ") && !strings.Contains(help, "\n  "+w+"\n") {
				t.Errorf("%s: the agent knows no %s", path, w)
			}
		}
		if _, err := exec.LookPath("systemd-analyze"); err != nil {
			t.Log("systemd-analyze is not on this machine: names of directives and flags are checked alone")
			continue
		}
		b, err := os.ReadFile(path)
		check(t, err)
		here := filepath.Join(t.TempDir(), filepath.Base(path))
		check(t, os.WriteFile(here, bytes.ReplaceAll(b, []byte(installed), []byte(bin)), 0o600))
		if out, errs, err := try(t, t.TempDir(), os.Environ(), "systemd-analyze", "verify", "--man=no", here); err != nil || out+errs != "" {
			t.Errorf("%s: %v\n%s%s", path, err, out, errs)
		}
		out := runIn(t, t.TempDir(), os.Environ(), "systemd-analyze", "security", "--offline=true", "--no-pager", here)
		m := regexp.MustCompile(`exposure level for \S+: ([0-9.]+)`).FindStringSubmatch(out)
		if m == nil {
			t.Fatal(out)
		}
		if n, err := strconv.ParseFloat(m[1], 64); err != nil || n > exposure {
			t.Errorf("%s: exposure %s, more than %v\n%s", path, m[1], exposure, out)
		}
	}
}

// TestSystemdWatch runs the command of the unit with what systemd would give it:
// copies of device.json and the keys in a folder that cannot be written, and
// folders for state and cache.
func TestSystemdWatch(t *testing.T) {
	t.Parallel()
	c := newCamera(t)
	u := readUnit(t, units(t)["watch"])
	env := map[string]string{}
	for name, dir := range map[string]string{"CREDENTIALS_DIRECTORY": "credentials", "STATE_DIRECTORY": "state", "CACHE_DIRECTORY": "cache", "SEKISHO_WATCH_FOLDER": "in"} {
		env[name] = c.path(dir)
		check(t, os.Mkdir(c.path(dir), 0o700))
	}
	for _, l := range u["Service.LoadCredential"] {
		id, from, _ := strings.Cut(l, ":")
		b := c.read(filepath.Join("out", filepath.Base(from)))
		check(t, os.WriteFile(c.path("credentials/"+id), b, 0o400))
	}
	check(t, os.Chmod(c.path("credentials"), 0o500))
	t.Cleanup(func() { _ = os.Chmod(c.path("credentials"), 0o700) })
	words := strings.Fields(os.Expand(u["Service.ExecStart"][0], func(name string) string { return env[name] }))
	cmd := exec.CommandContext(t.Context(), c.bin, words[1:]...)
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	check(t, cmd.Start())
	check(t, os.WriteFile(c.path("in/clip.mp4"), c.read("clip.mp4"), 0o600))
	arrived := func() bool {
		_, err := os.Stat(c.path("in/clip.mp4"))
		return os.IsNotExist(err)
	}
	for deadline := time.Now().Add(30 * time.Second); !arrived() && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
	}
	check(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := cmd.Wait(); err != nil || !arrived() {
		t.Errorf("%v\n%s", err, &out)
	}
	_, err := shared.s3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &c.bucket, Key: aws.String(c.thing + "/clip.mp4")})
	check(t, err)
	for _, pattern := range []string{"state/spool-*/journal", "cache/credentials/creds-*.json"} {
		if found, err := filepath.Glob(c.path(pattern)); err != nil || len(found) != 1 {
			t.Errorf("%s: %v, %v", pattern, found, err)
		}
	}
}
