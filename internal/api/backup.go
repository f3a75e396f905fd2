package api

import (
	"context"
	"io"
	"net/http"

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
}

// operations works with a nil m, for listing.
func (m *Maintenance) operations() []Operation {
	return []Operation{
		at(http.MethodPost, ownPath+"backup", op("CreateBackup", "sekisho:CreateBackup", nil, m.createBackup)),
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
	header := c.Writer.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("X-Amzn-Requestid", c.RequestID)
	c.Writer.WriteHeader(http.StatusOK)
	return nil, copied.Send(ctx, c.Writer, in.Recipient)
}
