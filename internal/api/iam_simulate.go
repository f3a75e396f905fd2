package api

import (
	"context"
	"slices"
	"strconv"
	"strings"

	m "github.com/sekisho-iot/sekisho/internal/api/model/iam"
	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

func (r *iamRows) simulatorRows() []Operation {
	return []Operation{
		iamOp("SimulateCustomPolicy", nil, r.simulateCustom),
		iamOp("SimulatePrincipalPolicy", func(_ *Call, in *m.SimulatePrincipalPolicyInput) string { return deref(in.PolicySourceArn) }, r.simulatePrincipal),
		iamOp("GetContextKeysForCustomPolicy", nil,
			func(_ context.Context, _ *Call, in *m.GetContextKeysForCustomPolicyInput) (*m.GetContextKeysForCustomPolicyOutput, error) {
				sources, err := iam.CompileInputs(policy.Identity, "PolicyInputList", in.PolicyInputList)
				if err != nil {
					return nil, err
				}
				return &m.GetContextKeysForCustomPolicyOutput{ContextKeyNames: namesOut(iam.ContextKeys(sources))}, nil
			}),
		iamOp("GetContextKeysForPrincipalPolicy", func(_ *Call, in *m.GetContextKeysForPrincipalPolicyInput) string { return deref(in.PolicySourceArn) },
			func(ctx context.Context, _ *Call, in *m.GetContextKeysForPrincipalPolicyInput) (*m.GetContextKeysForPrincipalPolicyOutput, error) {
				sources, err := iam.CompileInputs(policy.Identity, "PolicyInputList", in.PolicyInputList)
				if err != nil {
					return nil, err
				}
				subject, err := r.svc.Subject(ctx, deref(in.PolicySourceArn))
				if err != nil {
					return nil, err
				}
				return &m.GetContextKeysForPrincipalPolicyOutput{ContextKeyNames: namesOut(iam.ContextKeys(append(subject.Policies, sources...)))}, nil
			}),
	}
}

// namesOut keeps an empty list in the answer.
func namesOut(names []string) []string {
	if names == nil {
		return []string{}
	}
	return names
}

// simulation is what both simulators do.
type simulation struct {
	policies, boundary []iam.Source
	resource           []iam.Source // none or one
	grants             policy.Grants
	principal          policy.Principal
	keys               policy.Keys
	actions, resources []string
	explicit           bool // the resources were named
	places             map[*policy.Policy][][2]policy.Position
}

// simulationInput is what the inputs of both have in common.
type simulationInput = m.SimulateCustomPolicyInput

func (r *iamRows) simulateCustom(ctx context.Context, c *Call, in *m.SimulateCustomPolicyInput) (*m.SimulateCustomPolicyOutput, error) {
	return simulate(ctx, c, in, nil)
}

func (r *iamRows) simulatePrincipal(ctx context.Context, c *Call, in *m.SimulatePrincipalPolicyInput) (*m.SimulatePrincipalPolicyOutput, error) {
	subject, err := r.svc.Subject(ctx, deref(in.PolicySourceArn))
	if err != nil {
		return nil, err
	}
	out, err := simulate(ctx, c, &simulationInput{
		PolicyInputList: in.PolicyInputList, PermissionsBoundaryPolicyInputList: in.PermissionsBoundaryPolicyInputList,
		ActionNames: in.ActionNames, ResourceArns: in.ResourceArns, ResourcePolicy: in.ResourcePolicy, ResourceOwner: in.ResourceOwner,
		CallerArn: in.CallerArn, ContextEntries: in.ContextEntries, ResourceHandlingOption: in.ResourceHandlingOption,
		MaxItems: in.MaxItems, Marker: in.Marker,
	}, subject)
	if err != nil {
		return nil, err
	}
	return &m.SimulatePrincipalPolicyOutput{EvaluationResults: out.EvaluationResults, IsTruncated: out.IsTruncated, Marker: out.Marker}, nil
}

func simulate(ctx context.Context, c *Call, in *simulationInput, subject *iam.Subject) (*m.SimulateCustomPolicyOutput, error) {
	s, err := newSimulation(c, in, subject)
	if err != nil {
		return nil, err
	}
	from, limit, err := simulatedPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	total := len(s.actions) * len(s.resources)
	out := &m.SimulateCustomPolicyOutput{EvaluationResults: []m.EvaluationResult{}, IsTruncated: new(false)}
	work, told := 0, 0
	for n := from; n < total; n++ {
		if n-from == limit || work > maxSimulatedWork || told > maxSimulatedAnswer {
			out.IsTruncated, out.Marker = new(true), new(iot.PageToken("iam.simulate", strconv.Itoa(n)))
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		resource := s.resources[n%len(s.resources)]
		work += s.size() * (len(resource) + simulatedOverhead)
		one := s.evaluate(s.actions[n/len(s.resources)], resource)
		told += toldSize(&one)
		out.EvaluationResults = append(out.EvaluationResults, one)
	}
	return out, nil
}

// maxSimulatedWork bounds what one page may cost: bytes of policies times bytes
// of resources, which is what the worst wildcards take.
const maxSimulatedWork = 1 << 28

// simulatedOverhead is what an evaluation costs for each byte of policy beyond
// matching: statements that apply and keys that are missing are listed.
const simulatedOverhead = 16

// maxSimulatedAnswer bounds what one page tells, in bytes or so of the answer.
const maxSimulatedAnswer = 1 << 20

// toldSize is how long a result is in the answer, or so.
func toldSize(r *m.EvaluationResult) int {
	n := 200 * (1 + len(r.MatchedStatements))
	for _, key := range r.MissingContextValues {
		n += len(key) + 20
	}
	return n * (1 + len(r.ResourceSpecificResults))
}

func (s *simulation) size() int {
	n := 0
	for _, source := range slices.Concat(s.policies, s.boundary, s.resource) {
		n += len(source.Policy.Source())
	}
	return n
}

func simulatedPage(marker *string, items *int32) (from, limit int, err error) {
	limit = 100
	if items != nil {
		limit = int(*items)
	}
	if limit < 1 || limit > 1000 {
		return 0, 0, iot.Errorf(iot.KindInvalid, "validation", "1 validation error detected: Value '%d' at 'maxItems' failed to satisfy constraint: Member must have value between 1 and 1000", limit)
	}
	after, err := iot.ParsePageToken("iam.simulate", deref(marker))
	if err == nil && after != "" {
		from, err = strconv.Atoi(after)
	}
	if err != nil || from < 0 {
		return 0, 0, iot.Errorf(iot.KindInvalid, "validation", "Invalid Marker.")
	}
	return from, limit, nil
}

func badInput(format string, args ...any) error {
	return iot.Errorf(iot.KindInvalid, "input", format, args...)
}

func newSimulation(c *Call, in *simulationInput, subject *iam.Subject) (*simulation, error) {
	s := &simulation{actions: in.ActionNames, resources: in.ResourceArns, explicit: len(in.ResourceArns) > 0, places: map[*policy.Policy][][2]policy.Position{}}
	if !s.explicit {
		s.resources = []string{"*"}
	}
	for _, arn := range s.resources {
		if len(arn) > 2048 || arn == "" {
			return nil, badInput("%s is not a resource.", clipped(arn))
		}
	}
	for _, a := range s.actions {
		if service, name, ok := strings.Cut(a, ":"); !ok || service == "" || name == "" || strings.ContainsAny(a, "*?") || len(a) > 128 {
			return nil, badInput("Invalid Entity Action: %s is not an action name.", clipped(a))
		}
	}
	if o := deref(in.ResourceHandlingOption); o != "" {
		return nil, badInput("ResourceHandlingOption %s: scenarios of EC2 are not simulated.", clipped(o))
	}
	own := "arn:aws:iam::" + string(c.Account) + ":root"
	if o := deref(in.ResourceOwner); o != "" && o != own && o != string(c.Account) {
		return nil, badInput("ResourceOwner %s: only resources of this account are simulated.", clipped(o))
	}
	var err error
	if s.policies, err = iam.CompileInputs(policy.Identity, "PolicyInputList", in.PolicyInputList); err != nil {
		return nil, err
	}
	if s.boundary, err = iam.CompileInputs(policy.Identity, "PermissionsBoundaryPolicyInputList", in.PermissionsBoundaryPolicyInputList); err != nil {
		return nil, err
	}
	s.grants.HasBoundary = len(s.boundary) > 0
	if subject != nil {
		s.policies = slices.Concat(subject.Policies, s.policies)
		if !s.grants.HasBoundary { // what is passed stands in for the subject's own
			s.boundary, s.grants.HasBoundary = subject.Boundary, subject.HasBoundary
		}
	}
	if doc := deref(in.ResourcePolicy); doc != "" {
		if s.resource, err = iam.CompileInputs(policy.Resource, "ResourcePolicy", []string{doc}); err != nil {
			return nil, err
		}
		s.grants.Resource = s.resource[0].Policy
	}
	s.grants.Identity, s.grants.Boundary = setOf(s.policies), setOf(s.boundary)
	caller, err := newSimulatedCaller(string(c.Account), in.CallerArn, subject)
	if err != nil {
		return nil, err
	}
	if s.grants.Resource != nil && caller.ARN == "" {
		return nil, badInput("CallerArn must be the ARN of a user where ResourcePolicy is given.")
	}
	s.principal = caller.Principal()
	given, err := contextEntries(in.ContextEntries)
	if err != nil {
		return nil, err
	}
	s.keys = policy.KeyChain{given, caller}
	return s, nil
}

func setOf(sources []iam.Source) policy.Set {
	set := make(policy.Set, len(sources))
	for i := range sources {
		set[i] = sources[i].Policy
	}
	return set
}

// simulatedCaller is who a simulated request comes from, as far as it is known.
type simulatedCaller struct {
	account, ARN, role, id, name string
	tags                         [][2]string
}

// newSimulatedCaller knows nothing of a caller but its ARN, unless it is the
// subject: who may simulate need not be allowed to look at others.
func newSimulatedCaller(account string, arn *string, subject *iam.Subject) (*simulatedCaller, error) {
	s := &simulatedCaller{account: account}
	if a := deref(arn); a != "" {
		if !strings.HasPrefix(a, "arn:aws:iam::"+account+":user/") {
			return nil, badInput("CallerArn %s is not the ARN of a user of this account.", clipped(a))
		}
		s.ARN, s.name = a, a[strings.LastIndexByte(a, '/')+1:]
	}
	if subject == nil || s.ARN != "" && s.ARN != subject.ARN {
		return s, nil
	}
	switch subject.Kind {
	case iam.UserHolder:
		s.ARN, s.name, s.id, s.tags = subject.ARN, subject.Name, subject.ID, subject.Tags
	case iam.RoleHolder:
		s.role, s.tags = subject.ARN, subject.Tags
	case iam.GroupHolder:
	}
	return s, nil
}

// Principal returns the caller as decisions know it.
func (s *simulatedCaller) Principal() policy.Principal {
	return policy.Principal{Account: s.account, ARN: s.ARN, RoleARN: s.role, UserID: s.id}
}

// Lookup implements policy.Keys.
func (s *simulatedCaller) Lookup(key string) policy.Values {
	const unknown = "the simulated caller is not known"
	switch key {
	case "aws:username":
		return headerValue(s.name, unknown)
	case "aws:userid":
		return headerValue(s.id, unknown)
	case "aws:principalarn":
		return headerValue(s.ARN+s.role, unknown)
	case "aws:principalaccount":
		return headerValue(s.account, unknown)
	}
	if name, ok := strings.CutPrefix(key, "aws:principaltag/"); ok {
		for _, t := range s.tags {
			if policy.SameTagKey(t[0], name) {
				return policy.One(t[1])
			}
		}
	}
	return policy.Values{}
}

// contextEntries turns the request's entries into condition keys.
func contextEntries(entries []m.ContextEntry) (policy.KeyMap, error) {
	keys := make(policy.KeyMap, len(entries))
	for _, e := range entries {
		name, kind := deref(e.ContextKeyName), deref(e.ContextKeyType)
		base, list := strings.CutSuffix(kind, "List")
		switch base {
		case "string", "numeric", "boolean", "ip", "binary", "date":
		default:
			return nil, badInput("ContextKeyType %q of %s is not known.", clipped(kind), clipped(name))
		}
		switch {
		case name == "":
			return nil, badInput("A context entry has no ContextKeyName.")
		case list:
			keys[policy.NormalizeKey(name)] = policy.Many(e.ContextKeyValues)
		case len(e.ContextKeyValues) != 1:
			return nil, badInput("%s of type %s needs one value.", clipped(name), kind)
		default:
			keys[policy.NormalizeKey(name)] = policy.One(e.ContextKeyValues[0])
		}
	}
	return keys, nil
}

// evaluate decides one action on one resource.
func (s *simulation) evaluate(action, resource string) m.EvaluationResult {
	r := &policy.Request{Action: action, Resource: resource, Principal: s.principal, Keys: s.keys}
	d := s.grants.Authorize(r)
	out := m.EvaluationResult{
		EvalActionName: &action, EvalResourceName: &resource, EvalDecision: new(simulatedDecision(d.Effect)),
		MatchedStatements: []m.Statement{}, MissingContextValues: []string{},
	}
	missing := map[string]bool{}
	for _, source := range slices.Concat(s.policies, s.boundary, s.resource) {
		if d.Effect != policy.ImplicitDeny {
			for _, n := range source.Policy.Applying(r, d.Effect) {
				out.MatchedStatements = append(out.MatchedStatements, s.statementOut(source, n))
			}
		}
		for _, key := range source.Policy.MissingKeys(r) {
			if k := policy.NormalizeKey(key); !missing[k] {
				missing[k] = true
				out.MissingContextValues = append(out.MissingContextValues, key)
			}
		}
	}
	if s.grants.HasBoundary {
		out.PermissionsBoundaryDecisionDetail = &m.PermissionsBoundaryDecisionDetail{AllowedByPermissionsBoundary: new(s.grants.Boundary.Evaluate(r).Allowed())}
	}
	if s.explicit {
		out.ResourceSpecificResults = []m.ResourceSpecificResult{{
			EvalResourceName: out.EvalResourceName, EvalResourceDecision: out.EvalDecision, MatchedStatements: out.MatchedStatements,
			MissingContextValues: out.MissingContextValues, PermissionsBoundaryDecisionDetail: out.PermissionsBoundaryDecisionDetail,
		}}
	}
	return out
}

func simulatedDecision(e policy.Effect) string {
	if e == policy.Allow {
		return "allowed"
	}
	return e.String()
}

func (s *simulation) statementOut(source iam.Source, n int) m.Statement {
	places := s.places[source.Policy]
	if places == nil {
		places = source.Policy.StatementPositions()
		s.places[source.Policy] = places
	}
	return m.Statement{
		SourcePolicyId: new(source.ID), SourcePolicyType: new("IAM Policy"),
		StartPosition: positionOut(places[n][0]), EndPosition: positionOut(places[n][1]),
	}
}

func positionOut(p policy.Position) *m.Position {
	return &m.Position{Line: new(int32(p.Line)), Column: new(int32(p.Column))} //nolint:gosec // of a document of at most a megabyte
}
