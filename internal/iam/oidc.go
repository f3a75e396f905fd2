package iam

import (
	"context"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

const (
	maxClientIDs   = 100
	maxClientID    = 255
	maxThumbprints = 5
	maxProviderURL = 255
)

// OIDCProvider is an identity provider that speaks OpenID Connect.
type OIDCProvider struct {
	ARN         string
	URL         string // without https://
	ClientIDs   []string
	Thumbprints []string
	CreatedAt   time.Time
	Tags        []Tag
}

// OIDCStore keeps OIDC providers.
type OIDCStore interface {
	InsertProvider(ctx context.Context, p OIDCProvider) error
	Provider(ctx context.Context, arn string) (OIDCProvider, error)
	// Providers lists all by ARN, without tags.
	Providers(ctx context.Context) ([]OIDCProvider, error)
	// UpdateProvider replaces what change returns of it: client IDs and thumbprints.
	UpdateProvider(ctx context.Context, arn string, change func(*OIDCProvider) error) error
	// DeleteProvider is idempotent.
	DeleteProvider(ctx context.Context, arn string) error
}

// ProviderARN returns the ARN that a provider of this URL has.
func (s *Service) ProviderARN(address string) string {
	return s.arn("oidc-provider/" + strings.TrimPrefix(address, "https://"))
}

// CreateOIDCProvider keeps an identity provider. Nobody is asked at its URL.
func (s *Service) CreateOIDCProvider(ctx context.Context, address string, clientIDs, thumbprints []string, tags []Tag) (OIDCProvider, error) {
	if err := checkProviderURL(address); err != nil {
		return OIDCProvider{}, err
	}
	if len(clientIDs) > maxClientIDs {
		return OIDCProvider{}, clientIDLimit()
	}
	for _, id := range clientIDs {
		if err := checkClientID(id); err != nil {
			return OIDCProvider{}, err
		}
	}
	if err := checkThumbprints(thumbprints); err != nil {
		return OIDCProvider{}, err
	}
	if err := checkTags(tags); err != nil {
		return OIDCProvider{}, err
	}
	p := OIDCProvider{
		ARN: s.ProviderARN(address), URL: strings.TrimPrefix(address, "https://"),
		Thumbprints: thumbprints, CreatedAt: s.stamp(), Tags: tags,
	}
	for _, id := range clientIDs {
		if !slices.Contains(p.ClientIDs, id) {
			p.ClientIDs = append(p.ClientIDs, id)
		}
	}
	return p, s.store.InsertProvider(ctx, p)
}

func checkProviderURL(address string) error {
	u, err := url.Parse(address)
	if len(address) > maxProviderURL {
		return constraint(address, "url", "have length less than or equal to %d", maxProviderURL)
	}
	ok := err == nil && u.Scheme == "https" && strings.HasPrefix(address, "https://") && u.Hostname() != "" && u.Port() == "" && u.User == nil &&
		!strings.ContainsAny(address, "?# \t\r\n") && !strings.HasSuffix(u.Host, ":")
	for i := range len(address) {
		ok = ok && address[i] > ' ' && address[i] < 0x7f
	}
	if !ok {
		return iot.Errorf(iot.KindInvalid, "input", "Invalid Open ID Connect Provider URL")
	}
	return nil
}

func checkClientID(id string) error {
	ok := len(id) >= 1 && len(id) <= maxClientID
	for i := range len(id) {
		ok = ok && id[i] >= ' ' && id[i] < 0x7f
	}
	if !ok {
		return constraint(id, "clientID", "have length between 1 and %d", maxClientID)
	}
	return nil
}

func clientIDLimit() error {
	return iot.Errorf(iot.KindLimit, "oidc-provider", "Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: %d", maxClientIDs)
}

func checkThumbprints(list []string) error {
	if len(list) > maxThumbprints {
		return iot.Errorf(iot.KindInvalid, "input", "Thumbprint list must contain fewer than %d entries.", maxThumbprints+1)
	}
	for _, t := range list {
		if raw, err := hex.DecodeString(t); err != nil || len(raw) != 20 {
			return constraint(t, "thumbprintList", "have length of 40 hexadecimal digits")
		}
	}
	return nil
}

func (s *Service) checkProviderARN(arn string) error {
	if !strings.HasPrefix(arn, s.arn("oidc-provider/")) || len(arn) > 2048 {
		return iot.Errorf(iot.KindInvalid, "input", "Invalid ARN: %s", clip(arn))
	}
	return nil
}

// NoSuchProvider is the error for an OIDC provider that does not exist.
func NoSuchProvider(arn string) *iot.Error {
	return iot.Errorf(iot.KindNotFound, "oidc-provider", "OpenIDConnect Provider not found for arn %s", clip(arn))
}

// OIDCProvider returns a provider.
func (s *Service) OIDCProvider(ctx context.Context, arn string) (OIDCProvider, error) {
	if err := s.checkProviderARN(arn); err != nil {
		return OIDCProvider{}, err
	}
	return s.store.Provider(ctx, arn)
}

// OIDCProviders lists all providers by ARN.
func (s *Service) OIDCProviders(ctx context.Context) ([]OIDCProvider, error) {
	return s.store.Providers(ctx)
}

// DeleteOIDCProvider deletes a provider, if there is one.
func (s *Service) DeleteOIDCProvider(ctx context.Context, arn string) error {
	if err := s.checkProviderARN(arn); err != nil {
		return err
	}
	return s.store.DeleteProvider(ctx, arn)
}

// AddClientID adds an audience that a provider's tokens may have; doing it again does nothing.
func (s *Service) AddClientID(ctx context.Context, arn, id string) error {
	if err := checkClientID(id); err != nil {
		return err
	}
	return s.updateProvider(ctx, arn, func(p *OIDCProvider) error {
		if slices.Contains(p.ClientIDs, id) {
			return nil
		}
		if len(p.ClientIDs) == maxClientIDs {
			return clientIDLimit()
		}
		p.ClientIDs = append(p.ClientIDs, id)
		return nil
	})
}

// RemoveClientID is the opposite of AddClientID.
func (s *Service) RemoveClientID(ctx context.Context, arn, id string) error {
	if err := checkClientID(id); err != nil {
		return err
	}
	return s.updateProvider(ctx, arn, func(p *OIDCProvider) error {
		p.ClientIDs = slices.DeleteFunc(p.ClientIDs, func(other string) bool { return other == id })
		return nil
	})
}

// SetThumbprints replaces the thumbprints of a provider's certificates.
func (s *Service) SetThumbprints(ctx context.Context, arn string, list []string) error {
	if err := checkThumbprints(list); err != nil {
		return err
	}
	return s.updateProvider(ctx, arn, func(p *OIDCProvider) error {
		p.Thumbprints = list
		return nil
	})
}

func (s *Service) updateProvider(ctx context.Context, arn string, change func(*OIDCProvider) error) error {
	if err := s.checkProviderARN(arn); err != nil {
		return err
	}
	return s.store.UpdateProvider(ctx, arn, change)
}
