package device

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
	"github.com/sekisho-iot/sekisho/internal/agent/clock"
	"github.com/sekisho-iot/sekisho/internal/agent/config"
	"github.com/sekisho-iot/sekisho/internal/agent/credential"
	"github.com/sekisho-iot/sekisho/internal/agent/notify"
	"github.com/sekisho-iot/sekisho/internal/agent/pace"
	"github.com/sekisho-iot/sekisho/internal/agent/spool"
	agent "github.com/sekisho-iot/sekisho/internal/agent/upload"
)

const (
	uploadPatience = 20 * time.Second // for new credentials while older ones still do
	dialTimeout    = 15 * time.Second
	closeTimeout   = 3 * time.Second
	mqttPort       = "8883" // which is MQTT's alone
)

// agentFlags are those of upload and watch.
type agentFlags struct {
	config, cache, spool string
	bucket, topic, key   string // else device.json's, else the default
	inlineMax, partSize  size
	bandwidth            size
	order                string
	settings             agent.Settings
	dial                 credential.Dial // of tests; nil: TCP
}

func (f *agentFlags) add(fs *cli.Flags) {
	f.settings = agent.DefaultSettings()
	f.inlineMax = agent.DefaultInlineMax
	fs.StringVar(&f.config, "config", "device.json", "`file` that enroll left: who the device is and where its server is")
	fs.StringVar(&f.bucket, "bucket", "", "`name` of the bucket for files that do not fit into a message; \"bucket\" of device.json\n        unless given")
	fs.StringVar(&f.topic, "topic", "", "MQTT `topic` of the messages; \"topic\" of device.json, or "+agent.DefaultTopic+", unless given")
	fs.StringVar(&f.settings.FailedTopic, "failed-topic", "", "MQTT `topic` for files that were given up; the other topic with /failed unless given")
	fs.StringVar(&f.key, "key", "", "`template` of the objects' keys, of {thing} {name} {yyyy} {mm} {dd} {uploadId};\n        \"keyTemplate\" of device.json, or "+agent.DefaultKey+", unless given")
	fs.Var(&f.inlineMax, "inline-max", "`bytes` that a file may have to be sent inside a message, up to 90KiB")
	fs.BoolVar(&f.settings.Plain, "plain", false, "send type and content or url alone, without name, size, sha256, thing and uploadId")
	fs.Var(&f.partSize, "part-size", "`bytes` of one part of a large file; 0 is 8MiB, or 16MiB of a file of 512MiB and more")
	fs.IntVar(&f.settings.Concurrency, "concurrency", f.settings.Concurrency, "requests to S3 at once, a `number`")
	fs.Var(&f.bandwidth, "bandwidth", "send at most so many `bytes` a second; 0 is no limit")
	fs.StringVar(&f.order, "order", "oldest", "which files go first: oldest or newest")
	fs.DurationVar(&f.settings.GiveUpAfter, "give-up-after", f.settings.GiveUpAfter, "give a file up that has made no progress for this `time`")
	fs.StringVar(&f.spool, "spool", "", "`folder` of what is accepted and not yet there; below $STATE_DIRECTORY,\n        $XDG_STATE_HOME/sekisho, ~/.local/state/sekisho or, for root, /var/lib/sekisho unless given")
	fs.StringVar(&f.cache, "cache", "", "`folder` of the credentials, see `device credentials --help`")
}

// size is a number of bytes as people write it: 51200, 50KiB, 2M.
type size int64

