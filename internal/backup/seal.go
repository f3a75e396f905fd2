package backup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"filippo.io/age"
)

// Errors of opening what was sealed.
var (
	ErrPassphrase = errors.New("the passphrase is not the one that the backup was sealed under, or its first bytes are damaged")
	ErrNotBackup  = errors.New("this is not a backup of Sekisho")
	ErrDamaged    = errors.New("the backup is damaged or was cut short")
)

// maxWorkFactor bounds what a file may have scrypt take: 2^20 are 1 GiB and some seconds.
const maxWorkFactor = 20

// Seal returns a writer whose bytes are sealed under the passphrase; they are
// complete when it has been closed. A workFactor of 0 is age's own.
func Seal(w io.Writer, passphrase string, workFactor int) (io.WriteCloser, error) {
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, fmt.Errorf("passphrase: %w", err)
	}
	if workFactor != 0 {
		r.SetWorkFactor(workFactor)
	}
	sealed, err := age.Encrypt(w, r)
	forgetScrypt()
	return sealed, err
}

// forgetScrypt gives back what scrypt took, 256 MiB: the heap would grow to
// twice as much before they are collected.
func forgetScrypt() { debug.FreeOSMemory() }

// Open returns what was sealed under the passphrase: ErrPassphrase for another
// one, ErrNotBackup for what is no sealed file.
func Open(r io.Reader, passphrase string) (io.Reader, error) {
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, fmt.Errorf("passphrase: %w", err)
	}
	id.SetMaxWorkFactor(maxWorkFactor)
	const begins = "age-encryption.org/v1\n"
	buffered := bufio.NewReaderSize(r, 256<<10)
	if head, err := buffered.Peek(len(begins)); string(head) != begins {
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read the backup: %w", err)
		}
		return nil, ErrNotBackup
	}
	opened, err := age.Decrypt(buffered, id)
	forgetScrypt()
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return nil, ErrPassphrase
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return &reader{opened}, nil
}

// Transfer is the key of one transfer.
type Transfer struct{ identity *age.X25519Identity }

// NewTransfer makes a key.
func NewTransfer() (*Transfer, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("make a key for the transfer: %w", err)
	}
	return &Transfer{id}, nil
}

// Recipient is the public half, for SealFor.
func (t *Transfer) Recipient() string { return t.identity.Recipient().String() }

// Open returns what was sealed for the key.
func (t *Transfer) Open(r io.Reader) (io.Reader, error) {
	opened, err := age.Decrypt(r, t.identity)
	if err != nil {
		return nil, fmt.Errorf("open what the server sent: %w", err)
	}
	return &reader{opened}, nil
}

// CheckRecipient reports whether s is the public half of a Transfer.
func CheckRecipient(s string) error {
	_, err := age.ParseX25519Recipient(s)
	return err
}

// SealFor returns a writer whose bytes only the holder of the recipient's key
// can read; they are complete when it has been closed.
func SealFor(w io.Writer, recipient string) (io.WriteCloser, error) {
	r, err := age.ParseX25519Recipient(recipient)
	if err != nil {
		return nil, err
	}
	return age.Encrypt(w, r)
}

// reader tells an end that was sealed as one from all others.
type reader struct{ r io.Reader }

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return n, err
}
