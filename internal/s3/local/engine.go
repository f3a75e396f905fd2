package local

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sekisho-iot/sekisho/internal/cache"
	"github.com/sekisho-iot/sekisho/internal/s3"
)

// Config is what an Engine needs. Zero values mean the defaults.
type Config struct {
	Dir       string // holds the data files; made when it is missing
	Store     Store
	Fast      bool          // skip fsync: a power cut may lose or tear what was acknowledged
	Inline    int           // objects up to this size live in the Store; 0 means DefaultInline, negative never
	UploadAge time.Duration // uploads older than this are given up; 0 means DefaultUploadAge
	Disk      Disk          // what the disk may still be given; nil gives all
	Now       func() time.Time
	Rand      io.Reader
	Log       *slog.Logger
}

// Disk says how much may still be written. Its errors are the caller's.
type Disk interface {
	// Fits refuses a body of so many bytes that cannot be stored whole.
	Fits(size int64) error
	// Take takes that many bytes, right before they are written.
	Take(n int64) error
}

// Defaults of Config.
const (
	DefaultInline    = 16 << 10
	DefaultUploadAge = 7 * 24 * time.Hour
)

// Engine is the s3.Engine over a folder and a Store.
type Engine struct {
	cfg        Config
	files      *files
	generation uint32
	sequence   atomic.Uint64
	buffers    sync.Pool
	manifests  *cache.Cache[ID, *manifest]
	pins       pins
	holds      holds

	kick  chan struct{} // there may be garbage
	stop  context.CancelFunc
	group sync.WaitGroup
	hook  func(step string) // tests stop the world between two steps
}

var _ s3.Engine = (*Engine)(nil)

// bufferSize is what one upload in progress holds in memory.
const bufferSize = 256 << 10

// Open makes the engine ready and begins to remove, in the background, what an
// earlier process left over.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	if cfg.Inline == 0 {
		cfg.Inline = DefaultInline
	}
	cfg.Inline = min(cfg.Inline, bufferSize-1)
	if cfg.Disk == nil {
		cfg.Disk = endless{}
	}
	if cfg.UploadAge == 0 {
		cfg.UploadAge = DefaultUploadAge
	}
	f, err := openFiles(cfg.Dir, !cfg.Fast)
	if err != nil {
		return nil, err
	}
	current, unswept, err := cfg.Store.BeginGeneration(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin a generation of data files: %w", err)
	}
	e := &Engine{
		cfg:        cfg,
		files:      f,
		generation: current,
		buffers:    sync.Pool{New: func() any { return new([bufferSize]byte) }},
		kick:       make(chan struct{}, 1),
		hook:       func(string) {},
	}
	e.manifests = cache.New(64, e.loadManifest)
	e.pins.released = e.wake
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.stop = stop
	e.group.Go(func() { e.reapLoop(background) })
	e.group.Go(func() { e.sweep(background, unswept) })
	return e, nil
}

// endless is a disk that takes everything, until it does not.
type endless struct{}

// Fits implements Disk.
func (endless) Fits(int64) error { return nil }

// Take implements Disk.
func (endless) Take(int64) error { return nil }

// Close ends what runs in the background. Requests under way end by themselves.
func (e *Engine) Close() error {
	e.stop()
	e.group.Wait()
	return e.files.close()
}

// newID returns an ID above all that were made before.
func (e *Engine) newID() (ID, error) {
	var id ID
	if _, err := io.ReadFull(e.cfg.Rand, id[8:]); err != nil {
		return id, fmt.Errorf("make an id: %w", err)
	}
	var seq [8]byte
	binary.BigEndian.PutUint64(seq[:], e.sequence.Add(1))
	binary.BigEndian.PutUint32(id[:4], e.generation)
	copy(id[4:9], seq[3:])
	return id, nil
}

func (e *Engine) now() time.Time { return e.cfg.Now().Truncate(time.Millisecond) }

// wake tells the reaper that there may be garbage.
func (e *Engine) wake() {
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

func encodeHeaders(h *s3.Headers) ([]byte, error) {
	b, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode headers: %w", err)
	}
	return b, nil
}

// info returns what a row says. Rows of listings carry no headers.
func (r *Record) info() (s3.Info, error) {
	info := s3.Info{
		Key: r.Key, Size: r.Size, ETag: r.ETag, Modified: r.Modified,
		Checksum: s3.ParseChecksum(r.Checksum), Parts: max(0, int(r.Layout)),
	}
	if len(r.Headers) > len("{}") {
		if err := json.Unmarshal(r.Headers, &info.Headers); err != nil {
			return info, fmt.Errorf("decode headers: %w", err)
		}
	}
	return info, nil
}
