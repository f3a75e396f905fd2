package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"

	_ "modernc.org/sqlite" // the "sqlite" driver, pure Go
)

// Config says where the database is and who hears of its changes.
type Config struct {
	Path     string           // the SQLite file, made when it is missing
	Fast     bool             // skip fsync: a power cut may lose the last commits, never the file's integrity
	Readers  int              // connections for reads; 0 means 4
	OnChange func(iot.Change) // called after a commit, before the write that made it returns; may be nil
	Now      func() time.Time // nil means the system clock
}

// DB is the database: one writer that groups commits, and a pool of readers.
type DB struct {
	onChange func(iot.Change)
	now      func() time.Time

	pool    *sql.DB
	writer  *conn
	readers chan *conn

	requests chan *request
	done     chan struct{} // closed when the writer has ended

	closing   chan struct{}
	closeOnce sync.Once
	closeErr  error
}

// ErrClosed answers calls on a closed database.
var ErrClosed = errors.New("database is closed")

// Open opens or creates the database and applies the migrations that it lacks.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.Readers <= 0 {
		cfg.Readers = 4
	}
	if cfg.Now == nil {
		cfg.Now = time.Now //nolint:forbidigo // the documented default
	}
	// SQLite would make it readable to all, and gives its log the mode of the file.
	f, err := os.OpenFile(cfg.Path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	pool, err := sql.Open("sqlite", dsn(cfg))
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	pool.SetMaxOpenConns(cfg.Readers + 1)
	pool.SetMaxIdleConns(cfg.Readers + 1)
	d := &DB{
		onChange: cfg.OnChange,
		now:      cfg.Now,
		pool:     pool,
		readers:  make(chan *conn, cfg.Readers),
		requests: make(chan *request, maxBatch),
		done:     make(chan struct{}),
		closing:  make(chan struct{}),
	}
	if err := d.connect(ctx, cfg.Readers); err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	go d.writeLoop()
	return d, nil
}

func dsn(cfg Config) string {
	name := "file:" + (&url.URL{Path: cfg.Path}).EscapedPath()
	sync := "FULL"
	if cfg.Fast {
		sync = "NORMAL"
	}
	q := url.Values{"_pragma": {
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(" + sync + ")", "foreign_keys(ON)",
		"cache_size(-8000)", "temp_store(MEMORY)", "wal_autocheckpoint(2000)", "journal_size_limit(67108864)",
	}}
	return name + "?" + q.Encode()
}

func (d *DB) connect(ctx context.Context, readers int) error {
	w, err := d.newConn(ctx)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	d.writer = w
	if err := migrate(ctx, w); err != nil {
		return err
	}
	for range readers {
		r, err := d.newConn(ctx)
		if err != nil {
			return fmt.Errorf("open database: %w", err)
		}
		// What is read often is in the memory of the services: a storm of devices
		// that are looked up once must not leave pages behind in every reader.
		if _, err := r.c.ExecContext(ctx, "PRAGMA query_only=ON; PRAGMA cache_size=-2000"); err != nil {
			return fmt.Errorf("open database: %w", err)
		}
		d.readers <- r
	}
	return nil
}

// Close waits for the writes under way, then closes the database. It is idempotent.
func (d *DB) Close() error {
	d.closeOnce.Do(func() {
		close(d.closing)
		<-d.done
		for range cap(d.readers) {
			r := <-d.readers
			d.closeErr = errors.Join(d.closeErr, r.close())
		}
		d.closeErr = errors.Join(d.closeErr, d.writer.close(), d.pool.Close())
	})
	return d.closeErr
}

// Ping reports whether the database answers.
func (d *DB) Ping(ctx context.Context) error {
	return d.get(ctx, func(q querier) error {
		var one int
		return q.queryRow("SELECT 1").Scan(&one)
	})
}

// conn is one connection with its prepared statements. It is used by one goroutine at a time.
type conn struct {
	c     *sql.Conn
	stmts map[string]*sql.Stmt

	// Statements run under a context that never ends: cancelling one would roll
	// back everybody's part of a grouped transaction, and costs a goroutine each.
	forever context.Context //nolint:containedctx // see above
}

func (d *DB) newConn(ctx context.Context) (*conn, error) {
	c, err := d.pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{c: c, stmts: map[string]*sql.Stmt{}, forever: context.WithoutCancel(ctx)}, nil
}

func (c *conn) close() error {
	var err error
	for _, s := range c.stmts {
		err = errors.Join(err, s.Close())
	}
	return errors.Join(err, c.c.Close())
}

func (c *conn) prepare(query string) (*sql.Stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	s, err := c.c.PrepareContext(c.forever, query)
	if err != nil {
		return nil, err
	}
	if len(c.stmts) >= 500 { // queries put together at run time must not grow it without bound
		for k, old := range c.stmts {
			delete(c.stmts, k)
			_ = old.Close()
			break
		}
	}
	c.stmts[query] = s
	return s, nil
}

// querier is what a read sees: one connection, inside a snapshot or not.
type querier interface {
	query(query string, args ...any) (*sql.Rows, error)
	queryRow(query string, args ...any) row
}

// row is one row that is still to be scanned, or the error that prevented it.
type row struct {
	r   *sql.Row
	err error
}

// Scan copies the row's columns; sql.ErrNoRows where there is none.
func (r row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	return r.r.Scan(dest...)
}

func (c *conn) query(query string, args ...any) (*sql.Rows, error) {
	s, err := c.prepare(query) //nolint:sqlclosecheck // kept with the connection
	if err != nil {
		return nil, err
	}
	return s.QueryContext(c.forever, args...)
}

func (c *conn) queryRow(query string, args ...any) row {
	s, err := c.prepare(query) //nolint:sqlclosecheck // kept with the connection
	if err != nil {
		return row{err: err}
	}
	return row{r: s.QueryRowContext(c.forever, args...)}
}

func (c *conn) exec(query string, args ...any) (sql.Result, error) {
	s, err := c.prepare(query) //nolint:sqlclosecheck // kept with the connection
	if err != nil {
		return nil, err
	}
	return s.ExecContext(c.forever, args...)
}

// read runs fn on one snapshot of the database.
func (d *DB) read(ctx context.Context, fn func(q querier) error) error {
	return d.withReader(ctx, func(c *conn) (err error) {
		if _, err := c.exec("BEGIN"); err != nil {
			return err
		}
		defer func() {
			_, e := c.exec("COMMIT")
			err = errors.Join(err, e)
		}()
		return fn(c)
	})
}

// get runs fn without a snapshot: right for a single statement, and cheaper.
func (d *DB) get(ctx context.Context, fn func(q querier) error) error {
	return d.withReader(ctx, func(c *conn) error { return fn(c) })
}

func (d *DB) withReader(ctx context.Context, fn func(c *conn) error) error {
	select {
	case <-d.closing:
		return ErrClosed
	default:
	}
	select {
	case c := <-d.readers:
		defer func() { d.readers <- c }()
		return fn(c)
	case <-ctx.Done():
		return ctx.Err()
	case <-d.closing:
		return ErrClosed
	}
}
