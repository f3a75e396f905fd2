package api

import (
	"context"
	"net/http"

	m "github.com/sekisho-iot/sekisho/internal/api/model/s3"
)

// configurationRows answer for configurations that buckets do not have here, as
// S3 does for a bucket on which nothing was configured. Setting one is not built.
func (r *s3Rows) configurationRows() []Operation {
	return []Operation{
		configuration(r, "GetBucketAcl", "GetBucketAcl", func(in *m.GetBucketAclInput) *string { return in.Bucket },
			func(c *Call) (*m.GetBucketAclOutput, error) {
				return &m.GetBucketAclOutput{Owner: owner(c), Grants: []m.Grant{{
					Grantee: &m.Grantee{Type: new("CanonicalUser"), ID: ownerID(c.Account)}, Permission: new("FULL_CONTROL"),
				}}}, nil
			}),
		configuration(r, "GetBucketVersioning", "GetBucketVersioning", func(in *m.GetBucketVersioningInput) *string { return in.Bucket },
			empty[m.GetBucketVersioningOutput]),
		configuration(r, "GetBucketAccelerateConfiguration", "GetAccelerateConfiguration",
			func(in *m.GetBucketAccelerateConfigurationInput) *string { return in.Bucket }, empty[m.GetBucketAccelerateConfigurationOutput]),
		configuration(r, "GetBucketLogging", "GetBucketLogging", func(in *m.GetBucketLoggingInput) *string { return in.Bucket },
			empty[m.GetBucketLoggingOutput]),
		configuration(r, "GetBucketRequestPayment", "GetBucketRequestPayment", func(in *m.GetBucketRequestPaymentInput) *string { return in.Bucket },
			func(*Call) (*m.GetBucketRequestPaymentOutput, error) {
				return &m.GetBucketRequestPaymentOutput{Payer: new("BucketOwner")}, nil
			}),
		configuration(r, "GetBucketCors", "GetBucketCORS", func(in *m.GetBucketCorsInput) *string { return in.Bucket },
			absent[m.GetBucketCorsOutput]("NoSuchCORSConfiguration", "The CORS configuration does not exist")),
		configuration(r, "GetBucketWebsite", "GetBucketWebsite", func(in *m.GetBucketWebsiteInput) *string { return in.Bucket },
			absent[m.GetBucketWebsiteOutput]("NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration")),
		configuration(r, "GetBucketLifecycleConfiguration", "GetLifecycleConfiguration",
			func(in *m.GetBucketLifecycleConfigurationInput) *string { return in.Bucket },
			absent[m.GetBucketLifecycleConfigurationOutput]("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist")),
		configuration(r, "GetBucketReplication", "GetReplicationConfiguration", func(in *m.GetBucketReplicationInput) *string { return in.Bucket },
			absent[m.GetBucketReplicationOutput]("ReplicationConfigurationNotFoundError", "The replication configuration was not found")),
		configuration(r, "GetBucketEncryption", "GetEncryptionConfiguration", func(in *m.GetBucketEncryptionInput) *string { return in.Bucket },
			absent[m.GetBucketEncryptionOutput]("ServerSideEncryptionConfigurationNotFoundError", "The server side encryption configuration was not found")),
		configuration(r, "GetObjectLockConfiguration", "GetBucketObjectLockConfiguration",
			func(in *m.GetObjectLockConfigurationInput) *string { return in.Bucket },
			absent[m.GetObjectLockConfigurationOutput]("ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket")),
		configuration(r, "GetBucketTagging", "GetBucketTagging", func(in *m.GetBucketTaggingInput) *string { return in.Bucket },
			absent[m.GetBucketTaggingOutput]("NoSuchTagSet", "The TagSet does not exist")),
		configuration(r, "GetPublicAccessBlock", "GetBucketPublicAccessBlock", func(in *m.GetPublicAccessBlockInput) *string { return in.Bucket },
			absent[m.GetPublicAccessBlockOutput]("NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found")),
		configuration(r, "GetBucketOwnershipControls", "GetBucketOwnershipControls", func(in *m.GetBucketOwnershipControlsInput) *string { return in.Bucket },
			absent[m.GetBucketOwnershipControlsOutput]("OwnershipControlsNotFoundError", "The bucket ownership controls were not found")),
	}
}

// configuration is the row of one configuration of a bucket that must exist.
func configuration[In, Out any](r *s3Rows, name, action string, bucket func(*In) *string, answer func(*Call) (*Out, error)) Operation {
	return s3op(name, action,
		func(_ *Call, in *In) string { return s3BucketARN(bucket(in)) },
		func(ctx context.Context, c *Call, in *In) (*Out, error) {
			if _, err := r.bucket(ctx, c, bucket(in)); err != nil {
				return nil, err
			}
			return answer(c)
		})
}

func empty[Out any](*Call) (*Out, error) { return new(Out), nil }

func absent[Out any](code, message string) func(*Call) (*Out, error) {
	return func(*Call) (*Out, error) { return nil, refuse(code, http.StatusNotFound, message) }
}
