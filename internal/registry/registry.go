package registry

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/sekisho-iot/sekisho/internal/cache"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// Config is what a Registry is made of.
type Config struct {
	Things   ThingStore
	Policies PolicyStore
	Tags     TagStore
	Types    ThingTypeStore
	Groups   GroupStore
	Events   EventStore
	Index    IndexStore
	Publish  func(ctx context.Context, topic string, payload []byte) // events; nil publishes none
	Online   func(ctx context.Context) ([]Connectivity, error)       // the things whose clients are connected
	Account  iot.AccountID
	Region   string
	Now      func() time.Time
	Rand     io.Reader
	Cached   int // principals, things and policies held in memory, each; 0 means 10,000
}

// Registry is the service.
type Registry struct {
	things   ThingStore
	policies PolicyStore
	tags     TagStore
	types    ThingTypeStore
	groups   GroupStore
	events   EventStore
	index    IndexStore
	publish  func(ctx context.Context, topic string, payload []byte)
	online   func(ctx context.Context) ([]Connectivity, error)
	account  iot.AccountID
	region   string
	now      func() time.Time
	rand     io.Reader

	// What decisions are made by; see principal.go.
	generation     atomic.Uint64 // rises with every change that an assembled Principal may show
	principals     *cache.Cache[iot.ARN, *assembled]
	attachments    *cache.Cache[iot.ARN, Attached]
	attachedThings *cache.Cache[iot.ThingName, *groupedThing]
	inherited      *cache.Cache[iot.ThingGroupName, []iot.PolicyName]
	compiled       *cache.Cache[iot.PolicyName, *policy.Policy]

	eventsEnabled *cache.Cache[struct{}, map[EventType]bool]
}

// New returns a registry over its stores.
func New(cfg Config) *Registry {
	if cfg.Cached == 0 {
		cfg.Cached = 10_000
	}
	r := &Registry{
		things: cfg.Things, policies: cfg.Policies, tags: cfg.Tags, types: cfg.Types, groups: cfg.Groups, events: cfg.Events, index: cfg.Index, publish: cfg.Publish, online: cfg.Online,
		account: cfg.Account, region: cfg.Region, now: cfg.Now, rand: cfg.Rand,
	}
	r.principals = cache.New(cfg.Cached, r.assemble)
	r.attachments = cache.New(cfg.Cached, r.things.Attached)
	r.attachedThings = cache.New(cfg.Cached, r.loadThing)
	r.inherited = cache.New(cfg.Cached, r.loadInherited)
	r.eventsEnabled = cache.New(1, r.loadEvents)
	r.compiled = cache.New(cfg.Cached, r.loadPolicy)
	return r
}

// ThingARN returns the ARN of a thing.
func (r *Registry) ThingARN(name iot.ThingName) iot.ARN {
	return iot.NewARN("iot", r.region, r.account, "thing/"+string(name))
}

// PolicyARN returns the ARN of an IoT policy.
func (r *Registry) PolicyARN(name iot.PolicyName) iot.ARN {
	return iot.NewARN("iot", r.region, r.account, "policy/"+string(name))
}

// CertificateARN returns the ARN of a certificate.
func (r *Registry) CertificateARN(id iot.CertificateID) iot.ARN {
	return iot.NewARN("iot", r.region, r.account, "cert/"+string(id))
}

// clock is the present as it is stored: UTC, whole milliseconds.
func (r *Registry) clock() time.Time { return r.now().UTC().Truncate(time.Millisecond) }

// incarnation returns a number that no earlier attachment had.
func (r *Registry) incarnation() (int64, error) {
	var b [8]byte
	if _, err := io.ReadFull(r.rand, b[:]); err != nil {
		return 0, fmt.Errorf("read randomness: %w", err)
	}
	n := int64(0)
	for _, c := range b {
		n = n<<8 | int64(c)
	}
	return n & (1<<63 - 1), nil
}

// Page selects a part of a listing.
type Page struct {
	Limit int    // 1 to 250; 0 means 250
	Token string // what the part before answered; "" at the start
}

const maxPage = 250

func (p Page) limit() (int, error) {
	switch {
	case p.Limit == 0:
		return maxPage, nil
	case p.Limit < 0 || p.Limit > maxPage:
		return 0, iot.Errorf(iot.KindInvalid, "page", "The page size must be between 1 and %d", maxPage)
	}
	return p.Limit, nil
}

// listPage reads one item more than the page holds, to learn whether another page follows.
func listPage[T any](scope string, p Page, list func(after string, limit int) ([]T, error), key func(T) string) ([]T, string, error) {
	limit, err := p.limit()
	if err != nil {
		return nil, "", err
	}
	after, err := iot.ParsePageToken(scope, p.Token)
	if err != nil {
		return nil, "", err
	}
	items, err := list(after, limit+1)
	if err != nil {
		return nil, "", err
	}
	if len(items) <= limit {
		return items, "", nil
	}
	items = items[:limit]
	return items, iot.PageToken(scope, key(items[limit-1])), nil
}
