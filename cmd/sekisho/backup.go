package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
	"github.com/sekisho-iot/sekisho/internal/backup"
	"github.com/sekisho-iot/sekisho/internal/server"
)

const (
	passphraseEnv   = "SEKISHO_BACKUP_PASSPHRASE" //nolint:gosec // the name of it
	shortPassphrase = 12
)

func makeBackup(ctx context.Context, t *cli.Terminal, args []string) error {
	fs := cli.NewFlags(t, "backup", "FILE", "Copies everything that the server keeps into FILE, while the server goes on: things, policies,\n"+
		"objects, MQTT sessions and their queues, and every key. What was acknowledged before this\n"+
		"command began is in it. FILE is sealed under the passphrase in "+passphraseEnv+", or one\n"+
		"that is asked for; without it nobody can read the file, nor restore it. It is in the format\n"+
		"of age (age-encryption.org). - writes to the standard output.")
	if err := fs.ParseWords(args, 1); err != nil {
		return err
	}
	c, err := connect(t)
	if err != nil {
		return err
	}
	if err := checkAbsent(fs.Arg(0)); err != nil {
		return err
	}
	passphrase, err := readPassphrase(t, true)
	if err != nil {
		return err
	}
	transfer, err := backup.NewTransfer()
	if err != nil {
		return err
	}
	answer, err := c.Stream(ctx, "sekisho", http.MethodPost, "/_sekisho/backup", map[string]string{"recipient": transfer.Recipient()})
	if err != nil {
		return err
	}
	defer answer.Close()
	n, err := saveNew(t, fs.Arg(0), func(w io.Writer) (int64, error) { return reseal(w, answer, transfer, passphrase) })
	if err != nil {
		return err
	}
	fmt.Fprintf(t.Stderr, "%s holds %s, sealed. Keep the passphrase elsewhere: without it the file is worth nothing.\n", fs.Arg(0), megabytes(n))
	return nil
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

func checkAbsent(name string) error {
	if name == "-" {
		return nil
	}
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s exists already; it is left as it is", name)
	}
	return nil
}

// readPassphrase takes the passphrase from the environment or asks for it, a
// new one twice.
func readPassphrase(t *cli.Terminal, isNew bool) (string, error) {
	p := t.Getenv(passphraseEnv)
	if p == "" && t.ReadSecret == nil {
		return "", fmt.Errorf("there is no passphrase: set %s, or run this at a terminal", passphraseEnv)
	}
	if p == "" {
		var err error
		if p, err = t.ReadSecret("Passphrase of the backup: "); err != nil {
			return "", fmt.Errorf("read the passphrase: %w", err)
		}
		if p == "" {
			return "", errors.New("the passphrase is empty")
		}
		if isNew {
			again, err := t.ReadSecret("The same once more: ")
			if err != nil {
				return "", fmt.Errorf("read the passphrase: %w", err)
			}
			if again != p {
				return "", errors.New("these are two different passphrases")
			}
		}
	}
	if isNew && len(p) < shortPassphrase {
		fmt.Fprintf(t.Stderr, "The passphrase has %d characters. Whoever gets hold of the file can try passphrases until one opens it: take a longer one.\n", len(p))
	}
	return p, nil
}

// reseal opens what comes for the transfer's key, and seals it under the passphrase.
func reseal(w io.Writer, r io.Reader, transfer *backup.Transfer, passphrase string) (int64, error) {
	plain, err := transfer.Open(r)
	if err != nil {
		return 0, err
	}
	sealed, err := backup.Seal(w, passphrase, 0)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(sealed, plain)
	if errors.Is(err, backup.ErrDamaged) {
		return n, fmt.Errorf("the server broke the backup off after %s; its log says why", megabytes(n))
	}
	if err != nil {
		return n, err
	}
	return n, sealed.Close()
}

// saveNew makes a file that appears, under its name, when it is whole and on disk.
func saveNew(t *cli.Terminal, name string, write func(io.Writer) (int64, error)) (int64, error) {
	if name == "-" {
		out := bufio.NewWriterSize(t.Stdout, 256<<10)
		n, err := write(out)
		if err == nil {
			err = out.Flush()
		}
		return n, err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // 0600
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the link
	out := bufio.NewWriterSize(f, 256<<10)
	n, err := write(out)
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return n, err
	}
	if err = os.Link(f.Name(), name); err == nil || errors.Is(err, fs.ErrExist) { // unlike a rename it replaces nothing
		return n, err
	}
	if err := checkAbsent(name); err != nil {
		return n, err
	}
	return n, os.Rename(f.Name(), name) // a stick's file system has no links
}

func restore(ctx context.Context, t *cli.Terminal, args []string) error {
	fs := cli.NewFlags(t, "restore", "FILE", "Makes a data folder of a backup. The folder must be new, or empty. It is taken for a data\n"+
		"folder when all of the backup has been read and found to be sound, not before.\n"+
		"The passphrase is that of the backup: "+passphraseEnv+", or asked for. - reads the\n"+
		"standard input. Run one server of a backup, not two: they would be one to each device.")
	data := server.DefaultOptions().Data
	fs.StringVar(&data, "data", data, "`folder` to make")
	if err := fs.ParseWords(args, 1); err != nil {
		return err
	}
	in := t.Stdin
	if name := fs.Arg(0); name != "-" {
		f, err := os.Open(name) //nolint:gosec // the file that the operator named
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // it was only read
		in = f
	}
	passphrase, err := readPassphrase(t, false)
	if err != nil {
		return err
	}
	plain, err := backup.Open(in, passphrase)
	if err != nil {
		return err
	}
	r, err := server.Restore(ctx, plain, data, rand.Reader, time.Now)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.Stderr, "%s is as the server was at %s: region %s, account %s, %d data files of objects, %s in all.\nStart it with: sekisho serve --data %s\n",
		data, r.Created.Format(time.RFC3339), r.Region, r.AccountID, r.Objects, megabytes(r.Bytes), data)
	return nil
}
