package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/sekisho-iot/sekisho/internal/backup"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Backups makes backups.
type Backups interface {
	// Begin takes a copy of everything as it is now; KindBusy while another
	// backup is under way. The caller closes it.
	Begin(ctx context.Context) (BackupCopy, error)
}

// BackupCopy is a backup under way.
type BackupCopy interface {
	// Send writes the archive, sealed for the recipient.
	Send(ctx context.Context, w io.Writer, recipient string) error
	Close()
}

// CreateBackupInput says for whose key the archive is sealed on its way.
type CreateBackupInput struct {
	Recipient string `json:"recipient"` // age1…
}

// Maintenance is what an operator does to a running server.
type Maintenance struct {
	Backups Backups
	Keys    Keys
}

// operations works with a nil m, for listing.
func (m *Maintenance) operations() []Operation {
	return []Operation{
		at(http.MethodPost, ownPath+"backup", op("CreateBackup", "sekisho:CreateBackup", nil, m.createBackup)),
		at(http.MethodPost, ownPath+"keys/rotate", op("RotateKeys", "sekisho:RotateKeys", nil, m.rotateKeys)),
	}
}

// createBackup answers with the archive. Whoever may call it gets every key
// that the server has.
func (m *Maintenance) createBackup(ctx context.Context, c *Call, in *CreateBackupInput) (*struct{}, error) {
	if len(in.Recipient) > 200 || backup.CheckRecipient(in.Recipient) != nil {
		return nil, iot.Errorf(iot.KindInvalid, "backup", "recipient must be a public key of age (age1…)")
	}
	copied, err := m.Backups.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer copied.Close()
	c.handler.log.LogAttrs(ctx, slog.LevelWarn, "backup begun, with every key in it",
		slog.String("request_id", c.RequestID), slog.String("principal", c.Identity.Principal.String()), slog.String("source", c.HTTP.RemoteAddr))
	header := c.Writer.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("X-Amzn-Requestid", c.RequestID)
	c.Writer.WriteHeader(http.StatusOK)
	return nil, copied.Send(ctx, c.Writer, in.Recipient)
}

// Keys is the key ring.
type Keys interface {
	// Rotate makes a new current key. Sessions of compromised ones end at once.
	Rotate(ctx context.Context, compromised bool) (*RotateKeysOutput, error)
}

// RotateKeysInput says why: the old keys may be in somebody else's hands, or it
// is time.
type RotateKeysInput struct {
	Compromised bool `json:"compromised"`
}

// RotateKeysOutput says what became of the keys, by their ids.
type RotateKeysOutput struct {
	Key        uint32    `json:"key"` // seals from now on
	Created    time.Time `json:"created"`
	Retired    []uint32  `json:"retired"` // sessions that they sealed go on until Until
	Until      time.Time `json:"until"`
	Dropped    []uint32  `json:"dropped"`    // sessions that they sealed have ended
	AccessKeys int       `json:"accessKeys"` // whose secrets were sealed anew
}

func (m *Maintenance) rotateKeys(ctx context.Context, c *Call, in *RotateKeysInput) (*RotateKeysOutput, error) {
	out, err := m.Keys.Rotate(ctx, in.Compromised)
	if err != nil {
		return nil, err
	}
	c.handler.log.LogAttrs(ctx, slog.LevelWarn, "key ring rotated",
		slog.String("request_id", c.RequestID), slog.String("principal", c.Identity.Principal.String()),
		slog.String("source", c.HTTP.RemoteAddr), slog.Bool("compromised", in.Compromised),
		slog.Uint64("current", uint64(out.Key)), slog.Any("retired", out.Retired), slog.Any("dropped", out.Dropped),
		slog.Int("access_keys", out.AccessKeys))
	return out, nil
}
