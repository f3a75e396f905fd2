package awsimport

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
)

// Account is where one side is.
type Account struct {
	Partition, Region, ID string
}

// rewriter makes what names the source's account name the target's.
type rewriter struct {
	from, to Account
	arn      *regexp.Regexp
}

func newRewriter(from, to Account) *rewriter {
	return &rewriter{from: from, to: to, arn: regexp.MustCompile(`\barn:([a-z-]+):([a-z0-9-]*):([a-z0-9-]*):(aws|[0-9]*):`)}
}

// text rewrites every ARN in a text that is of the source's account, or of its
// partition without one.
func (r *rewriter) text(s string) string {
	return r.arn.ReplaceAllStringFunc(s, func(arn string) string {
		f := strings.Split(arn, ":")
		if f[4] == r.from.ID {
			f[4] = r.to.ID
			if f[3] == r.from.Region {
				f[3] = r.to.Region
			}
		} else if f[4] != "" && f[4] != "aws" {
			return arn
		}
		if f[1] == r.from.Partition {
			f[1] = r.to.Partition
		}
		return strings.Join(f, ":")
	})
}

// document rewrites a policy document: its ARNs, and the account's number where
// it stands alone, as in aws:SourceAccount.
func (r *rewriter) document(s string) string {
	return strings.ReplaceAll(r.text(s), `"`+r.from.ID+`"`, `"`+r.to.ID+`"`)
}

// sameDocument compares JSON by what it says.
func sameDocument(a, b string) bool {
	if a == b {
		return true
	}
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}
