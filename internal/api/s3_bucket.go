package api

import (
	"context"
	"net/http"

	m "github.com/sekisho-iot/sekisho/internal/api/model/s3"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

func (r *s3Rows) bucketRows() []Operation {
	create := op("CreateBucket", "s3:CreateBucket", func(_ *Call, in *m.CreateBucketInput) string { return s3BucketARN(in.Bucket) }, r.createBucket)
	return []Operation{
		withKeys(create, func(c *Call, in *m.CreateBucketInput) policy.Keys {
			k := &s3Keys{call: c}
			if in.CreateBucketConfiguration != nil {
				k.location = in.CreateBucketConfiguration.LocationConstraint
			}
			return k
		}),
		s3op("ListBuckets", "ListAllMyBuckets", func(*Call, *m.ListBucketsInput) string { return "arn:aws:s3:::*" }, r.listBuckets),
		anonymously(s3op("HeadBucket", "ListBucket", func(_ *Call, in *m.HeadBucketInput) string { return s3BucketARN(in.Bucket) }, r.headBucket)),
		anonymously(s3op("GetBucketLocation", "GetBucketLocation", func(_ *Call, in *m.GetBucketLocationInput) string { return s3BucketARN(in.Bucket) }, r.getBucketLocation)),
		s3op("DeleteBucket", "DeleteBucket", func(_ *Call, in *m.DeleteBucketInput) string { return s3BucketARN(in.Bucket) }, r.deleteBucket),
		s3op("GetBucketPolicy", "GetBucketPolicy", func(_ *Call, in *m.GetBucketPolicyInput) string { return s3BucketARN(in.Bucket) }, r.getBucketPolicy),
		s3op("PutBucketPolicy", "PutBucketPolicy", func(_ *Call, in *m.PutBucketPolicyInput) string { return s3BucketARN(in.Bucket) }, r.putBucketPolicy),
		s3op("DeleteBucketPolicy", "DeleteBucketPolicy", func(_ *Call, in *m.DeleteBucketPolicyInput) string { return s3BucketARN(in.Bucket) }, r.deleteBucketPolicy),
	}
}

func (r *s3Rows) createBucket(ctx context.Context, c *Call, in *m.CreateBucketInput) (*m.CreateBucketOutput, error) {
	if err := refuseUnsupported(c.HTTP.Header); err != nil {
		return nil, err
	}
	if deref(in.ObjectLockEnabledForBucket) {
		return nil, refuse("NotImplemented", http.StatusNotImplemented, "Object Lock is not implemented.")
	}
	if o := deref(in.ObjectOwnership); o != "" && o != "BucketOwnerEnforced" {
		return nil, errNoACLs()
	}
	location := ""
	if cfg := in.CreateBucketConfiguration; cfg != nil {
		location = deref(cfg.LocationConstraint)
		if cfg.Location != nil || cfg.Bucket != nil || len(cfg.Tags) > 0 {
			return nil, refuse("NotImplemented", http.StatusNotImplemented, "Directory buckets and tags of buckets are not implemented.")
		}
	}
	if err := r.svc.CreateBucket(ctx, deref(in.Bucket), location); err != nil {
		return nil, err
	}
	return &m.CreateBucketOutput{Location: new("/" + deref(in.Bucket)), BucketArn: new(s3BucketARN(in.Bucket))}, nil
}

const maxBuckets = 10_000

func (r *s3Rows) listBuckets(ctx context.Context, c *Call, in *m.ListBucketsInput) (*m.ListBucketsOutput, error) {
	limit := maxBuckets
	if in.MaxBuckets != nil {
		limit = int(*in.MaxBuckets)
		if limit < 1 || limit > maxBuckets {
			return nil, iot.Errorf(iot.KindInvalid, "argument", "Argument max-buckets must be an integer between 1 and %d", maxBuckets)
		}
	}
	after, err := decodeToken(in.ContinuationToken)
	if err != nil {
		return nil, err
	}
	out := &m.ListBucketsOutput{Owner: owner(c), Prefix: in.Prefix, Buckets: []m.Bucket{}}
	if region := deref(in.BucketRegion); region != "" && region != c.Region {
		return out, nil
	}
	page, next, err := r.svc.ListBuckets(ctx, deref(in.Prefix), after, limit)
	if err != nil {
		return nil, err
	}
	for _, b := range page {
		entry := m.Bucket{Name: new(b.Name), CreationDate: new(b.Created)}
		if in.MaxBuckets != nil || in.Prefix != nil || in.BucketRegion != nil { // only the newer, paginated form tells it
			entry.BucketRegion = new(c.Region)
		}
		out.Buckets = append(out.Buckets, entry)
	}
	if next != "" {
		out.ContinuationToken = encodeToken(next)
	}
	return out, nil
}

func (r *s3Rows) headBucket(ctx context.Context, c *Call, in *m.HeadBucketInput) (*m.HeadBucketOutput, error) {
	c.Writer.Header().Set("X-Amz-Bucket-Region", c.Region)
	b, err := r.bucket(ctx, c, in.Bucket)
	if err != nil {
		return nil, err
	}
	return &m.HeadBucketOutput{BucketRegion: new(c.Region), AccessPointAlias: new(false), BucketArn: new(b.ARN())}, nil
}

func (r *s3Rows) getBucketLocation(ctx context.Context, c *Call, in *m.GetBucketLocationInput) (*m.GetBucketLocationOutput, error) {
	if _, err := r.bucket(ctx, c, in.Bucket); err != nil {
		return nil, err
	}
	if c.Region == globalRegion { // S3 tells it by an empty element
		return &m.GetBucketLocationOutput{}, nil
	}
	return &m.GetBucketLocationOutput{LocationConstraint: new(c.Region)}, nil
}

func (r *s3Rows) deleteBucket(ctx context.Context, c *Call, in *m.DeleteBucketInput) (*m.DeleteBucketOutput, error) {
	b, err := r.bucket(ctx, c, in.Bucket)
	if err != nil {
		return nil, err
	}
	if err := r.svc.DeleteBucket(ctx, b); err != nil {
		return nil, err
	}
	return &m.DeleteBucketOutput{}, nil
}

func (r *s3Rows) getBucketPolicy(ctx context.Context, c *Call, in *m.GetBucketPolicyInput) (*m.GetBucketPolicyOutput, error) {
	b, err := r.bucket(ctx, c, in.Bucket)
	if err != nil {
		return nil, err
	}
	document, err := r.svc.BucketPolicy(ctx, b)
	if err != nil {
		return nil, err
	}
	return &m.GetBucketPolicyOutput{Policy: new(string(document))}, nil
}

func (r *s3Rows) putBucketPolicy(ctx context.Context, c *Call, in *m.PutBucketPolicyInput) (*m.PutBucketPolicyOutput, error) {
	b, err := r.bucket(ctx, c, in.Bucket)
	if err != nil {
		return nil, err
	}
	if err := r.svc.PutBucketPolicy(ctx, b, []byte(deref(in.Policy))); err != nil {
		return nil, err
	}
	return &m.PutBucketPolicyOutput{}, nil
}

func (r *s3Rows) deleteBucketPolicy(ctx context.Context, c *Call, in *m.DeleteBucketPolicyInput) (*m.DeleteBucketPolicyOutput, error) {
	b, err := r.bucket(ctx, c, in.Bucket)
	if err != nil {
		return nil, err
	}
	if err := r.svc.DeleteBucketPolicy(ctx, b); err != nil {
		return nil, err
	}
	return &m.DeleteBucketPolicyOutput{}, nil
}
