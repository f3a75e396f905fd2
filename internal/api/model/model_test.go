package model_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/api/model"
	iammodel "github.com/sekisho-iot/sekisho/internal/api/model/iam"
	iotmodel "github.com/sekisho-iot/sekisho/internal/api/model/iot"
	s3model "github.com/sekisho-iot/sekisho/internal/api/model/s3"
	stsmodel "github.com/sekisho-iot/sekisho/internal/api/model/sts"
	"github.com/sekisho-iot/sekisho/internal/awsapi"
)

func TestServices(t *testing.T) {
	t.Parallel()
	total := 0
	for _, s := range model.Services() {
		total += len(s.Operations)
		rt := awsapi.NewRouter(s)
		for i := range s.Operations {
			if rt.Binding(s.Operations[i].Name) == nil {
				t.Errorf("%s %s has no binding", s.Name, s.Operations[i].Name)
			}
		}
	}
	if total != 804 {
		t.Errorf("%d operations, botocore 1.43.11 has 804", total)
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(""))
	body := "Action=CreateRole&Version=2010-05-08&RoleName=r&AssumeRolePolicyDocument=%7B%7D&Tags.member.1.Key=a&Tags.member.1.Value=b"
	rt := awsapi.NewRouter(iammodel.Service())
	b, params, err := rt.Match(r, "/", []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	var in iammodel.CreateRoleInput
	if err := b.Decode(r, []byte(body), params, &in); err != nil {
		t.Fatal(err)
	}
	if *in.RoleName != "r" || len(in.Tags) != 1 || *in.Tags[0].Key != "a" {
		t.Errorf("%+v", in)
	}
	_ = iotmodel.Service
	_ = s3model.Service
	_ = stsmodel.Service
}
