package model_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/api/model"
	iammodel "github.com/sekisho-iot/sekisho/internal/api/model/iam"
	iotmodel "github.com/sekisho-iot/sekisho/internal/api/model/iot"
	s3model "github.com/sekisho-iot/sekisho/internal/api/model/s3"
	stsmodel "github.com/sekisho-iot/sekisho/internal/api/model/sts"
	"github.com/sekisho-iot/sekisho/internal/awsapi"
)

// request builds the plainest request of an operation.
func request(t *testing.T, s *awsapi.Service, o *awsapi.Operation) (*http.Request, string) {
	t.Helper()
	switch s.Protocol {
	case awsapi.Query:
		return httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil), "Action=" + o.Name + "&Version=" + s.APIVersion
	case awsapi.AWSJSON:
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
		r.Header.Set("X-Amz-Target", s.TargetPrefix+"."+o.Name)
		return r, ""
	case awsapi.RESTJSON, awsapi.RESTXML:
	}
	target := regexp.MustCompile(`\{[^}]+\+\}`).ReplaceAllString(o.URI, "label/more")
	target = regexp.MustCompile(`\{[^}]+\}`).ReplaceAllString(target, "label")
	for _, k := range o.RequiredQuery {
		if strings.Contains(target, "?") {
			target += "&" + k + "=1"
		} else {
			target += "?" + k + "=1"
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), o.Method, target, nil)
	for _, h := range o.RequiredHeaders {
		r.Header.Set(h, "a/b")
	}
	return r, ""
}

func TestEveryOperationIsRouted(t *testing.T) {
	t.Parallel()
	total := 0
	for _, s := range model.Services() {
		rt := awsapi.NewRouter(s)
		total += len(s.Operations)
		for i := range s.Operations {
			o := &s.Operations[i]
			if o.Unrouted {
				continue
			}
			r, body := request(t, s, o)
			b, _, err := rt.Match(r, awsapi.RawPath(r), []byte(body))
			if err != nil {
				t.Errorf("%s %s (%s): %v", s.Name, o.Name, r.RequestURI, err)
			} else if b.Name != o.Name {
				t.Errorf("%s %s (%s) is taken for %s", s.Name, o.Name, r.RequestURI, b.Name)
			}
		}
	}
	if total != 804 {
		t.Errorf("%d operations, botocore 1.43.11 has 804", total)
	}
}

