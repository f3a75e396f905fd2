package main

import (
	"context"
	"crypto/rand"
	"log/slog"
	"time"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
	"github.com/sekisho-iot/sekisho/internal/server"
	"github.com/sekisho-iot/sekisho/internal/telemetry"
)

func serve(ctx context.Context, t *cli.Terminal, args []string) error {
	o := server.DefaultOptions()
	fs := cli.NewFlags(t, "serve", "", "Runs the server until it is told to stop (SIGTERM or Ctrl-C).")
	format := addSettings(fs, &o)
	fs.WithConfig()
	if err := fs.ParseWords(args, 0); err != nil {
		return err
	}
	logFormat := *format
	switch logFormat {
	case "text", "json":
	case "":
		logFormat = "json"
		if t.IsTerminal {
			logFormat = "text"
		}
	default:
		return cli.Usagef("--log-format %q: text or json", logFormat)
	}
	o.AdminAccessKeyID = t.Getenv("SEKISHO_ADMIN_ACCESS_KEY_ID")
	o.AdminSecretAccessKey = t.Getenv("SEKISHO_ADMIN_SECRET_ACCESS_KEY")
	o.Version = cli.Version(version)
	o.Now = time.Now
	o.Rand = rand.Reader
	o.Logger = slog.New(telemetry.NewHandler(t.Stderr, logFormat))
	s, err := server.New(ctx, o)
	if err != nil && ctx.Err() != nil {
		o.Logger.InfoContext(ctx, "stopped while starting", slog.Any("error", err))
		return nil
	}
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// addSettings adds the flags that say how a server runs, and returns what the
// log is to look like.
func addSettings(fs *cli.Flags, o *server.Options) (logFormat *string) {
	fs.StringVar(&o.Data, "data", o.Data, "`folder` that holds everything Sekisho keeps; made 0700")
	fs.StringVar(&o.Database, "database", "", "postgres `URL`, better given as SEKISHO_DATABASE since every user of a machine sees arguments; without it SQLite in the data folder")
	fs.StringVar(&o.APIListen, "api-listen", o.APIListen, "`address` of the AWS APIs and S3, HTTP and HTTPS on the same port; empty turns it off")
	fs.StringVar(&o.MQTTListen, "mqtt-listen", o.MQTTListen, "`address` of MQTT over mutual TLS; empty turns it off")
	fs.StringVar(&o.DeviceHTTPSListen, "device-https-listen", o.DeviceHTTPSListen, "`address` of the credential provider, and of MQTT by ALPN x-amzn-mqtt-ca")
	fs.StringVar(&o.ConsoleListen, "console-listen", o.ConsoleListen, "`address` of the console")
	fs.StringVar(&o.SIMListen, "sim-listen", "", "`address` of the closed network")
	fs.List(&o.PublicHosts, "public-host", "`name` under which clients reach this server; repeatable, the first is what DescribeEndpoint returns")
	fs.StringVar(&o.TLSCert, "tls-cert", "", "PEM `file` with the server certificate to present instead of our own")
	fs.StringVar(&o.TLSKey, "tls-key", "", "PEM `file` with its key")
	fs.StringVar(&o.Region, "region", "", "`region` this server is; fixed at first start, us-east-1 unless given")
	fs.StringVar(&o.AccountID, "account-id", "", "twelve-digit account `number`; fixed at first start, 000000000000 unless given")
	fs.StringVar(&o.S3Durability, "s3-durability", o.S3Durability, "full, or fast to skip fsync")
	fs.StringVar(&o.DiskReserve, "disk-reserve", "", "`size` of the disk that stays free, as 256MiB or 5%; below it what adds something is refused; 0 for none (default 256MiB, or 5% where that is less)")
	fs.StringVar(&o.S3Engine, "s3-engine", o.S3Engine, "local")
	fs.StringVar(&o.MQTTProfile, "mqtt-profile", o.MQTTProfile, "aws, or standard for OASIS semantics and QoS 2")
	o.MQTTLimits = map[string]string{}
	for _, l := range server.MQTTLimits() {
		fs.Func(l.Name, l.Usage, func(v string) error {
			o.MQTTLimits[l.Name] = v
			return nil
		})
	}
	fs.List(&o.UploadTopics, "upload-topic", "topic `filter` of messages that may hold a file, which the ledger of uploads keeps a record of; repeatable")
	fs.List(&o.UploadFailedTopics, "upload-failed-topic", "topic `filter` of messages that may say that an upload has failed, which are recorded too; repeatable; without it, the filters of --upload-topic with /failed behind them")
	fs.DurationVar(&o.UploadsKeep, "uploads-keep", o.UploadsKeep, "`duration` that the ledger keeps a record of an upload; 0 keeps it for ever")
	fs.Int64Var(&o.UploadsPerThing, "uploads-max-per-thing", o.UploadsPerThing, "`number` of records that the ledger keeps of one thing, the newest; 0 keeps all")
	fs.Int64Var(&o.UploadsMax, "uploads-max", o.UploadsMax, "`number` of records that the ledger keeps, the newest; 0 keeps all")
	fs.StringVar(&o.OTLPEndpoint, "otlp-endpoint", "", "base `URL` of an OpenTelemetry collector that gets traces and metrics by OTLP over HTTP; without it nothing is exported")
	fs.StringVar(&o.OTLPHeaders, "otlp-headers", "", "`NAME=VALUE,…` headers for the collector, values percent-encoded; better given as SEKISHO_OTLP_HEADERS since every user of a machine sees arguments")
	fs.Float64Var(&o.OTLPSampleRatio, "otlp-sample-ratio", o.OTLPSampleRatio, "`share` of requests that are traced, 0 to 1")
	fs.BoolVar(&o.InsecureHTTP, "insecure-http", false, "serve plain HTTP beyond loopback as well")
	return fs.String("log-format", "", "text or json; text on a terminal, else json")
}
