package api

import "testing"

func TestAdds(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"PutObject": true, "UploadPart": true, "UploadPartCopy": true, "CopyObject": true, "CreateMultipartUpload": true, "CreateBucket": true,
		"CreateThing": true, "CreateKeysAndCertificate": true, "RegisterCertificateWithoutCA": true, "AttachThingPrincipal": true,
		"AddThingToThingGroup": true, "CreateRole": true, "CreateAccessKey": true, "TagRole": true, "CreatePolicy": true,

		"GetObject": false, "DeleteObject": false, "DeleteObjects": false, "AbortMultipartUpload": false, "CompleteMultipartUpload": false,
		"UpdateCertificate": false, "UpdateAccessKey": false, "DetachPolicy": false, "DeleteThing": false, "ListThings": false, "DescribeEndpoint": false,
		"PutRolePolicy": false, "PutBucketPolicy": false, "AttachRolePolicy": false, "AttachPolicy": false, "CreatePolicyVersion": false,
		"SetDefaultPolicyVersion": false, "PutRolePermissionsBoundary": false, "AssumeRole": false, "RegisterX": true, "Address": false,
	} {
		if adds(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
