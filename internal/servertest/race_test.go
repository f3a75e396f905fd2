package servertest_test

import (
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// A change is in force when its call has returned, for every request that begins
// then, however many are under way and whatever they load into memory.
func TestSecurityRule4_InForceAtOnce(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	ctx := t.Context()
	denyAll := aws.String(strings.ReplaceAll(servertest.OwnPrefix, "Allow", "Deny"))
	main, role, bucket := aws.String("main"), aws.String(servertest.Role), aws.String(servertest.Bucket)
	type change struct {
		name       string
		credential bool // it is about the credential endpoint
		end, again func(t *testing.T, d *servertest.Device)
	}
	both := func(d *servertest.Device, ok bool) error {
		var err error
		if ok {
			_, err = s.IoT.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String(servertest.Policy), Target: &d.CertificateARN})
		} else {
			_, err = s.IoT.DetachPolicy(ctx, &iot.DetachPolicyInput{PolicyName: aws.String(servertest.Policy), Target: &d.CertificateARN})
		}
		return err
	}
	to := func(status iottypes.CertificateStatus) func(*testing.T, *servertest.Device) {
		return func(t *testing.T, d *servertest.Device) {
			t.Helper()
			setStatus(t, s, d, status)
		}
	}
	for _, c := range []change{
		{"certificate", false, to(iottypes.CertificateStatusInactive), to(iottypes.CertificateStatusActive)},
		{"certificate-at-the-endpoint", true, to(iottypes.CertificateStatusInactive), to(iottypes.CertificateStatusActive)},
		{"attachment", false, func(t *testing.T, d *servertest.Device) {
			t.Helper()
			_, err := s.IoT.DetachThingPrincipal(ctx, &iot.DetachThingPrincipalInput{ThingName: &d.Thing, Principal: &d.CertificateARN})
			must(t, err)
		}, func(t *testing.T, d *servertest.Device) {
			t.Helper()
			_, err := s.IoT.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &d.Thing, Principal: &d.CertificateARN})
			must(t, err)
		}},
		{"role-policy", false, func(t *testing.T, _ *servertest.Device) {
			t.Helper()
			_, err := s.IAM.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: role, PolicyName: main, PolicyDocument: denyAll})
			must(t, err)
		}, func(t *testing.T, _ *servertest.Device) {
			t.Helper()
			_, err := s.IAM.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: role, PolicyName: main, PolicyDocument: aws.String(servertest.OwnPrefix)})
			must(t, err)
		}},
		{"bucket-policy", false, func(t *testing.T, _ *servertest.Device) {
			t.Helper()
			_, err := s.S3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: bucket, Policy: aws.String(
				`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::fleet/*"}]}`)})
			must(t, err)
		}, func(t *testing.T, _ *servertest.Device) {
			t.Helper()
			_, err := s.S3.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: bucket})
			must(t, err)
		}},
		{"device-policy", true, func(t *testing.T, d *servertest.Device) {
			t.Helper()
			must(t, both(d, false))
		}, func(t *testing.T, d *servertest.Device) {
			t.Helper()
			must(t, both(d, true))
		}},
		{"trust-policy", true, func(t *testing.T, _ *servertest.Device) {
			t.Helper()
			_, err := s.IAM.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: role, PolicyDocument: aws.String(trustAccount)})
			must(t, err)
		}, func(t *testing.T, _ *servertest.Device) {
			t.Helper()
			_, err := s.IAM.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: role, PolicyDocument: aws.String(servertest.TrustDevices)})
			must(t, err)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := s.Enrol("race-" + c.name)
			must(t, put(t, s.S3, d.Thing+"/x"))
			for range 8 {
				hammer(t, s, d, c.credential, func() { c.end(t, d) })
				c.again(t, d)
			}
		})
	}
}

// hammer has requests run all the time while end is called, and reports every
// success of one that began after end had returned.
func hammer(t *testing.T, s *servertest.Server, d *servertest.Device, credential bool, end func()) {
	t.Helper()
	ask := func() bool { return d.Ask(servertest.Alias).Status == http.StatusOK }
	if !credential {
		c := s.S3As(d.Session())
		ask = func() bool { return head(t, c, d.Thing+"/x") == nil }
	}
	var ended, stop atomic.Bool
	var served, late, after atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				wasOver := ended.Load()
				ok := ask()
				switch {
				case ok && wasOver:
					late.Add(1)
				case ok:
					served.Add(1)
				case wasOver:
					after.Add(1)
				}
				if after.Load() > 20 {
					return
				}
			}
		})
	}
	for served.Load() < 10 {
		if late.Load() > 0 || after.Load() > 0 {
			break
		}
		runtime.Gosched()
	}
	end()
	ended.Store(true)
	for range 10 {
		if ask() {
			late.Add(1)
		}
	}
	stop.Store(true)
	wg.Wait()
	if late.Load() > 0 {
		t.Errorf("%d requests were served that began after the change had returned", late.Load())
	}
}
