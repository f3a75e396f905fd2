package iam

import (
	"embed"
	"fmt"
	"sort"
	"time"

	"github.com/sekisho-iot/sekisho/internal/policy"
)

// managedDocuments are AWS managed policies in the versions named by builtinPolicies.
//
//go:embed managed/*.json
var managedDocuments embed.FS

// builtinPolicy is an AWS managed policy that comes with the program.
type builtinPolicy struct {
	Policy
	document string
	compiled *policy.Policy
}

const awsPolicyPrefix = "arn:aws:iam::aws:policy/"

// loadBuiltin compiles the AWS managed policies and returns them by ARN.
//
// IDs, dates and versions are those that AWS shows for them.
func loadBuiltin() (map[string]*builtinPolicy, error) {
	table := []struct {
		path, name, id, description string
		version                     int
		created, updated            int64
	}{
		{"/", "AdministratorAccess", "ANPAIWMBCKSKIEE64ZLYK", "Provides full access to AWS services and resources.", 1, 1423247986, 1423247986},
		{"/", "AmazonS3FullAccess", "ANPAIFIR6V6BVTRAHWINE", "Provides full access to all buckets via the AWS Management Console.", 2, 1423248058, 1632773797},
		{"/", "AmazonS3ReadOnlyAccess", "ANPAIZTJ4DXE7G6AGAE6M", "Provides read only access to all buckets via the AWS Management Console.", 3, 1423248059, 1691703099},
		{"/service-role/", "AWSLambdaBasicExecutionRole", "ANPAJNCQGXC42545SKXIK", "Provides write permissions to CloudWatch Logs.", 1, 1428591823, 1428591823},
		{"/", "AWSIoTFullAccess", "ANPAJU2FPGG6PQWN72V2G", "This policy gives full access to AWS IoT configuration and messaging actions", 2, 1444317549, 1652996351},
		{"/", "AmazonSSMManagedInstanceCore", "ANPAIXSHM2BNB2D3AXXRU", "The policy for Amazon EC2 Role to enable AWS Systems Manager service core functionality.", 2, 1552671282, 1558630461},
	}
	all := make(map[string]*builtinPolicy, len(table))
	for _, t := range table {
		arn := awsPolicyPrefix + t.path[1:] + t.name
		doc, err := managedDocuments.ReadFile("managed/" + t.name + ".json")
		if err != nil {
			return nil, fmt.Errorf("read managed policy %s: %w", t.name, err)
		}
		compiled, err := policy.Compile(policy.Identity, arn, doc)
		if err != nil {
			return nil, fmt.Errorf("compile managed policy %s: %w", t.name, err)
		}
		all[arn] = &builtinPolicy{
			Policy: Policy{
				ID: t.id, ARN: arn, Name: t.name, Path: t.path, Description: t.description,
				DefaultVersion: t.version, AWS: true,
				CreatedAt: time.Unix(t.created, 0).UTC(), UpdatedAt: time.Unix(t.updated, 0).UTC(),
			},
			document: string(doc),
			compiled: compiled,
		}
	}
	return all, nil
}

// builtinAfter lists the built-in policies under a path, in the order of their ARNs.
func (s *Service) builtinAfter(after string) []*builtinPolicy {
	var list []*builtinPolicy
	for arn, b := range s.builtin {
		if arn > after {
			list = append(list, b)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].ARN < list[j].ARN })
	return list
}
