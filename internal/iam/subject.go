package iam

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// Source is a policy and what IAM's simulator calls it.
type Source struct {
	ID     string
	Policy *policy.Policy
}

// Subject is a user, group or role with all the policies that count for it.
type Subject struct {
	Holder
	ID, ARN     string
	Tags        [][2]string
	Policies    []Source // those of a user's groups too
	Boundary    []Source
	HasBoundary bool
}

// Subject returns what counts for the user, group or role of an ARN.
func (s *Service) Subject(ctx context.Context, arn string) (*Subject, error) {
	p, err := iot.ParseARN(arn)
	kind, path, ok := strings.Cut(p.Resource, "/")
	if err != nil || !ok || p.Service != "iam" || p.Account != string(s.account) {
		return nil, iot.Errorf(iot.KindInvalid, "input", "Invalid Entity Arn: %s does not clearly define entity type and name.", clip(arn))
	}
	sub := &Subject{Holder: Holder{Name: path[strings.LastIndexByte(path, '/')+1:]}, ARN: arn}
	var found, boundary string
	switch kind {
	case "user":
		var u User
		sub.Kind = UserHolder
		u, err = s.User(ctx, sub.Name)
		sub.ID, found, boundary, sub.Tags = u.ID, u.ARN, u.Boundary, pairs(u.Tags)
	case "role":
		var r Role
		sub.Kind = RoleHolder
		r, err = s.Role(ctx, sub.Name)
		sub.ID, found, boundary, sub.Tags = r.ID, r.ARN, r.Boundary, pairs(r.Tags)
	case "group":
		var g Group
		sub.Kind = GroupHolder
		g, err = s.Group(ctx, sub.Name)
		sub.ID, found = g.ID, g.ARN
	default:
		err = iot.Errorf(iot.KindInvalid, "input", "Invalid Entity Arn: %s does not clearly define entity type and name.", clip(arn))
	}
	if err == nil && found != arn {
		err = iot.Errorf(iot.KindNotFound, kind, "%s cannot be found.", clip(arn))
	}
	if err != nil {
		return nil, err
	}
	return sub, s.fill(ctx, sub, boundary)
}

func (s *Service) fill(ctx context.Context, sub *Subject, boundary string) error {
	holders := []Holder{sub.Holder}
	if sub.Kind == UserHolder {
		groups, err := s.store.GroupsOf(ctx, sub.Name)
		if err != nil {
			return err
		}
		for _, g := range groups {
			holders = append(holders, Holder{GroupHolder, g.Name})
		}
	}
	for _, h := range holders {
		sources, err := s.sourcesOf(ctx, h)
		if err != nil {
			return err
		}
		sub.Policies = append(sub.Policies, sources...)
	}
	if boundary == "" {
		return nil
	}
	p, err := s.documents.Get(ctx, boundary)
	_, name := splitPolicyARN(boundary)
	sub.Boundary, sub.HasBoundary = []Source{{name, p.Policy}}, true
	return err
}

func (s *Service) sourcesOf(ctx context.Context, h Holder) ([]Source, error) {
	held, err := s.store.Held(ctx, h)
	if err != nil {
		return nil, err
	}
	var list []Source
	for _, in := range held.Inline {
		p, err := policy.Compile(policy.Identity, inlineName(h, in.Name), []byte(in.Document))
		if err != nil {
			return nil, fmt.Errorf("compile stored %s: %w", inlineName(h, in.Name), err)
		}
		list = append(list, Source{h.Kind.String() + "_" + h.Name + "_" + in.Name, p})
	}
	for _, arn := range held.Attached {
		p, err := s.documents.Get(ctx, arn)
		if err != nil {
			return nil, err
		}
		_, name := splitPolicyARN(arn)
		list = append(list, Source{name, p.Policy})
	}
	return list, nil
}

// CompileInputs compiles documents that a request brings, called by the
// request's list and their number.
func CompileInputs(use policy.Use, list string, docs []string) ([]Source, error) {
	var sources []Source
	for i, doc := range docs {
		id := fmt.Sprintf("%s.%d", list, i+1)
		p, err := policy.Compile(use, id, []byte(doc))
		if err != nil {
			return nil, iot.Errorf(iot.KindInvalid, "input", "%s: %s", id, messageOf(err))
		}
		sources = append(sources, Source{id, p})
	}
	return sources, nil
}

func messageOf(err error) string {
	if known, ok := errors.AsType[*iot.Error](err); ok {
		return known.Message
	}
	return err.Error()
}

// ContextKeys lists the keys that policies ask for, in order.
func ContextKeys(sources []Source) []string {
	var keys []string
	seen := map[string]bool{}
	for _, s := range sources {
		for _, key := range s.Policy.ContextKeys() {
			if n := policy.NormalizeKey(key); !seen[n] {
				seen[n] = true
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	return keys
}
