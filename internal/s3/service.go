package s3

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math"
	"time"

	"github.com/sekisho-iot/sekisho/internal/cache"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// BucketRecord is a bucket as it is stored.
type BucketRecord struct {
	Name    string
	ID      int64
	Created time.Time
	Policy  []byte // the document as it was put; empty where there is none
}

// Store keeps the buckets. Every method that changes one announces iot.ChangeBucket.
type Store interface {
	// CreateBucket stores a bucket without a policy; KindExists "bucket" where the name is taken.
	CreateBucket(ctx context.Context, b BucketRecord) error
	// Bucket returns one bucket, or KindNotFound "bucket".
	Bucket(ctx context.Context, name string) (BucketRecord, error)
	// Buckets returns up to limit buckets whose name begins with prefix and comes
	// after the given one, without their policies.
	Buckets(ctx context.Context, prefix, after string, limit int) ([]BucketRecord, error)
	// DeleteBucket removes the bucket of that id: KindConflict "bucket" while it
	// holds objects. Its uploads are given up with it.
	DeleteBucket(ctx context.Context, name string, id int64) error
	// SetBucketPolicy stores the document, or none when it is empty.
	SetBucketPolicy(ctx context.Context, name string, id int64, document []byte) error
}

// Config is what a Service needs.
type Config struct {
	Store  Store
	Engine Engine
	Region string
	Now    func() time.Time
	Rand   io.Reader
	Log    *slog.Logger
	Failed func(*Failure) // hears of uploads of devices that failed, and must not block; may be nil
}

// Service is S3 without its wire: buckets and policies here, objects in the engine.
type Service struct {
	cfg     Config
	buckets *cache.Cache[string, *Bucket]
}

// New returns the service.
func New(cfg Config) *Service {
	s := &Service{cfg: cfg}
	s.buckets = cache.New(10_000, s.loadBucket)
	return s
}

// Invalidate drops what is no longer as it was.
func (s *Service) Invalidate(c iot.Change) {
	switch c.Kind { //nolint:exhaustive // nothing else is held here
	case iot.ChangeBucket:
		s.buckets.Drop(c.ID)
	case iot.ChangeAll:
		s.buckets.Clear()
	}
}

// Region returns the one region that buckets are in.
func (s *Service) Region() string { return s.cfg.Region }

// Bucket returns the bucket of that name, or KindNotFound "bucket". It is asked
// for on every request and answers from memory.
func (s *Service) Bucket(ctx context.Context, name string) (*Bucket, error) {
	return s.buckets.Get(ctx, name)
}

func (s *Service) loadBucket(ctx context.Context, name string) (*Bucket, error) {
	r, err := s.cfg.Store.Bucket(ctx, name)
	if err != nil {
		return nil, err
	}
	b := &Bucket{Name: r.Name, ID: r.ID, Created: r.Created}
	if len(r.Policy) > 0 {
		// What was stored compiled when it was put; if it does not now, nothing is allowed.
		if b.Policy, err = policy.Compile(policy.Resource, "bucket policy of "+name, r.Policy); err != nil {
			return nil, fmt.Errorf("compile the policy of bucket %s: %w", name, err)
		}
	}
	return b, nil
}

// CreateBucket makes a bucket. Making one again that is there already succeeds
// in us-east-1 alone, as it does with S3.
func (s *Service) CreateBucket(ctx context.Context, name, location string) error {
	if !ValidBucketName(name) {
		return &iot.Error{Kind: iot.KindInvalid, Resource: "bucket-name", ID: name, Message: "The specified bucket is not valid."}
	}
	if err := checkLocation(location, s.cfg.Region); err != nil {
		return err
	}
	id, err := s.newID()
	if err != nil {
		return err
	}
	err = s.cfg.Store.CreateBucket(ctx, BucketRecord{Name: name, ID: id, Created: s.cfg.Now()})
	if iot.IsKind(err, iot.KindExists) && s.cfg.Region == "us-east-1" {
		return nil
	}
	return err
}

func (s *Service) newID() (int64, error) {
	var b [8]byte
	if _, err := io.ReadFull(s.cfg.Rand, b[:]); err != nil {
		return 0, fmt.Errorf("make a bucket id: %w", err)
	}
	return int64(binary.BigEndian.Uint64(b[:]) & math.MaxInt64), nil
}

// ListBuckets returns a page of buckets in the order of their names, and the
// name to continue after where there are more.
func (s *Service) ListBuckets(ctx context.Context, prefix, after string, limit int) (page []BucketRecord, next string, err error) {
	page, err = s.cfg.Store.Buckets(ctx, prefix, after, limit+1)
	if err != nil {
		return nil, "", err
	}
	if len(page) > limit {
		page = page[:limit]
		next = page[limit-1].Name
	}
	return page, next, nil
}

// DeleteBucket removes an empty bucket. Uploads under way are aborted.
func (s *Service) DeleteBucket(ctx context.Context, b *Bucket) error {
	// An engine elsewhere knows its objects, the store only those of its own.
	page, err := s.cfg.Engine.List(ctx, &ListInput{Bucket: b, Max: 1})
	if err != nil {
		return err
	}
	if len(page.Objects) > 0 {
		return BucketNotEmpty()
	}
	for {
		page, err := s.cfg.Engine.ListUploads(ctx, &ListUploadsInput{Bucket: b, Max: MaxList})
		if err != nil {
			return err
		}
		for _, u := range page.Uploads {
			err := s.cfg.Engine.AbortUpload(ctx, UploadRef{Bucket: b, Key: u.Key, ID: u.ID})
			if err != nil && !iot.IsKind(err, iot.KindNotFound) {
				return err
			}
		}
		if !page.Truncated {
			break
		}
	}
	return s.cfg.Store.DeleteBucket(ctx, b.Name, b.ID)
}

// BucketNotEmpty is the answer while a bucket holds objects.
func BucketNotEmpty() error {
	return iot.Errorf(iot.KindConflict, "bucket", "The bucket you tried to delete is not empty")
}

// BucketPolicy returns the policy document as it was put, or KindNotFound "bucket-policy".
func (s *Service) BucketPolicy(_ context.Context, b *Bucket) ([]byte, error) {
	if b.Policy == nil {
		return nil, iot.Errorf(iot.KindNotFound, "bucket-policy", "The bucket policy does not exist")
	}
	return b.Policy.Source(), nil
}

// PutBucketPolicy replaces the bucket's policy.
func (s *Service) PutBucketPolicy(ctx context.Context, b *Bucket, document []byte) error {
	if _, err := compilePolicy(b.Name, document); err != nil {
		return err
	}
	return s.cfg.Store.SetBucketPolicy(ctx, b.Name, b.ID, document)
}

// DeleteBucketPolicy removes the bucket's policy; having none is a success.
func (s *Service) DeleteBucketPolicy(ctx context.Context, b *Bucket) error {
	return s.cfg.Store.SetBucketPolicy(ctx, b.Name, b.ID, nil)
}
