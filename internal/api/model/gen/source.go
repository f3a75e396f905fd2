package main

import (
	"archive/zip"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// pinned is the botocore whose models are used; any other is passed over, so
// that the output is the same everywhere.
const pinned = "1.43.11"

// openModels returns the folder data/ of botocore.
func openModels(source string) (fs.FS, error) {
	if source == "" {
		var err error
		if source, err = findBotocore(); err != nil {
			return nil, err
		}
	}
	if strings.HasSuffix(source, ".whl") {
		z, err := zip.OpenReader(source)
		if err != nil {
			return nil, err
		}
		return fs.Sub(z, "botocore/data")
	}
	return os.DirFS(filepath.Join(source, "data")), nil
}

func findBotocore() (string, error) {
	out, err := exec.Command("python3", "-c", "import botocore,os;print(botocore.__version__, os.path.dirname(botocore.__file__))").Output() //nolint:noctx // a tool, ended by the terminal
	if version, dir, ok := strings.Cut(strings.TrimSpace(string(out)), " "); err == nil && ok && version == pinned {
		return dir, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "sekisho-gen")
	wheel := filepath.Join(cache, "botocore-"+pinned+"-py3-none-any.whl")
	if _, err := os.Stat(wheel); err == nil {
		return wheel, nil
	}
	cmd := exec.Command("python3", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", cache, "botocore=="+pinned) //nolint:gosec,noctx // constants; a tool, ended by the terminal
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("botocore %s is not installed and could not be downloaded: %w", pinned, err)
	}
	return wheel, nil
}

// loadModel reads the newest service-2.json of a service.
func loadModel(models fs.FS, name string) (*model, error) {
	versions, err := fs.ReadDir(models, name)
	if err != nil {
		return nil, err
	}
	var newest string
	for _, v := range versions {
		newest = max(newest, v.Name())
	}
	raw, err := readMaybeGzip(models, path.Join(name, newest, "service-2.json"))
	if err != nil {
		return nil, err
	}
	m := &model{}
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, err
	}
	patch(name, m)
	return m, nil
}

func readMaybeGzip(models fs.FS, file string) ([]byte, error) {
	raw, err := fs.ReadFile(models, file)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return raw, err
	}
	f, err := models.Open(file + ".gz")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// readBuilt reads "service Operation" lines, which must be sorted.
func readBuilt(file string) (map[string][]string, error) {
	raw, err := os.ReadFile(file) //nolint:gosec // the path is the caller's
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	if !slices.IsSorted(lines) {
		return nil, fmt.Errorf("%s is not sorted", file)
	}
	built := map[string][]string{}
	for i, l := range lines {
		svc, op, ok := strings.Cut(l, " ")
		if !ok || i > 0 && l == lines[i-1] {
			return nil, fmt.Errorf("%s: line %d: %q", file, i+1, l)
		}
		built[svc] = append(built[svc], op)
	}
	return built, nil
}