// String writes it in the largest unit that is exact.
func (s *size) String() string {
	n := int64(*s)
	for _, u := range []struct {
		name string
		of   int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.of && n%u.of == 0 {
			return strconv.FormatInt(n/u.of, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// Set reads it.
func (s *size) Set(text string) error {
	number, unit := text, int64(1)
	trimmed := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(text), "B"), "I")
	for suffix, of := range map[string]int64{"K": 1 << 10, "M": 1 << 20, "G": 1 << 30} {
		if n, ok := strings.CutSuffix(trimmed, suffix); ok {
			number, unit = n, of
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return errors.New("a number of bytes is needed, such as 51200, 50KiB or 8MiB")
	}
	*s = size(n * unit)
	return nil
}

// apparatus is an agent and what it stands on.
type apparatus struct {
	agent    *agent.Agent
	spool    *spool.Spool
	notifier *notify.Notifier
	closers  []func()
}

func (a *apparatus) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = a.notifier.Close(ctx) // what was to be acknowledged is
	for _, c := range a.closers {
		c()
	}
}

// build opens the spool and makes the agent. Nothing is sent yet.
func (f *agentFlags) build(ctx context.Context, t *cli.Terminal, tell func(agent.Event)) (_ *apparatus, err error) {
	c, err := config.Load(f.config)
	if err != nil {
		return nil, err
	}
	if err := f.settle(c); err != nil {
		return nil, err
	}
	if f.spool == "" {
		if f.spool, err = stateFolder(t, c); err != nil {
			return nil, err
		}
	}
	a := &apparatus{}
	k := clock.New(time.Now)
	provider, err := f.credentials(t, c, k, a)
	if err != nil {
		return nil, err
	}
	dial := f.dial
	if limiter := pace.New(int64(f.bandwidth), time.Now); dial == nil {
		dial = func(ctx context.Context, address string) (net.Conn, error) {
			return limiter.Dial(ctx, address, dialTimeout)
		}
	}
	mqtt, err := c.TLS(k.Now)
	if err != nil {
		return nil, err
	}
	if err := warnExpired(t, c, k.Now()); err != nil {
		return nil, err
	}
	if _, port, _ := net.SplitHostPort(c.Endpoints.MQTT); port != mqttPort {
		mqtt.NextProtos = []string{"x-amzn-mqtt-ca"} // where HTTP may be served as well, it tells MQTT from it
	}
	serverTLS, err := c.ServerTLS(k.Now)
	if err != nil {
		return nil, err
	}
	if a.spool, err = spool.Open(f.spool); err != nil {
		return nil, err
	}
	a.closers = append(a.closers, func() { _ = a.spool.Close() })
	a.notifier = notify.New(notify.Config{
		Address: c.Endpoints.MQTT, ClientID: c.Thing, TLS: mqtt, Dial: dial, Forgive: k.Forgive,
	})
	transport := &http.Transport{TLSClientConfig: serverTLS}
	a.closers = append(a.closers, transport.CloseIdleConnections)
	a.agent = agent.New(agent.Options{
		Settings: f.settings, Spool: a.spool, Publisher: a.notifier, Tell: tell, Now: time.Now,
		S3:         agent.NewS3(&f.settings, transport, provider, dial),
		Invalidate: func() { provider.discard(ctx) }, Permanent: refusedForGood,
	})
	return a, nil
}

// warnExpired says so of the device's certificate; no more, since the clock may be off.
func warnExpired(t *cli.Terminal, c *config.Config, now time.Time) error {
	leaf, err := c.Leaf()
	if err == nil && now.After(leaf.NotAfter) {
		fmt.Fprintf(t.Stderr, "the certificate of %s expired on %s, by this device's clock: the server will refuse it, and the device is to be enrolled again\n",
			c.Thing, leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	return err
}

// settle makes settings of flags, device.json and defaults.
func (f *agentFlags) settle(c *config.Config) error {
	s := &f.settings
	s.Thing, s.Region = c.Thing, c.Region
	s.Bucket = cmp.Or(f.bucket, c.Bucket)
	s.Topic = cmp.Or(f.topic, c.Topic, s.Topic)
	s.Key = cmp.Or(f.key, c.KeyTemplate, s.Key)
	s.Endpoint = cmp.Or(c.Endpoints.S3, awsS3(c.Region))
	if s.Endpoint == "" && s.Bucket != "" {
		return fmt.Errorf("%s: \"endpoints.s3\" and \"region\" are missing: S3's URL, or the AWS region of the bucket", c.Path())
	}
	s.InlineMax, s.PartSize = int64(f.inlineMax), int64(f.partSize)
	switch f.order {
	case "oldest":
	case "newest":
		s.NewestFirst = true
	default:
		return cli.Usagef("--order %q: oldest or newest is needed", f.order)
	}
	if err := s.Validate(); err != nil {
		return cli.Usagef("%v", err)
	}
	if c.Endpoints.MQTT == "" {
		return fmt.Errorf("%s: \"endpoints.mqtt\" is missing: HOST:PORT of the server's MQTT port", c.Path())
	}
	return nil
}

// awsS3 is AWS's endpoint of a region.
func awsS3(region string) string {
	switch {
	case region == "":
		return ""
	case strings.HasPrefix(region, "cn-"):
		return "https://s3." + region + ".amazonaws.com.cn"
	default:
		return "https://s3." + region + ".amazonaws.com"
	}
}

// credentials makes what S3 requests are signed with. Without a bucket there is none.
func (f *agentFlags) credentials(t *cli.Terminal, c *config.Config, k *clock.Clock, a *apparatus) (*sessions, error) {
	if f.settings.Bucket == "" {
		return &sessions{}, nil
	}
	e, err := credential.NewEndpoint(c, k, f.dial)
	if err != nil {
		return nil, err
	}
	if f.cache == "" {
		if f.cache, err = cacheFolder(t); err != nil {
			return nil, err
		}
	}
	cache, err := credential.OpenCache(f.cache, e.ID())
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(t.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	p := credential.NewProvider(credential.Options{Endpoint: e, Cache: cache, Clock: k, Logger: log, Patience: uploadPatience, Ahead: true})
	a.closers = append(a.closers, e.Close, p.Close)
	return &sessions{provider: p}, nil
}

// sessions are the SDK's view of the device's credentials.
type sessions struct {
	provider *credential.Provider // nil: there are none

	mu   sync.Mutex // guards last
	last string     // access key ID that was handed out
}

// Retrieve returns credentials to sign a request with now.
func (s *sessions) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if s.provider == nil {
		return aws.Credentials{}, errors.New("there are no credentials without a bucket")
	}
	got, err := s.provider.Get(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = got.AccessKeyID
	return aws.Credentials{AccessKeyID: got.AccessKeyID, SecretAccessKey: got.SecretAccessKey, SessionToken: got.SessionToken, Source: "sekisho"}, nil
}

func (s *sessions) discard(ctx context.Context) {
	s.mu.Lock()
	last := s.last
	s.mu.Unlock()
	if s.provider != nil && last != "" {
		// Where it stays, S3 refuses it again and it is tried again.
		_ = s.provider.Discard(ctx, last)
	}
}

// refusedForGood is of what the credential endpoint says again when it is asked again.
func refusedForGood(err error) bool {
	refused, ok := errors.AsType[*credential.RefusedError](err)
	if ok {
		return refused.Status >= 400 && refused.Status < 500 && refused.Status != http.StatusTooManyRequests
	}
	return false
}

// stateFolder is where the spool is unless --spool says another place: one for
// each device and server.
func stateFolder(t *cli.Terminal, c *config.Config) (string, error) {
	sum := sha256.Sum256([]byte(c.Endpoints.MQTT + "|" + c.Endpoints.S3))
	name := "spool-" + strings.ReplaceAll(c.Thing, ":", "_") + "-" + hex.EncodeToString(sum[:4])
	service, _, _ := strings.Cut(t.Getenv("STATE_DIRECTORY"), ":") // what systemd made for it, the first of several
	for _, root := range []struct{ dir, below string }{
		{service, ""},
		{t.Getenv("XDG_STATE_HOME"), "sekisho"},
		{t.Getenv("LocalAppData"), "sekisho"},
		{rootOnly("/var/lib"), "sekisho"},
		{cmp.Or(t.Getenv("HOME"), t.Getenv("USERPROFILE")), ".local/state/sekisho"},
	} {
		if filepath.IsAbs(root.dir) {
			return filepath.Join(root.dir, root.below, name), nil
		}
	}
	return "", errors.New("there is no home folder for the spool: name one by --spool")
}
