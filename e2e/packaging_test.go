//go:build e2e && linux

package e2e_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

// probe is where a kubelet asks.
type probe struct {
	HTTPGet struct{ Path, Port, Scheme string } `yaml:"httpGet"`
}

// statefulSet is what the test looks at of the manifest.
type statefulSet struct {
	Kind string
	Data map[string]string // of the ConfigMap
	Spec struct {
		Template struct {
			Spec struct {
				Grace    int `yaml:"terminationGracePeriodSeconds"`
				Security struct {
					User  uint32 `yaml:"runAsUser"`
					Group uint32 `yaml:"runAsGroup"`
				} `yaml:"securityContext"`
				Containers []struct {
					Args      []string
					Startup   probe `yaml:"startupProbe"`
					Liveness  probe `yaml:"livenessProbe"`
					Readiness probe `yaml:"readinessProbe"`
				}
			}
		}
	}
}

// TestContainer runs the program as the Dockerfile and the Kubernetes manifest
// would: their settings, their user, a volume that belongs to root and the
// user's group, their probes, and their grace period.
func TestContainer(t *testing.T) {
	t.Parallel()
	bin, err := process.Binary()
	check(t, err)
	packaging := filepath.Join(filepath.Dir(filepath.Dir(bin)), "packaging")
	manifest, err := os.Open(filepath.Join(packaging, "kubernetes", "sekisho.yaml"))
	check(t, err)
	defer shut(t, manifest)
	var set statefulSet
	env := process.CleanEnv()
	for d := yaml.NewDecoder(manifest); ; {
		var doc statefulSet
		if err := d.Decode(&doc); errors.Is(err, io.EOF) {
			break
		} else {
			check(t, err)
		}
		for k, v := range doc.Data {
			env = append(env, k+"="+v)
		}
		if doc.Kind == "StatefulSet" {
			set = doc
		}
	}
	pod := &set.Spec.Template.Spec
	dockerfile, err := os.ReadFile(filepath.Join(packaging, "docker", "Dockerfile"))
	check(t, err)
	volume := filepath.Join(t.TempDir(), "data")
	data := ""
	for _, setting := range regexp.MustCompile(`(?m)^(?:ENV| +) *(SEKISHO_\w+)=(\S*)`).FindAllStringSubmatch(string(dockerfile), -1) {
		value := regexp.MustCompile(`:\d+$`).ReplaceAllString(setting[2], ":0")
		if setting[1] == "SEKISHO_DATA" {
			value = volume + strings.TrimPrefix(value, "/data")
			data = value
		}
		env = append(env, setting[1]+"="+value)
	}
	if data == "" || len(pod.Containers) != 1 {
		t.Fatalf("read %q and %+v", env, pod)
	}
	check(t, os.Mkdir(volume, 0o770))
	cmd := exec.CommandContext(t.Context(), bin, pod.Containers[0].Args...)
	cmd.Env, cmd.Dir = env, "/"
	var log bytes.Buffer
	cmd.Stderr = &log
	if os.Geteuid() == 0 {
		id := pod.Security
		for dir := filepath.Dir(volume); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
			check(t, os.Chmod(dir, 0o755)) // a test's folder is root's alone
		}
		check(t, os.Chown(volume, 0, int(id.Group)))
		check(t, os.Chmod(volume, 0o775|os.ModeSetgid))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id.User, Gid: id.Group}}
		copied := filepath.Join(filepath.Dir(volume), "sekisho") // the tree may be closed to others
		b, err := os.ReadFile(bin)
		check(t, err)
		check(t, os.WriteFile(copied, b, 0o755))
		cmd.Path = copied
	}
	check(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	var endpoints struct{ API string }
	for deadline := time.Now().Add(20 * time.Second); endpoints.API == ""; time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-ended:
			t.Fatalf("it ended: %v\n%s", err, log.String())
		default:
		}
		if b, err := os.ReadFile(filepath.Join(data, "endpoints.json")); err == nil {
			check(t, json.Unmarshal(b, &endpoints))
		} else if time.Now().After(deadline) {
			t.Fatalf("it did not start: %v", err)
		}
	}
	port := endpoints.API[strings.LastIndexByte(endpoints.API, ':'):]
	kubelet := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // as a kubelet does
	c := &pod.Containers[0]
	for _, p := range []probe{c.Startup, c.Liveness, c.Readiness} {
		probe := p.HTTPGet
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.ToLower(probe.Scheme)+"://127.0.0.1"+port+probe.Path, http.NoBody)
		check(t, err)
		if got, err := exchange(kubelet, req); err != nil || got.status != http.StatusOK {
			t.Errorf("probe %+v: %+v, %v", probe, got, err)
		}
	}
	check(t, cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-ended:
		check(t, err)
	case <-time.After(time.Duration(pod.Grace) * time.Second):
		t.Error("it did not end within the grace period")
	}
}

// TestUnitSettings: a server can start with the settings that the systemd unit comes with.
func TestUnitSettings(t *testing.T) {
	t.Parallel()
	bin, err := process.Binary()
	check(t, err)
	config := filepath.Join(filepath.Dir(filepath.Dir(bin)), "packaging", "systemd", "sekisho.yaml")
	out, _, _ := try(t, t.TempDir(), process.CleanEnv(), bin, "doctor", "--config", config, "--data", "new") // the example's name does not resolve
	if !strings.Contains(out, "ok    settings") {
		t.Errorf("doctor says\n%s", out)
	}
}
