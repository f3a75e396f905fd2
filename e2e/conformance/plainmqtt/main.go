// Command plainmqtt serves the broker over plain TCP and allows everything but
// subscriptions to test/nosubscribe, for conformance suites that speak no TLS.
// It prints its address, and ends when its standard input does.
package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker"
)

func main() {
	profile := flag.String("profile", "standard", "aws or standard")
	keepAlive := flag.Duration("keep-alive-max", 0, "lower longer keep alive intervals to this")
	flag.Parse()
	if err := run(*profile, *keepAlive); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(profile string, keepAlive time.Duration) error {
	ctx := context.Background()
	cfg := broker.Config{
		Profile: broker.Standard, Limits: broker.StandardLimits(), Access: open{},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Now: time.Now, Rand: rand.Reader,
	}
	if profile == "aws" {
		cfg.Profile, cfg.Limits = broker.AWS, broker.AWSLimits()
	}
	if keepAlive > 0 {
		cfg.Limits.KeepAliveMax = keepAlive
	}
	b, err := broker.New(ctx, cfg)
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = l.Close()
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			return b.Close()
		}
		b.Attach(c, broker.Attachment{Peer: broker.Peer{SourceIP: "127.0.0.1"}})
	}
}

// open is the access of everybody.
type open struct{}

func (open) Principal(context.Context, *broker.Peer, string) (broker.Principal, error) {
	return open{}, nil
}
func (open) ID() string                           { return "anybody" }
func (open) Thing() (name string, exclusive bool) { return "", false }
func (open) Deny(*broker.Request, string)         {}
func (open) Decide(r *broker.Request) broker.Verdict {
	return broker.Verdict{Allowed: r.Action != broker.Subscribe || r.Name != "test/nosubscribe", Lasting: true}
}
