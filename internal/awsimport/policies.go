package awsimport

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
)

const (
	kindPolicy     = "IoT policy"
	kindAttachment = "attachment"
)

// versions are those of an IoT policy, the oldest first.
type versions struct {
	documents []string
	current   int // which of them is the default one
}

func (m *importer) iotPolicies(ctx context.Context) error {
	pages := iot.NewListPoliciesPaginator(m.src.iot, &iot.ListPoliciesInput{PageSize: aws.Int32(250)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		names := make([]string, len(page.Policies))
		for i, p := range page.Policies {
			names[i] = aws.ToString(p.PolicyName)
		}
		m.policies = append(m.policies, names...)
		if err := each(ctx, m, names, m.iotPolicy); err != nil {
			return err
		}
	}
	return nil
}

func (m *importer) iotPolicy(ctx context.Context, name string) []Item {
	i := Item{Kind: kindPolicy, Name: name}
	want, err := readVersions(ctx, m.src.iot, name)
	if err != nil {
		i.fail("the source", err)
		return []Item{i}
	}
	for n := range want.documents {
		want.documents[n] = m.rewrite.document(want.documents[n])
	}
	have, err := readVersions(ctx, m.dst.iot, name)
	if err != nil && !notFound(err) {
		i.fail("the target", err)
		return []Item{i}
	}
	same := len(have.documents) <= len(want.documents) && slices.EqualFunc(have.documents, want.documents[:min(len(have.documents), len(want.documents))], sameDocument)
	switch {
	case !same:
		i.differ("its versions say something else")
	case len(have.documents) == len(want.documents) && have.current == want.current:
		i.Outcome = Unchanged
	case len(have.documents) == len(want.documents):
		i.differ("its default version is another one")
	default:
		m.create(&i, func() error { return m.writeVersions(ctx, name, want, len(have.documents)) })
	}
	return []Item{i}
}

// writeVersions makes what is missing after the first versions. The default one
// is set by the last call.
func (m *importer) writeVersions(ctx context.Context, name string, v versions, have int) error {
	for n := have; n < len(v.documents); n++ {
		var err error
		if n == 0 {
			_, err = m.dst.iot.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: &name, PolicyDocument: &v.documents[0]})
		} else {
			_, err = m.dst.iot.CreatePolicyVersion(ctx, &iot.CreatePolicyVersionInput{PolicyName: &name, PolicyDocument: &v.documents[n], SetAsDefault: n == v.current})
		}
		if err != nil {
			return err
		}
	}
	if v.current >= have {
		return nil
	}
	list, err := m.dst.iot.ListPolicyVersions(ctx, &iot.ListPolicyVersionsInput{PolicyName: &name})
	if err != nil {
		return err
	}
	ids := make([]int, len(list.PolicyVersions))
	for i, p := range list.PolicyVersions {
		if ids[i], err = strconv.Atoi(aws.ToString(p.VersionId)); err != nil {
			return err
		}
	}
	slices.Sort(ids)
	_, err = m.dst.iot.SetDefaultPolicyVersion(ctx, &iot.SetDefaultPolicyVersionInput{PolicyName: &name, PolicyVersionId: aws.String(strconv.Itoa(ids[v.current]))})
	return err
}

func readVersions(ctx context.Context, c *iot.Client, name string) (versions, error) {
	var v versions
	list, err := c.ListPolicyVersions(ctx, &iot.ListPolicyVersionsInput{PolicyName: &name})
	if err != nil {
		return v, err
	}
	number := func(id *string) int { n, _ := strconv.Atoi(aws.ToString(id)); return n }
	slices.SortFunc(list.PolicyVersions, func(a, b policyVersion) int { return number(a.VersionId) - number(b.VersionId) })
	for i, p := range list.PolicyVersions {
		if p.IsDefaultVersion {
			v.current = i
		}
		out, err := c.GetPolicyVersion(ctx, &iot.GetPolicyVersionInput{PolicyName: &name, PolicyVersionId: p.VersionId})
		if err != nil {
			return v, err
		}
		v.documents = append(v.documents, aws.ToString(out.PolicyDocument))
	}
	return v, nil
}

// attachments attaches IoT policies to certificates and thing groups.
func (m *importer) attachments(ctx context.Context) error {
	for _, name := range m.policies {
		if m.absent(kindPolicy, name) {
			m.add(&Item{Kind: kindAttachment, Name: "policy " + name, Outcome: Skipped, Why: "the policy is not at the target"})
			continue
		}
		have := map[string]bool{}
		if err := targets(ctx, m.dst.iot, name, func(list []string) error {
			for _, t := range list {
				have[t] = true
			}
			return nil
		}); err != nil && !notFound(err) {
			return err
		}
		if err := targets(ctx, m.src.iot, name, func(list []string) error {
			return each(ctx, m, list, func(ctx context.Context, target string) []Item { return m.attach(ctx, name, target, have) })
		}); err != nil {
			return err
		}
	}
	return nil
}

func targets(ctx context.Context, c *iot.Client, policy string, do func([]string) error) error {
	pages := iot.NewListTargetsForPolicyPaginator(c, &iot.ListTargetsForPolicyInput{PolicyName: &policy, PageSize: aws.Int32(250)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		if err := do(page.Targets); err != nil {
			return err
		}
	}
	return nil
}

// attach attaches a policy to what has the given ARN at the source.
func (m *importer) attach(ctx context.Context, policy, target string, have map[string]bool) []Item {
	resource, ours := strings.CutPrefix(target, m.src.arn(""))
	i := Item{Kind: kindAttachment, Name: "policy " + policy + " to " + resource}
	kind, name, _ := strings.Cut(resource, "/")
	to := m.dst.arn(resource)
	switch {
	case !ours:
		i.Name = "policy " + policy + " to " + target
		i.skip("it is neither a certificate nor a thing group of the source")
	case kind == "cert" && m.absent(kindCertificate, name):
		i.skip("the certificate is not at the target")
	case kind == "thinggroup" && m.absent(kindGroup, name):
		i.skip("the thing group is not at the target")
	case kind != "cert" && kind != "thinggroup":
		i.skip("%s is neither a certificate nor a thing group", resource)
	case have[to]:
		i.Outcome = Unchanged
	default:
		m.create(&i, func() error {
			_, err := m.dst.iot.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: &policy, Target: &to})
			return err
		})
	}
	return []Item{i}
}
