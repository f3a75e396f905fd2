package main

import "strings"

// service names one service in botocore and in our tree.
type service struct {
	name string // botocore's folder
	dir  string // ours; the package is dir + "model"
}

func services() []service {
	return []service{
		{"cloudformation", "cloudformation"},
		{"cognito-identity", "cognitoidentity"},
		{"iam", "iam"},
		{"iot", "iot"},
		{"iot-data", "iotdata"},
		{"iot-jobs-data", "iotjobsdata"},
		{"lambda", "lambda"},
		{"s3", "s3"},
		{"secretsmanager", "secretsmanager"},
		{"sts", "sts"},
	}
}

// s3Roots are the root elements of S3's answers, which botocore's models leave
// out (S3 API reference, "Response syntax" of each operation).
func s3Roots() map[string]string {
	return map[string]string{
		"CompleteMultipartUpload":                    "CompleteMultipartUploadResult",
		"CreateMultipartUpload":                      "InitiateMultipartUploadResult",
		"CreateSession":                              "CreateSessionResult",
		"DeleteObjects":                              "DeleteResult",
		"GetBucketAccelerateConfiguration":           "AccelerateConfiguration",
		"GetBucketAcl":                               "AccessControlPolicy",
		"GetBucketCors":                              "CORSConfiguration",
		"GetBucketLifecycle":                         "LifecycleConfiguration",
		"GetBucketLifecycleConfiguration":            "LifecycleConfiguration",
		"GetBucketLocation":                          "LocationConstraint",
		"GetBucketLogging":                           "BucketLoggingStatus",
		"GetBucketNotification":                      "NotificationConfiguration",
		"GetBucketNotificationConfiguration":         "NotificationConfiguration",
		"GetBucketRequestPayment":                    "RequestPaymentConfiguration",
		"GetBucketTagging":                           "Tagging",
		"GetBucketVersioning":                        "VersioningConfiguration",
		"GetBucketWebsite":                           "WebsiteConfiguration",
		"GetObjectAcl":                               "AccessControlPolicy",
		"GetObjectAttributes":                        "GetObjectAttributesResponse",
		"GetObjectTagging":                           "Tagging",
		"ListBucketAnalyticsConfigurations":          "ListBucketAnalyticsConfigurationResult",
		"ListBucketIntelligentTieringConfigurations": "ListBucketIntelligentTieringConfigurationsOutput",
		"ListBucketInventoryConfigurations":          "ListInventoryConfigurationsResult",
		"ListBucketMetricsConfigurations":            "ListMetricsConfigurationsResult",
		"ListBuckets":                                "ListAllMyBucketsResult",
		"ListDirectoryBuckets":                       "ListAllMyDirectoryBucketsResult",
		"ListMultipartUploads":                       "ListMultipartUploadsResult",
		"ListObjectVersions":                         "ListVersionsResult",
		"ListObjects":                                "ListBucketResult",
		"ListObjectsV2":                              "ListBucketResult",
		"ListParts":                                  "ListPartsResult",
	}
}

// unwrapped reports whether an S3 answer's root element is its only member.
func unwrapped(operation string) bool { return operation == "GetBucketLocation" }

// unrouted reports operations that another endpoint serves, or that share their
// binding with a newer one.
func unrouted(operation string, deprecated bool) bool {
	return deprecated || operation == "ListDirectoryBuckets"
}

const s3Namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

// patch corrects what a model says where the service is known to differ.
func patch(svc string, m *model) {
	if svc == "s3" {
		// S3 stores and returns Expires as it was sent, date or not.
		m.Shapes["Expires"] = &shape{Type: "string"}
	}
	if svc == "iot-data" {
		// A topic's slashes may come as they are (AWS IoT developer guide, HTTPS).
		for _, name := range []string{"Publish", "GetRetainedMessage"} {
			o := m.Operations[name]
			o.HTTP.URI = strings.ReplaceAll(o.HTTP.URI, "{topic}", "{topic+}")
		}
	}
}
