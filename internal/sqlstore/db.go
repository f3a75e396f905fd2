package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Config says where the database is and who hears of its changes.
type Config struct {
	Path     string           // the SQLite file, made when it is missing
	URL      string           // of a PostgreSQL database, used instead of Path when it is set
	Fast     bool             // skip fsync: a power cut may lose the last commits, never the file's integrity
	Readers  int              // connections for reads; 0 means 4
	OnChange func(iot.Change) // called after a commit, before the write that made it returns; may be nil
	Now      func() time.Time // nil means the system clock
	Watch    Watch            // nil watches nothing
}

// DB is the database: one writer that groups commits, and a pool of readers.
type DB struct {
	onChange func(iot.Change)
	now      func() time.Time
	watch    Watch // nil watches nothing

	dialect dialect
	pool    *sql.DB
	writer  *conn
	readers chan *conn

	requests chan *request
	done     chan struct{} // closed when the writer has ended

	closing   chan struct{}
	loop      context.Context    //nolint:containedctx // of the writer; connections hear of its end too
	giveUp    context.CancelFunc // ends an attempt to connect again, and waiting for answers soon after
	closeOnce sync.Once
	closeErr  error

	lost    chan struct{} // closed when the database is not ours any more
	lostErr error         // why, once lost is closed
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
	d := &DB{
		onChange: cfg.OnChange,
		now:      cfg.Now,
		watch:    cfg.Watch,
		readers:  make(chan *conn, cfg.Readers),
		requests: make(chan *request, maxBatch),
		done:     make(chan struct{}),
		closing:  make(chan struct{}),
		lost:     make(chan struct{}),
	}
	d.loop, d.giveUp = context.WithCancel(context.WithoutCancel(ctx))
	var err error
	if cfg.URL != "" {
		d.dialect, d.pool, err = openPostgres(cfg)
	} else {
		d.dialect, d.pool, err = openSQLite(cfg)
	}
	if err != nil {
		d.giveUp()
		return nil, fmt.Errorf("open database: %w", err)
	}
	d.pool.SetMaxIdleConns(0) // whoever takes a connection keeps it
	if err := d.connect(ctx, cfg.Readers); err != nil {
		d.giveUp()
		return nil, errors.Join(err, d.disconnect())
	}
	go d.writeLoop(d.loop) //nolint:contextcheck // it outlives the one that opened it
	return d, nil
}

func (d *DB) connect(ctx context.Context, readers int) error {
	w, err := d.newConn(ctx)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	d.writer = w
	if err := d.dialect.claim(ctx, w); err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	w.setLimit(0)
	if err := migrate(ctx, w); err != nil {
		return err
	}
	w.setLimit(answerLimit)
	for range readers {
		r, err := d.newReader(ctx)
		if err != nil {
			return fmt.Errorf("open database: %w", err)
		}
		d.readers <- r
	}
	return nil
}

func (d *DB) newReader(ctx context.Context) (*conn, error) {
	r, err := d.newConn(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.dialect.prepareReader(ctx, r); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// disconnect closes whatever connections there are, and all of them must be free.
func (d *DB) disconnect() error {
	var err error
	for range len(d.readers) {
		err = errors.Join(err, (<-d.readers).close())
	}
	if d.writer != nil {
		err = errors.Join(err, d.writer.close())
	}
	return errors.Join(err, d.pool.Close())
}

// Close waits for the writes under way, then closes the database. It is idempotent.
func (d *DB) Close() error {
	d.closeOnce.Do(func() {
		close(d.closing)
		d.giveUp()
		<-d.done
		for range cap(d.readers) {
			r := <-d.readers
			d.closeErr = errors.Join(d.closeErr, r.close())
		}
		d.closeErr = errors.Join(d.closeErr, d.disconnect())
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
	c       *sql.Conn
	dialect dialect
	stmts   map[string]*sql.Stmt
	closed  bool

	// Where the database is PostgreSQL: what is below c, and below that.
	pg     *pgx.Conn
	socket *socket
	calm   func() bool // it need not hurry any more when the database is closed

	// Statements run under a context that never ends: cancelling one would roll
	// back everybody's part of a grouped transaction, and costs a goroutine each.
	forever context.Context //nolint:containedctx // see above
}

func (d *DB) newConn(ctx context.Context) (*conn, error) {
	c, err := d.pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	n := &conn{c: c, dialect: d.dialect, stmts: map[string]*sql.Stmt{}, forever: context.WithoutCancel(ctx)}
	if err := d.dialect.prepareConn(ctx, n); err != nil {
		return nil, errors.Join(err, n.close())
	}
	if n.socket != nil {
		n.calm = context.AfterFunc(d.loop, n.socket.hurry) //nolint:contextcheck // the database is closed, whoever asked for a connection
	}
	return n, nil
}

func (c *conn) close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	if c.calm != nil {
		c.calm()
	}
	if c.pg != nil { // its statements end with it; ending each would be a question of its own
		err := c.pg.Close(c.forever)
		if errors.Is(c.c.Close(), sql.ErrConnDone) {
			return nil
		}
		return err
	}
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
	s, err := c.c.PrepareContext(c.forever, c.dialect.placeholders(query))
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
	d   dialect
	err error
}

// Scan copies the row's columns; sql.ErrNoRows where there is none.
func (r row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	return r.d.explain(r.r.Scan(dest...))
}

func (c *conn) query(query string, args ...any) (*sql.Rows, error) {
	s, err := c.prepare(query) //nolint:sqlclosecheck // kept with the connection
	if err != nil {
		return nil, c.dialect.explain(err)
	}
	rows, err := s.QueryContext(c.forever, args...)
	return rows, c.dialect.explain(err)
}

func (c *conn) queryRow(query string, args ...any) row {
	s, err := c.prepare(query) //nolint:sqlclosecheck // kept with the connection
	if err != nil {
		return row{err: c.dialect.explain(err)}
	}
	return row{r: s.QueryRowContext(c.forever, args...), d: c.dialect}
}

func (c *conn) exec(query string, args ...any) (sql.Result, error) {
	s, err := c.prepare(query) //nolint:sqlclosecheck // kept with the connection
	if err != nil {
		return nil, c.dialect.explain(err)
	}
	res, err := s.ExecContext(c.forever, args...)
	return res, c.dialect.explain(err)
}

// read runs fn on one snapshot of the database.
func (d *DB) read(ctx context.Context, fn func(q querier) error) error {
	return d.withReader(ctx, func(c *conn) (err error) {
		if _, err := c.exec(d.dialect.snapshot()); err != nil {
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
	case <-d.lost:
		return d.lostErr
	default:
	}
	select {
	case c := <-d.readers:
		defer func() { d.readers <- c }()
		if !c.alive() {
			_ = c.close()
			r, err := d.newReader(ctx)
			if err != nil {
				return unreachable(err)
			}
			c = r
		}
		return fn(c)
	case <-ctx.Done():
		return ctx.Err()
	case <-d.closing:
		return ErrClosed
	}
}
