// Command gen writes the generated packages below internal/api/model from the
// API models that a pinned botocore carries. Only names, shapes, bindings and
// constraints are taken over.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

func main() {
	out := flag.String("out", "internal/api/model", "folder of the generated packages")
	source := flag.String("botocore", "", "botocore's folder or wheel; found or downloaded when empty")
	flag.Parse()
	if err := run(*out, *source); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(out, source string) error {
	models, err := openModels(source)
	if err != nil {
		return err
	}
	built, err := readBuilt(filepath.Join(out, "built.txt"))
	if err != nil {
		return err
	}
	for _, svc := range services() {
		if err := generate(models, svc, built[svc.name], filepath.Join(out, svc.dir)); err != nil {
			return fmt.Errorf("%s: %w", svc.name, err)
		}
		delete(built, svc.name)
	}
	for name := range built {
		return fmt.Errorf("built.txt names the unknown service %q", name)
	}
	return writeServices(out)
}

func generate(models fs.FS, svc service, built []string, dir string) error {
	m, err := loadModel(models, svc.name)
	if err != nil {
		return err
	}
	g := newGenerator(svc, m)
	if err := g.build(built); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // source code is world readable
		return err
	}
	if err := writeGo(filepath.Join(dir, "model.go"), g.modelFile()); err != nil {
		return err
	}
	types, fits := filepath.Join(dir, "types.go"), filepath.Join(dir, "types_test.go")
	if len(built) == 0 {
		return errors.Join(removeIfThere(types), removeIfThere(fits))
	}
	return errors.Join(writeGo(types, g.typesFile()), writeGo(fits, g.fitsFile()))
}

func removeIfThere(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
