package credential

import (
	"encoding/json"
	"time"
)

// ProcessJSON is what a credential_process prints.
func (s *Session) ProcessJSON() ([]byte, error) {
	return json.MarshalIndent(struct { //nolint:gosec // what the caller wants
		Version         int
		AccessKeyId     string
		SecretAccessKey string
		SessionToken    string
		Expiration      string
	}{1, s.AccessKeyID, s.SecretAccessKey, s.SessionToken, s.expiration()}, "", "  ")
}

// ContainerJSON is what a container credentials endpoint answers.
func (s *Session) ContainerJSON() ([]byte, error) {
	return json.Marshal(struct {
		AccessKeyId     string
		SecretAccessKey string
		Token           string
		Expiration      string
	}{s.AccessKeyID, s.SecretAccessKey, s.SessionToken, s.expiration()})
}

func (s *Session) expiration() string {
	return s.LocalExpiration().UTC().Truncate(time.Second).Format(time.RFC3339)
}
