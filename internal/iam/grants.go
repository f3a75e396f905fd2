package iam

import (
	"context"
	"slices"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

const maxAttached = 10

// PutInlinePolicy embeds a policy in a role or user, or replaces it.
func (s *Service) PutInlinePolicy(ctx context.Context, h Holder, name, doc string) error {
	if err := h.check(); err != nil {
		return err
	}
	if err := checkName(name, "policyName", maxPolicyName); err != nil {
		return err
	}
	if err := check(policy.Identity, inlineName(h, name), "policyDocument", doc); err != nil {
		return err
	}
	limit := maxInlineOfRole
	switch h.Kind {
	case UserHolder:
		limit = maxInlineOfUser
	case GroupHolder:
		limit = maxInlineOfGroup
	case RoleHolder:
	}
	return s.store.PutInline(ctx, h, InlinePolicy{Name: name, Document: doc}, limit)
}

// InlinePolicy returns the document of an embedded policy.
func (s *Service) InlinePolicy(ctx context.Context, h Holder, name string) (string, error) {
	if err := h.check(); err != nil {
		return "", err
	}
	if err := checkName(name, "policyName", maxPolicyName); err != nil {
		return "", err
	}
	held, err := s.store.Held(ctx, h)
	if err != nil {
		return "", err
	}
	for _, p := range held.Inline {
		if p.Name == name {
			return p.Document, nil
		}
	}
	return "", NoSuchInline(h, name)
}

// NoSuchInline is the error for an embedded policy that a holder does not have.
func NoSuchInline(h Holder, name string) *iot.Error {
	return iot.Errorf(iot.KindNotFound, "policy", "The %s policy with name %s cannot be found.", h.Kind, name)
}

// InlinePolicies lists the names of the policies embedded in a role or user.
func (s *Service) InlinePolicies(ctx context.Context, h Holder, o ListOptions) ([]string, string, error) {
	if err := h.check(); err != nil {
		return nil, "", err
	}
	p, err := page("inline", o)
	if err != nil {
		return nil, "", err
	}
	held, err := s.store.Held(ctx, h)
	if err != nil {
		return nil, "", err
	}
	names := make([]string, len(held.Inline))
	for i := range held.Inline {
		names[i] = held.Inline[i].Name
	}
	names, marker := slice("inline", p, names, func(n string) string { return n })
	return names, marker, nil
}

// DeleteInlinePolicy removes a policy embedded in a role or user.
func (s *Service) DeleteInlinePolicy(ctx context.Context, h Holder, name string) error {
	if err := h.check(); err != nil {
		return err
	}
	if err := checkName(name, "policyName", maxPolicyName); err != nil {
		return err
	}
	return s.store.DeleteInline(ctx, h, name)
}

// AttachPolicy attaches a managed policy to a role or user; doing it again does nothing.
func (s *Service) AttachPolicy(ctx context.Context, h Holder, arn string) error {
	if err := h.check(); err != nil {
		return err
	}
	if err := checkPolicyARN(arn); err != nil {
		return err
	}
	if _, ok := s.builtin[arn]; !ok && (strings.HasPrefix(arn, awsPolicyPrefix) || !s.isPolicyARN(arn)) {
		return NotAttachable(arn)
	}
	return s.store.Attach(ctx, h, arn, s.stamp(), maxAttached)
}

// NotAttachable is the error for a managed policy that does not exist where one is handed over.
func NotAttachable(arn string) *iot.Error {
	return iot.Errorf(iot.KindNotFound, "policy", "Policy %s does not exist or is not attachable.", arn)
}

func attachable(arn string, err error) error {
	if iot.IsKind(err, iot.KindNotFound) {
		return NotAttachable(arn)
	}
	return err
}

// DetachPolicy detaches a managed policy from a role or user.
func (s *Service) DetachPolicy(ctx context.Context, h Holder, arn string) error {
	if err := h.check(); err != nil {
		return err
	}
	if err := checkPolicyARN(arn); err != nil {
		return err
	}
	return s.store.Detach(ctx, h, arn)
}

// AttachedPolicies lists the managed policies of a role or user.
func (s *Service) AttachedPolicies(ctx context.Context, h Holder, o ListOptions) ([]Attachment, string, error) {
	if err := h.check(); err != nil {
		return nil, "", err
	}
	p, err := page("attached", o)
	if err != nil {
		return nil, "", err
	}
	held, err := s.store.Held(ctx, h)
	if err != nil {
		return nil, "", err
	}
	list := held.Attachments()
	list = slices.DeleteFunc(list, func(a Attachment) bool {
		path, _ := splitPolicyARN(a.ARN)
		return !strings.HasPrefix(path, p.PathPrefix)
	})
	list, marker := slice("attached", p, list, func(a Attachment) string { return a.ARN })
	return list, marker, nil
}

// Attachments returns the managed policies with their names.
func (h *Held) Attachments() []Attachment {
	list := make([]Attachment, len(h.Attached))
	for i, arn := range h.Attached {
		_, name := splitPolicyARN(arn)
		list[i] = Attachment{Name: name, ARN: arn}
	}
	return list
}

// splitPolicyARN returns the path and name in the ARN of a managed policy.
func splitPolicyARN(arn string) (path, name string) {
	_, rest, _ := strings.Cut(arn, ":policy")
	i := strings.LastIndexByte(rest, '/') + 1
	return rest[:i], rest[i:]
}
