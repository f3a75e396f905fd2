package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Endpoints are the addresses really bound, as endpoints.json holds them.
type Endpoints struct {
	API         string `json:"api,omitempty"`
	MQTT        string `json:"mqtt,omitempty"`
	DeviceHTTPS string `json:"device_https,omitempty"`
	Console     string `json:"console,omitempty"`
	SIM         string `json:"sim,omitempty"`
}

// EndpointsFile is the name, inside the data folder, of the file that says a server is up.
const EndpointsFile = "endpoints.json"

func removeEndpoints(dir string) error {
	err := os.Remove(filepath.Join(dir, EndpointsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func writeEndpoints(dir string, e Endpoints) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, EndpointsFile), append(b, '\n'), 0o600)
}

// writeFile replaces a file by rename, so that no reader sees half of it.
func writeFile(path string, b []byte, perm fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(perm), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// ReadEndpoints reads what a running server wrote.
func ReadEndpoints(dir string) (Endpoints, error) {
	b, err := os.ReadFile(filepath.Join(dir, EndpointsFile)) //nolint:gosec // the folder that the operator named
	if err != nil {
		return Endpoints{}, err
	}
	var e Endpoints
	if err := json.Unmarshal(b, &e); err != nil {
		return Endpoints{}, fmt.Errorf("%s: %w", EndpointsFile, err)
	}
	return e, nil
}
