package iam

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

const maxKeysOfUser = 2

// CreateUserInput is what CreateUser takes.
type CreateUserInput struct {
	Name, Path string
	Boundary   string // ARN
	Tags       []Tag
}

// CreateUser creates a user.
func (s *Service) CreateUser(ctx context.Context, in CreateUserInput) (User, error) {
	if err := checkName(in.Name, "userName", maxUserName); err != nil {
		return User{}, err
	}
	if in.Path == "" {
		in.Path = "/"
	}
	if err := checkPath(in.Path); err != nil {
		return User{}, err
	}
	if err := checkTags(in.Tags); err != nil {
		return User{}, err
	}
	if err := s.checkBoundary(ctx, in.Boundary); err != nil {
		return User{}, err
	}
	id, err := newID(s.random, userPrefix, 17)
	if err != nil {
		return User{}, err
	}
	u := User{
		ID: id, Name: in.Name, Path: in.Path, ARN: s.arn("user" + in.Path + in.Name),
		Boundary: in.Boundary, CreatedAt: s.stamp(), Tags: in.Tags,
	}
	if err := s.store.InsertUser(ctx, u); err != nil {
		return User{}, err
	}
	return u, nil
}

// User returns a user by name.
func (s *Service) User(ctx context.Context, name string) (User, error) {
	if err := checkName(name, "userName", maxUserName); err != nil {
		return User{}, err
	}
	return s.store.User(ctx, name)
}

// Users lists users by name.
func (s *Service) Users(ctx context.Context, o ListOptions) ([]User, string, error) {
	p, err := page("users", o)
	if err != nil {
		return nil, "", err
	}
	list, err := s.store.Users(ctx, p)
	if err != nil {
		return nil, "", err
	}
	list, marker := cut("users", p, list, func(u User) string { return strings.ToLower(u.Name) })
	return list, marker, nil
}

// DeleteUser deletes a user that has neither policies nor keys any more.
func (s *Service) DeleteUser(ctx context.Context, name string) error {
	if err := checkName(name, "userName", maxUserName); err != nil {
		return err
	}
	return s.store.DeleteUser(ctx, name)
}

// CreateAccessKey creates a key and returns its secret, which is never shown
// again. The name "" creates one of the account root.
func (s *Service) CreateAccessKey(ctx context.Context, userName string) (AccessKey, string, error) {
	k := AccessKey{UserName: userName, Active: true, CreatedAt: s.stamp()}
	if userName != "" {
		u, err := s.User(ctx, userName)
		if err != nil {
			return AccessKey{}, "", err
		}
		k.UserID = u.ID
	}
	var err error
	if k.ID, err = newID(s.random, keyPrefix, 16); err != nil {
		return AccessKey{}, "", err
	}
	raw := make([]byte, 30)
	if _, err := io.ReadFull(s.random, raw); err != nil {
		return AccessKey{}, "", fmt.Errorf("read randomness: %w", err)
	}
	secret := base64.StdEncoding.EncodeToString(raw)
	if err := s.insertKey(ctx, k, secret, maxKeysOfUser); err != nil {
		return AccessKey{}, "", err
	}
	return k, secret, nil
}

func (s *Service) insertKey(ctx context.Context, k AccessKey, secret string, limit int) error {
	s.sealing.RLock()
	defer s.sealing.RUnlock()
	sealed, err := s.sealer.Seal([]byte(secret), []byte(k.ID))
	if err != nil {
		return fmt.Errorf("seal access key: %w", err)
	}
	k.Sealed = sealed
	return s.store.InsertKey(ctx, k, limit)
}

// EnsureAdmin makes id a key of the account root, unless there is a key of
// that id already, which is left as it is.
func (s *Service) EnsureAdmin(ctx context.Context, id, secret string) error {
	if err := checkKeyID(id); err != nil {
		return err
	}
	if len(secret) < 8 || len(secret) > 128 {
		return invalid("An administrator's secret access key has 8 to 128 characters.")
	}
	_, err := s.store.Key(ctx, id)
	if !iot.IsKind(err, iot.KindNotFound) {
		return err
	}
	return s.insertKey(ctx, AccessKey{ID: id, Active: true, CreatedAt: s.stamp()}, secret, 0)
}

// RootCreated says when the account was made: when the oldest key of its root was.
func (s *Service) RootCreated(ctx context.Context) (time.Time, error) {
	keys, err := s.store.Keys(ctx, "")
	if err != nil || len(keys) == 0 {
		return time.Time{}, err
	}
	oldest := keys[0].CreatedAt
	for _, k := range keys[1:] {
		if k.CreatedAt.Before(oldest) {
			oldest = k.CreatedAt
		}
	}
	return oldest, nil
}

// AccessKeys lists the keys of a user, without secrets; "" lists the account root's.
func (s *Service) AccessKeys(ctx context.Context, userName string, o ListOptions) ([]AccessKey, string, error) {
	if userName != "" {
		if err := checkName(userName, "userName", maxUserName); err != nil {
			return nil, "", err
		}
	}
	p, err := page("keys", o)
	if err != nil {
		return nil, "", err
	}
	list, err := s.store.Keys(ctx, userName)
	if err != nil {
		return nil, "", err
	}
	list, marker := slice("keys", p, list, func(k AccessKey) string { return k.ID })
	return list, marker, nil
}

// UpdateAccessKey activates or deactivates a key of a user, or of the root ("").
func (s *Service) UpdateAccessKey(ctx context.Context, userName, id, status string) error {
	if err := checkKeyID(id); err != nil {
		return err
	}
	if status != "Active" && status != "Inactive" {
		return constraint(status, "status", "satisfy enum value set: [Active, Inactive]")
	}
	return s.store.SetKeyStatus(ctx, userName, id, status == "Active")
}

// DeleteAccessKey deletes a key of a user, or of the root ("").
func (s *Service) DeleteAccessKey(ctx context.Context, userName, id string) error {
	if err := checkKeyID(id); err != nil {
		return err
	}
	return s.store.DeleteKey(ctx, userName, id)
}

func checkKeyID(id string) error {
	ok := len(id) >= 16 && len(id) <= 128
	for i := range len(id) {
		c := id[i]
		ok = ok && (c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_')
	}
	if !ok {
		return constraint(id, "accessKeyId", `satisfy regular expression pattern: [\w]{16,128}`)
	}
	return nil
}

// KeyOwner returns the user that a key belongs to, "" for the account root.
func (s *Service) KeyOwner(ctx context.Context, id string) (string, error) {
	if err := checkKeyID(id); err != nil {
		return "", err
	}
	k, err := s.store.Key(ctx, id)
	return k.UserName, err
}