// decode reads one request into in.
func decode(t *testing.T, s *awsapi.Service, r *http.Request, body, operation string, in any) error {
	t.Helper()
	b, params, err := awsapi.NewRouter(s).Match(r, awsapi.RawPath(r), []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if b.Name != operation {
		t.Fatalf("%s is taken for %s", operation, b.Name)
	}
	return b.Decode(r, []byte(body), params, in)
}

func TestIoTRequests(t *testing.T) {
	t.Parallel()
	s := iotmodel.Service()
	var attach iotmodel.AttachThingPrincipalInput
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/things/thing_x/principals", nil)
	r.Header.Set("X-Amzn-Principal", "arn:aws:iot:r:1:cert/ab")
	if err := decode(t, s, r, "", "AttachThingPrincipal", &attach); err != nil || *attach.ThingName != "thing_x" || *attach.Principal != "arn:aws:iot:r:1:cert/ab" {
		t.Errorf("%v %+v", err, attach)
	}
	var listed iotmodel.ListAttachedPoliciesInput
	r = httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/attached-policies/arn%3Aaws%3Aiot%3Ar%3A1%3Acert%2Fab?pageSize=250&recursive=false", nil)
	if err := decode(t, s, r, "", "ListAttachedPolicies", &listed); err != nil || *listed.Target != "arn:aws:iot:r:1:cert/ab" || *listed.PageSize != 250 || *listed.Recursive {
		t.Errorf("%v %+v", err, listed)
	}
	var keys iotmodel.CreateKeysAndCertificateInput
	r = httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/keys-and-certificate?setAsActive=true", nil)
	if err := decode(t, s, r, "", "CreateKeysAndCertificate", &keys); err != nil || !*keys.SetAsActive {
		t.Errorf("%v %+v", err, keys)
	}
	var update iotmodel.UpdateCertificateInput
	r = httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/certificates/"+strings.Repeat("a", 64)+"?newStatus=SLEEPING", nil)
	err := decode(t, s, r, "", "UpdateCertificate", &update)
	if err == nil || err.Error() != "1 validation error detected: Value 'SLEEPING' at 'newStatus' failed to satisfy constraint: Member must satisfy enum value set: [ACTIVE, INACTIVE, REVOKED, PENDING_TRANSFER, REGISTER_INACTIVE, PENDING_ACTIVATION]" {
		t.Error(err)
	}
	r = httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/things/a%20b", nil)
	err = decode(t, s, r, "{}", "CreateThing", &iotmodel.CreateThingInput{})
	if err == nil || err.Error() != "1 validation error detected: Value 'a b' at 'thingName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9:_-]+" {
		t.Error(err)
	}
	r = httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/things/t", nil)
	err = decode(t, s, r, `{"attributePayload":{"attributes":{"a":"b c"}}}`, "CreateThing", &iotmodel.CreateThingInput{})
	if err == nil || err.Error() != `1 validation error detected: Value '{a=b c}' at 'attributePayload.attributes' failed to satisfy constraint: Map value must satisfy constraint: [Member must have length less than or equal to 800, Member must satisfy regular expression pattern: [a-zA-Z0-9_.,@/:#=\[\]-]*]` {
		t.Error(err)
	}
}

func TestQueryRequests(t *testing.T) {
	t.Parallel()
	var role iammodel.CreateRoleInput
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
	body := "Action=CreateRole&Version=2010-05-08&RoleName=r&AssumeRolePolicyDocument=%7B%7D&MaxSessionDuration=3600&Tags.member.1.Key=a&Tags.member.1.Value="
	if err := decode(t, iammodel.Service(), r, body, "CreateRole", &role); err != nil || *role.RoleName != "r" || len(role.Tags) != 1 || *role.Tags[0].Value != "" || *role.MaxSessionDuration != 3600 {
		t.Errorf("%v %+v", err, role)
	}
	err := decode(t, iammodel.Service(), r, "Action=GetRole", "GetRole", &iammodel.GetRoleInput{})
	if err == nil || err.Error() != "1 validation error detected: Value null at 'roleName' failed to satisfy constraint: Member must not be null" {
		t.Error(err)
	}
	var assume stsmodel.AssumeRoleInput
	body = "Action=AssumeRole&Version=2011-06-15&RoleArn=arn:aws:iam::1:role/role&RoleSessionName=ss&PolicyArns.member.1.arn=arn:aws:iam::1:policy/pp&TransitiveTagKeys.member.1=k"
	if err := decode(t, stsmodel.Service(), r, body, "AssumeRole", &assume); err != nil {
		t.Fatal(err)
	}
	if len(assume.PolicyArns) != 1 || *assume.PolicyArns[0].Arn != "arn:aws:iam::1:policy/pp" || assume.TransitiveTagKeys[0] != "k" {
		t.Errorf("%+v", assume)
	}
}

func TestS3Requests(t *testing.T) {
	t.Parallel()
	s := s3model.Service()
	var complete s3model.CompleteMultipartUploadInput
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/b/k/%2F?uploadId=u", nil)
	body := `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Part><ETag>"e"</ETag><PartNumber>1</PartNumber><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part><Part><PartNumber>2</PartNumber></Part></CompleteMultipartUpload>`
	if err := decode(t, s, r, body, "CompleteMultipartUpload", &complete); err != nil || *complete.Key != "k//" || *complete.UploadId != "u" {
		t.Errorf("%v %+v", err, complete)
	}
	if parts := complete.MultipartUpload.Parts; len(parts) != 2 || *parts[0].ETag != `"e"` || *parts[1].PartNumber != 2 {
		t.Errorf("%+v", parts)
	}
	var del s3model.DeleteObjectsInput
	r = httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/b?delete", nil)
	if err := decode(t, s, r, `<Delete><Object><Key>a&#xD;b</Key></Object><Quiet>true</Quiet></Delete>`, "DeleteObjects", &del); err != nil || *del.Delete.Objects[0].Key != "a\rb" || !*del.Delete.Quiet {
		t.Errorf("%v %+v", err, del.Delete)
	}
	var put s3model.PutObjectInput
	r = httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/b/k", nil)
	r.Header.Set("X-Amz-Meta-Who", "me")
	r.Header.Set("Expires", "never")
	r.Header.Set("X-Amz-Checksum-Crc32", "AAAAAA==")
	if err := decode(t, s, r, "", "PutObject", &put); err != nil || put.Metadata["who"] != "me" || *put.Expires != "never" || put.Body != nil || *put.ChecksumCRC32 != "AAAAAA==" {
		t.Errorf("%v %+v", err, put)
	}
	var list s3model.ListObjectsV2Input
	r = httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/b?list-type=2&prefix=a%2B&delimiter=/&encoding-type=url&max-keys=0&start-after=", nil)
	if err := decode(t, s, r, "", "ListObjectsV2", &list); err != nil || *list.Prefix != "a+" || *list.MaxKeys != 0 || *list.StartAfter != "" {
		t.Errorf("%v %+v", err, list)
	}
}

// answer encodes an output.
func answer(t *testing.T, s *awsapi.Service, operation string, out any) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	if err := awsapi.NewRouter(s).Binding(operation).Encode(w, out, "id"); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	when := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	text := func(s string) *string { return &s }
	const declaration = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
	for _, tt := range []struct {
		service   *awsapi.Service
		operation string
		out       any
		want      string
	}{
		{
			iotmodel.Service(), "DescribeRoleAlias", &iotmodel.DescribeRoleAliasOutput{RoleAliasDescription: &iotmodel.RoleAliasDescription{RoleAlias: text("a"), CreationDate: &when}},
			`{"roleAliasDescription":{"roleAlias":"a","creationDate":1577934245}}`,
		},
		{
			iammodel.Service(), "DeleteRole", &iammodel.DeleteRoleOutput{},
			declaration + `<DeleteRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ResponseMetadata><RequestId>id</RequestId></ResponseMetadata></DeleteRoleResponse>`,
		},
		{
			iammodel.Service(), "GetRole", &iammodel.GetRoleOutput{Role: &iammodel.Role{RoleName: text("r"), CreateDate: &when}},
			declaration + `<GetRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><GetRoleResult><Role><RoleName>r</RoleName><CreateDate>2020-01-02T03:04:05Z</CreateDate></Role></GetRoleResult><ResponseMetadata><RequestId>id</RequestId></ResponseMetadata></GetRoleResponse>`,
		},
		{
			s3model.Service(), "GetBucketLocation", &s3model.GetBucketLocationOutput{LocationConstraint: text("ap-northeast-1")},
			declaration + `<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">ap-northeast-1</LocationConstraint>`,
		},
		{
			s3model.Service(), "ListBuckets", &s3model.ListBucketsOutput{Buckets: []s3model.Bucket{{Name: text("b"), CreationDate: &when}}},
			declaration + `<ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Buckets><Bucket><Name>b</Name><CreationDate>2020-01-02T03:04:05.000Z</CreationDate></Bucket></Buckets></ListAllMyBucketsResult>`,
		},
		{
			s3model.Service(), "CopyObject", &s3model.CopyObjectOutput{CopyObjectResult: &s3model.CopyObjectResult{ETag: text(`"e"`)}},
			declaration + `<CopyObjectResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><ETag>&quot;e&quot;</ETag></CopyObjectResult>`,
		},
		{
			s3model.Service(), "GetBucketAcl", &s3model.GetBucketAclOutput{Grants: []s3model.Grant{{Grantee: &s3model.Grantee{ID: text("o"), Type: text("CanonicalUser")}, Permission: text("FULL_CONTROL")}}},
			declaration + `<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>o</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>`,
		},
		{s3model.Service(), "GetBucketPolicy", &s3model.GetBucketPolicyOutput{Policy: text(`{}`)}, `{}`},
	} {
		if got := answer(t, tt.service, tt.operation, tt.out).Body.String(); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.operation, got, tt.want)
		}
	}
	w := answer(t, s3model.Service(), "HeadObject", &s3model.HeadObjectOutput{ContentLength: new(int64(7)), LastModified: &when, Metadata: map[string]string{"who": "me"}})
	if h := w.Header(); h.Get("Content-Length") != "7" || h.Get("Last-Modified") != "Thu, 02 Jan 2020 03:04:05 GMT" || h.Get("X-Amz-Meta-Who") != "me" {
		t.Errorf("%v", h)
	}
}

func BenchmarkPutObject(b *testing.B) {
	rt := awsapi.NewRouter(s3model.Service())
	r := httptest.NewRequestWithContext(b.Context(), http.MethodPut, "/bucket/things/thing_x/file?x-id=PutObject", nil)
	r.Header.Set("Content-Type", "application/octet-stream")
	r.Header.Set("X-Amz-Checksum-Crc32", "AAAAAA==")
	b.ReportAllocs()
	for b.Loop() {
		binding, params, err := rt.Match(r, awsapi.RawPath(r), nil)
		if err != nil {
			b.Fatal(err)
		}
		var in s3model.PutObjectInput
		if err := binding.Decode(r, nil, params, &in); err != nil {
			b.Fatal(err)
		}
	}
}
