//go:build bench

package bench_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

// uploader is a device that uploads with `sekisho device upload`, and with the
// AWS CLI and the same credentials.
type uploader struct {
	server *process.Server
	bin    string
	dir    string   // of its files
	config string   // device.json
	s3     string   // endpoint
	cli    []string // environment of the AWS CLI
	n      int      // uploads so far
}

// agent compares one large upload with `aws s3 cp`, and times many small ones.
func (s *settings) agent(ctx context.Context, dir string) error {
	server, err := process.Start(ctx, filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	defer server.Kill() //nolint:errcheck // the folder goes with it
	u, err := newUploader(ctx, server, dir)
	if err != nil {
		return err
	}
	if err := u.large(ctx, s.rounds); err != nil {
		return err
	}
	rows := [][]string{{"1,000 files of", "files/s", "goal", "CPU of the agent, a file", "of the server, a file", "agent's memory"}}
	for _, c := range []struct {
		size int
		goal string
	}{{20 << 10, "≥ 2000"}, {200 << 10, "≥ 200"}} {
		row, err := u.many(ctx, s.rounds, 1000, c.size)
		if err != nil {
			return err
		}
		rows = append(rows, append(row[:2:2], append([]string{c.goal}, row[2:]...)...))
	}
	table("`device upload`: spool, messages and the ledger included, from start to exit", rows...)
	_, err = server.Stop()
	return err
}

// newUploader enrols the device by the command.
func newUploader(ctx context.Context, server *process.Server, dir string) (*uploader, error) {
	const trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"credentials.iot.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	const grant = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:PutObject","s3:AbortMultipartUpload","s3:ListMultipartUploadParts"],"Resource":"arn:aws:s3:::bench/${credentials-iot:ThingName}/*"}]}`
	name, c := aws.String("bench"), config(server)
	a := iam.NewFromConfig(c)
	role, err := a.CreateRole(ctx, &iam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: aws.String(trust)})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(
		second(a.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: name, PolicyName: name, PolicyDocument: aws.String(grant)})),
		second(iot.NewFromConfig(c).CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{RoleAlias: name, RoleArn: role.Role.Arn})),
		second(s3.NewFromConfig(c, func(o *s3.Options) { o.UsePathStyle = true }).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: name})),
	); err != nil {
		return nil, err
	}
	bin, err := process.Binary()
	if err != nil {
		return nil, err
	}
	u := &uploader{server: server, bin: filepath.Join(filepath.Dir(bin), "sekisho-device"), dir: filepath.Join(dir, "files"), config: filepath.Join(dir, "device", "device.json")}
	if err := os.Mkdir(u.dir, 0o700); err != nil {
		return nil, err
	}
	env := process.CleanEnv()
	for k, v := range server.Env {
		env = append(env, k+"="+v)
	}
	if _, err := run(ctx, env, bin, "enroll", "bench", "--role-alias", "bench", "--uploads", "bench", "--out", filepath.Dir(u.config)); err != nil {
		return nil, err
	}
	// On loopback enroll writes http; devices elsewhere have https.
	b, err := os.ReadFile(u.config)
	if err != nil {
		return nil, err
	}
	u.s3 = strings.Replace(server.Env["AWS_ENDPOINT_URL"], "http:", "https:", 1)
	b = bytes.ReplaceAll(b, []byte(server.Env["AWS_ENDPOINT_URL"]), []byte(u.s3))
	if !bytes.Contains(b, []byte(u.s3)) {
		return nil, fmt.Errorf("%s does not name %s", u.config, server.Env["AWS_ENDPOINT_URL"])
	}
	if err := os.WriteFile(u.config, b, 0o600); err != nil {
		return nil, err
	}
	return u, u.awsCLI(ctx)
}

// awsCLI gives the AWS CLI the device's credentials, and the endpoint that the
// agent uses.
func (u *uploader) awsCLI(ctx context.Context) error {
	out, err := run(ctx, u.environ(), u.bin, "credentials", "--config", u.config)
	if err != nil {
		return err
	}
	var c struct{ AccessKeyID, SecretAccessKey, SessionToken string }
	if err := json.Unmarshal(out.stdout, &c); err != nil {
		return err
	}
	u.cli = append(process.CleanEnv(), "AWS_ACCESS_KEY_ID="+c.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+c.SecretAccessKey, "AWS_SESSION_TOKEN="+c.SessionToken,
		"AWS_REGION="+region, "AWS_DEFAULT_REGION="+region, "AWS_ENDPOINT_URL="+u.s3, "AWS_CA_BUNDLE="+u.server.Env["SEKISHO_ROOT_CA"],
		"AWS_CONFIG_FILE=/nonexistent", "AWS_SHARED_CREDENTIALS_FILE=/nonexistent")
	return nil
}

// environ has the agent keep its spool and credentials beside its files.
func (u *uploader) environ() []string {
	return append(process.CleanEnv(), "XDG_STATE_HOME="+u.dir+"/state", "XDG_CACHE_HOME="+u.dir+"/cache")
}

// ended is what a command took.
type ended struct {
	stdout    []byte
	took, cpu time.Duration
	memory    int64 // most resident bytes
}

// pause is more than the second that must lie between two CONNECTs of a client ID.
const pause = 1200 * time.Millisecond

func run(ctx context.Context, env []string, name string, args ...string) (ended, error) {
	time.Sleep(pause)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = env
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	begun := time.Now()
	if err := cmd.Run(); err != nil {
		return ended{}, fmt.Errorf("%s: %w: %s", filepath.Base(name), err, errOut.String())
	}
	e := ended{stdout: []byte(out.String()), took: time.Since(begun), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		e.memory = u.Maxrss << 10
	}
	return e, nil
}

// large sends a file of 1 GiB by the agent and by the AWS CLI, in turns.
func (u *uploader) large(ctx context.Context, rounds int) error {
	if _, err := exec.LookPath("aws"); err != nil {
		fmt.Println("\nThe AWS CLI is not on the path: nothing to compare a large upload with.")
		return nil
	}
	path := filepath.Join(u.dir, "large")
	if err := u.file(path, 1<<30); err != nil {
		return err
	}
	var ratios []float64
	sides := []*side{
		{name: "`sekisho device upload`", run: func() (ended, error) {
			return run(ctx, u.environ(), u.bin, "upload", "--config", u.config, path)
		}},
		{name: "`aws s3 cp`", run: func() (ended, error) {
			return run(ctx, u.cli, "aws", "s3", "cp", "--only-show-errors", path, "s3://bench/bench/large")
		}},
	}
	for range min(rounds, 3) { // 1 GiB each
		for _, c := range sides {
			if err := c.once(u.server.PID()); err != nil {
				return err
			}
		}
		last := len(sides[0].took) - 1
		ratios = append(ratios, sides[1].took[last]/sides[0].took[last])
	}
	rows := [][]string{{"1 GiB", "seconds", "times as fast", "goal", "CPU", "server's CPU", "most memory"}}
	for i, c := range sides {
		row := []string{c.name, fmt.Sprintf("%.1f", median(c.took)), "1", "", fmt.Sprintf("%.1f s", median(c.cpu)), fmt.Sprintf("%.1f s", median(c.serverCPU)), fmt.Sprintf("%.0f MB", median(c.memory))}
		if i == 0 {
			row[2], row[3] = fmt.Sprintf("%.2f", median(ratios)), "≥ 1.2"
		}
		rows = append(rows, row)
	}
	table("One large file, over HTTPS with the device's credentials", rows...)
	return os.Remove(path)
}

// side is one way to send a file.
type side struct {
	name                         string
	run                          func() (ended, error)
	took, cpu, serverCPU, memory []float64
}

func (c *side) once(server int) error {
	before, err := process.CPU(server)
	if err != nil {
		return err
	}
	e, err := c.run()
	if err != nil {
		return err
	}
	after, err := process.CPU(server)
	c.took, c.cpu = append(c.took, e.took.Seconds()), append(c.cpu, e.cpu.Seconds())
	c.serverCPU, c.memory = append(c.serverCPU, (after-before).Seconds()), append(c.memory, float64(e.memory)/(1<<20))
	return err
}

// many sends files of one size by one command.
func (u *uploader) many(ctx context.Context, rounds, count, size int) ([]string, error) {
	s := &side{}
	for range rounds {
		u.n++
		dir := filepath.Join(u.dir, fmt.Sprint(u.n))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		args := []string{"upload", "--config", u.config}
		for i := range count {
			path := filepath.Join(dir, fmt.Sprintf("%d-%04d", u.n, i))
			if err := u.file(path, size); err != nil {
				return nil, err
			}
			args = append(args, path)
		}
		s.run = func() (ended, error) {
			e, err := run(ctx, u.environ(), u.bin, args...)
			if n := strings.Count(string(e.stdout), "\n"); err == nil && n != count {
				err = fmt.Errorf("%d of %d files arrived", n, count)
			}
			return e, err
		}
		if err := errors.Join(s.once(u.server.PID()), os.RemoveAll(dir)); err != nil {
			return nil, err
		}
	}
	each := func(seconds float64) string {
		return micro(time.Duration(seconds / float64(count) * float64(time.Second)))
	}
	return []string{
		fmt.Sprintf("%d KiB", size>>10), fmt.Sprintf("%.0f", float64(count)/median(s.took)),
		each(median(s.cpu)), each(median(s.serverCPU)), fmt.Sprintf("%.0f MB", median(s.memory)),
	}, nil
}

func (u *uploader) file(path string, size int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.Reader, int64(size))
	return errors.Join(err, f.Close())
}
