package awsimport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// Config is what an import is made of.
type Config struct {
	Source, Target aws.Config
	DryRun         bool
	Workers        int // items under way at once; 0 means 8
	Out            io.Writer

	// Deleted reports whether a certificate, in PEM, was deleted at the target;
	// nil for never.
	Deleted func(ctx context.Context, pem string) (bool, error)
}

// side is one account with its clients.
type side struct {
	Account
	iot *iot.Client
	iam *iam.Client
}

// arn returns an ARN of the IoT service.
func (s *side) arn(resource string) string {
	return "arn:" + s.Partition + ":iot:" + s.Region + ":" + s.ID + ":" + resource
}

// importer is one run.
type importer struct {
	src, dst *side
	rewrite  *rewriter
	dryRun   bool
	workers  int
	out      io.Writer
	deleted  func(ctx context.Context, pem string) (bool, error)
	report   *Report
	said     error // of writing to out

	groups   []string        // thing groups that were read, parents first
	policies []string        // IoT policies likewise
	retire   []string        // thing types that are deprecated at the source
	managed  map[string]bool // IAM policies that were dealt with
	roles    map[string]Item // by ARN at the source
}

// Run copies what is at the source to the target, printing a line for each item
// but those that are there already. An error means that it could not go on; what
// did not work for one item is in the report.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	src, err := newSide(ctx, cfg.Source)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	dst, err := newSide(ctx, cfg.Target)
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	m := &importer{
		src: src, dst: dst, rewrite: newRewriter(src.Account, dst.Account), dryRun: cfg.DryRun, workers: cfg.Workers, out: cfg.Out, deleted: cfg.Deleted, report: newReport(),
		managed: map[string]bool{}, roles: map[string]Item{},
	}
	if m.deleted == nil {
		m.deleted = func(context.Context, string) (bool, error) { return false, nil }
	}
	if m.workers <= 0 {
		m.workers = 8
	}
	m.printf("from account %s in %s to account %s in %s\n", src.ID, src.Region, dst.ID, dst.Region)
	for _, step := range []struct {
		what string
		run  func(context.Context) error
	}{
		{"IoT policies", m.iotPolicies},
		{"role aliases", m.roleAliases},
		{"thing types", m.thingTypes},
		{"thing groups", m.thingGroups},
		{"things", m.things},
		{"members of thing groups", m.memberships},
		{"certificates", m.certificates},
		{"attached policies", m.attachments},
		{"deprecated thing types", m.retireTypes},
	} {
		if err := step.run(ctx); err != nil {
			if !notBuilt(err) {
				return m.report, fmt.Errorf("%s: %w", step.what, err)
			}
			m.printf("%s: the source has none: %s\n", step.what, text(err)) // what it does not know it does not have
		}
		if err := errors.Join(m.said, ctx.Err()); err != nil {
			return m.report, err
		}
	}
	return m.report, nil
}

func newSide(ctx context.Context, cfg aws.Config) (*side, error) {
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return nil, fmt.Errorf("find out the account: %w", err)
	}
	partition := "aws"
	if f := strings.SplitN(aws.ToString(who.Arn), ":", 3); len(f) == 3 && f[1] != "" {
		partition = f[1]
	}
	return &side{
		Account: Account{Partition: partition, Region: cfg.Region, ID: aws.ToString(who.Account)},
		iot:     iot.NewFromConfig(cfg), iam: iam.NewFromConfig(cfg),
	}, nil
}

func (m *importer) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(m.out, format, args...); err != nil && m.said == nil {
		m.said = err
	}
}

// add puts an item into the report, and tells of it unless nothing had to be done.
func (m *importer) add(i *Item) {
	m.report.add(i)
	switch {
	case i.Outcome == Unchanged:
	case i.Why == "":
		m.printf("%-9s %s %s\n", i.Outcome, i.Kind, i.Name)
	default:
		m.printf("%-9s %s %s: %s\n", i.Outcome, i.Kind, i.Name, i.Why)
	}
}

// absent reports whether something of the source is not at the target. It is
// for asking when all of that kind has been dealt with.
func (m *importer) absent(kind, name string) bool { return m.report.absent[kind][name] }

// create makes an item at the target, unless this is a dry run. It reports
// whether it is there then, or would be.
func (m *importer) create(i *Item, do func() error) bool {
	i.Outcome = Created
	if m.dryRun {
		return true
	}
	if err := do(); err != nil {
		i.fail("the target", err)
		return false
	}
	return true
}

// each deals with all of a list, several at once, and adds what became of them
// in the order of the list.
func each[T any](ctx context.Context, m *importer, list []T, do func(context.Context, T) []Item) error {
	for part := range slices.Chunk(list, 256) {
		done := make([][]Item, len(part))
		next := make(chan int)
		var wg sync.WaitGroup
		for range min(m.workers, len(part)) {
			wg.Go(func() {
				for n := range next {
					done[n] = do(ctx, part[n])
				}
			})
		}
		for n := range part {
			if ctx.Err() != nil {
				break
			}
			next <- n
		}
		close(next)
		wg.Wait()
		for _, items := range done {
			for i := range items {
				m.add(&items[i])
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func code(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return ""
}

// text is what the other side said, without the SDK's words around it.
func text(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode() + ": " + e.ErrorMessage()
	}
	return err.Error()
}

func notBuilt(err error) bool { return code(err) == "NotImplemented" }

func notFound(err error) bool {
	return code(err) == "ResourceNotFoundException" || code(err) == "NoSuchEntity"
}
