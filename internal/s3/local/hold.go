package local

import (
	"fmt"
	"os"
	"sync"
)

// holds keep the reaper from removing data files.
type holds struct {
	mu sync.Mutex // guards n, and is held while a batch is removed
	n  int
}

// Hold keeps every data file that the Store names now, or names until release
// is called, from being removed: while a backup copies them. What is deleted
// meanwhile takes its space until then. release may be called more than once.
func (e *Engine) Hold() (release func()) {
	e.holds.mu.Lock()
	defer e.holds.mu.Unlock()
	e.holds.n++
	return sync.OnceFunc(func() {
		e.holds.mu.Lock()
		defer e.holds.mu.Unlock()
		e.holds.n--
		e.wake()
	})
}

// DataFile opens a data file, for a backup.
func (e *Engine) DataFile(id ID) (*os.File, error) {
	f, err := e.files.open(id)
	if err != nil {
		return nil, fmt.Errorf("open data file: %w", err)
	}
	return f, nil
}

// DataFileName is where a data file is inside the engine's folder.
func DataFileName(id ID) string { return (&files{dir: "."}).path(id) }
