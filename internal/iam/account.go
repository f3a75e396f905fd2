package iam

import (
	"context"
	"regexp"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// AccountStore keeps what there is one of.
type AccountStore interface {
	// AccountAlias returns the account's alias, "" for none.
	AccountAlias(ctx context.Context) (string, error)
	// SetAccountAlias replaces the alias; "" takes it away.
	SetAccountAlias(ctx context.Context, alias string) error
	// Count counts what the account has.
	Count(ctx context.Context) (Counts, error)
}

// Counts are how many of each thing the account has.
type Counts struct {
	Users, Groups, Roles, Policies, Versions, InstanceProfiles, Providers int
	RootKeys                                                              int
}

// AccountAlias returns the account's alias, "" for none.
func (s *Service) AccountAlias(ctx context.Context) (string, error) { return s.store.AccountAlias(ctx) }

// SetAccountAlias replaces the account's alias.
func (s *Service) SetAccountAlias(ctx context.Context, alias string) error {
	const pattern = `[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]`
	ok := regexp.MustCompile(`^[a-z0-9](-?[a-z0-9])+$`).MatchString(alias) && len(alias) >= 3 && len(alias) <= 63
	if !ok {
		return constraint(alias, "accountAlias", "satisfy regular expression pattern: %s", "^"+pattern+"$")
	}
	return s.store.SetAccountAlias(ctx, alias)
}

// DeleteAccountAlias takes the account's alias away.
func (s *Service) DeleteAccountAlias(ctx context.Context, alias string) error {
	is, err := s.store.AccountAlias(ctx)
	if err != nil {
		return err
	}
	if is == "" || is != alias {
		return iot.Errorf(iot.KindNotFound, "account-alias", "The account alias %s cannot be found.", clip(alias))
	}
	return s.store.SetAccountAlias(ctx, "")
}

// Summary is what GetAccountSummary answers: how many there are, and the quotas.
func (s *Service) Summary(ctx context.Context) (map[string]int, error) {
	n, err := s.store.Count(ctx)
	if err != nil {
		return nil, err
	}
	rootKeys := 0
	if n.RootKeys > 0 {
		rootKeys = 1
	}
	return map[string]int{
		"Users": n.Users, "Groups": n.Groups, "Roles": n.Roles, "Policies": n.Policies, "PolicyVersionsInUse": n.Versions,
		"InstanceProfiles": n.InstanceProfiles, "Providers": n.Providers, "AccountAccessKeysPresent": rootKeys,
		"AccountMFAEnabled": 0, "MFADevices": 0, "MFADevicesInUse": 0, "ServerCertificates": 0, "AccountSigningCertificatesPresent": 0, "AccountPasswordPresent": 0,
		"AccessKeysPerUserQuota": maxKeysOfUser, "GroupsPerUserQuota": maxGroupsOfUser, "VersionsPerPolicyQuota": maxVersions,
		"PolicySizeQuota": maxManaged, "AssumeRolePolicySizeQuota": maxTrustPolicy, "UserPolicySizeQuota": maxInlineOfUser, "GroupPolicySizeQuota": maxInlineOfGroup,
		"RolePolicySizeQuota": maxInlineOfRole, "AttachedPoliciesPerUserQuota": maxAttached, "AttachedPoliciesPerGroupQuota": maxAttached, "AttachedPoliciesPerRoleQuota": maxAttached,
	}, nil
}
