package sqlstore

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

const (
	oldestPostgres = 140000           // server_version_num
	connectTimeout = 5 * time.Second  // unless the URL says otherwise
	answerLimit    = 20 * time.Second // for any answer; the server's own limit of a statement is shorter
	lastLimit      = 3 * time.Second  // for any answer while the database is being closed
	beatInterval   = time.Second
	beatLimit      = 5 * time.Second
	claimWait      = 5 * time.Second // for a killed server's session to end
	claimClass     = 0x5e15          // of our advisory locks; the other half is the schema's hash
)

// postgres is the dialect of PostgreSQL. Its state is the writer's alone.
type postgres struct {
	fast     bool
	instance string // what this process wrote into server_claim
	xid      string // of the transaction under way
	sent     bool   // its COMMIT was sent and not answered
}

// CheckURL reports what is wrong with a PostgreSQL URL. Its error shows no password.
func CheckURL(url string) error {
	_, err := parseURL(url)
	return err
}

func parseURL(url string) (*pgx.ConnConfig, error) {
	if !strings.HasPrefix(url, "postgres://") && !strings.HasPrefix(url, "postgresql://") {
		return nil, errors.New("a URL that begins with postgres:// is needed")
	}
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errors.New(withoutSecrets(err.Error(), url))
	}
	if strings.Contains(cfg.Database, "@") { // errors of the connection name the database
		return nil, errors.New("the URL has an @ in the name of the database: if that is a part of the password, write its / as %2F")
	}
	return cfg, nil
}

// withoutSecrets is text without the passwords that stand in url.
func withoutSecrets(text, url string) string {
	secrets := regexp.MustCompile(`(?i)//[^/@]*:(.*)@|password=([^&\s]*)`)
	for _, m := range secrets.FindAllStringSubmatch(url, -1) {
		for _, secret := range m[1:] {
			if secret != "" {
				text = strings.ReplaceAll(text, secret, "…")
			}
		}
	}
	return text
}

func openPostgres(cfg Config) (dialect, *sql.DB, error) {
	c, err := parseURL(cfg.URL)
	if err != nil {
		return nil, nil, err
	}
	if c.ConnectTimeout == 0 || c.ConnectTimeout > time.Minute { // pgx's own default is two
		c.ConnectTimeout = connectTimeout
	}
	c.DialFunc = dialPostgres
	if c.ValidateConnect == nil { // of several hosts a standby would do for nothing
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	for name, value := range map[string]string{
		"application_name":                    "sekisho",
		"statement_timeout":                   "15s",
		"idle_in_transaction_session_timeout": "60s",
		// A server that is cut off from the database ends before its session does.
		"tcp_keepalives_idle": "20", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "5",
	} {
		if _, ok := c.RuntimeParams[name]; !ok {
			c.RuntimeParams[name] = value
		}
	}
	c.RuntimeParams["client_encoding"] = "UTF8"
	return &postgres{fast: cfg.Fast}, stdlib.OpenDB(*c), nil
}

func (p *postgres) prepareConn(ctx context.Context, c *conn) error {
	err := c.c.Raw(func(driverConn any) error {
		c.pg = driverConn.(*stdlib.Conn).Conn() //nolint:forcetypeassert // openPostgres chose the driver
		return nil
	})
	if err != nil {
		return err
	}
	below := c.pg.PgConn().Conn()
	if t, ok := below.(*tls.Conn); ok {
		below = t.NetConn()
	}
	var ok bool
	if c.socket, ok = below.(*socket); !ok {
		return errors.New("the connection is not one that was dialled here")
	}
	c.setLimit(answerLimit)
	var version int
	var fsync, encoding, commit, schema string
	if err := c.c.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int, current_setting('fsync'),
		current_setting('server_encoding'), current_setting('synchronous_commit'), coalesce(current_schema(), '')`).
		Scan(&version, &fsync, &encoding, &commit, &schema); err != nil {
		return err
	}
	switch {
	case version < oldestPostgres:
		return fmt.Errorf("PostgreSQL %d or newer is needed, and the server is %d", oldestPostgres/10000, version/10000)
	case encoding != "UTF8":
		return fmt.Errorf("the database's encoding is %s, and UTF8 is needed", encoding)
	case schema == "":
		return errors.New("no schema of the search path exists: make it first")
	case p.fast:
		_, err = c.c.ExecContext(ctx, "SET synchronous_commit = off")
	case fsync == "off":
		return errors.New("the database server runs with fsync = off: what it calls committed would not survive a power cut")
	case commit == "off":
		_, err = c.c.ExecContext(ctx, "SET synchronous_commit = on")
	}
	return err
}

func (p *postgres) prepareReader(context.Context, *conn) error { return nil }

// claim takes the lock that one server holds on the database. It belongs to the
// writer's session, so that whoever can write has it: a session that is ended
// loses both at once. The row tells a server that comes back whether another
// one was here.
func (p *postgres) claim(ctx context.Context, c *conn) error {
	patience, cancel := context.WithTimeout(ctx, claimWait)
	defer cancel()
	for {
		err := p.lock(ctx, c)
		if err == nil {
			break
		}
		if !errors.Is(err, ErrTaken) {
			return err
		}
		if wait(patience, 50*time.Millisecond) != nil {
			return err
		}
	}
	_, err := c.c.ExecContext(ctx, p.schema(`CREATE TABLE IF NOT EXISTS server_claim (
		id bigint PRIMARY KEY CHECK (id = 1), instance text NOT NULL)`))
	if err != nil {
		return err
	}
	return c.c.QueryRowContext(ctx, `INSERT INTO server_claim (id, instance) VALUES (1, gen_random_uuid()::text)
		ON CONFLICT (id) DO UPDATE SET instance = excluded.instance RETURNING instance`).Scan(&p.instance)
}

func (p *postgres) lock(ctx context.Context, c *conn) error {
	var locked bool
	err := c.c.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1, hashtext(current_schema()))", claimClass).Scan(&locked)
	if err == nil && !locked {
		return ErrTaken
	}
	return err
}

func (p *postgres) retake(ctx context.Context, c *conn) error {
	if err := p.unchanged(ctx, c); err != nil {
		return err
	}
	if err := p.lock(ctx, c); err != nil { // as long as our old session has not ended, too
		return err
	}
	return p.unchanged(ctx, c) // another one may have come and gone in between
}

// unchanged reports whether the last server that claimed the database is this one.
func (p *postgres) unchanged(ctx context.Context, c *conn) error {
	var instance string
	err := c.c.QueryRowContext(ctx, "SELECT instance FROM server_claim WHERE id = 1").Scan(&instance)
	if err == nil && instance != p.instance {
		return errReplaced
	}
	return err
}

// simple sends statements in one message and returns their results.
func (c *conn) simple(statements string) (results []*pgconn.Result, err error) {
	err = c.c.Raw(func(any) error {
		results, err = c.pg.PgConn().Exec(c.forever, statements).ReadAll()
		return err
	})
	return results, err
}

func (p *postgres) begin(c *conn) error {
	p.sent = false
	results, err := c.simple("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_current_xact_id()")
	if err != nil {
		if !c.gone() {
			_, _ = c.simple("ROLLBACK")
		}
		return err
	}
	p.xid = string(results[1].Rows[0][0])
	return nil
}

func (p *postgres) failed(c *conn) bool { return c.pg.PgConn().TxStatus() == 'E' }

func (p *postgres) commit(c *conn) error {
	p.sent = true
	results, err := c.simple("COMMIT")
	if err != nil {
		p.sent = c.gone()
		return err
	}
	p.sent = false
	if tag := results[0].CommandTag.String(); tag != "COMMIT" { // a transaction with a failed statement is rolled back without an error
		return fmt.Errorf("the database answered %s: a statement had failed", tag)
	}
	return nil
}

func (p *postgres) pending() bool { return p.sent }

func (p *postgres) committed(c *conn) (bool, error) {
	if !p.sent {
		return false, nil
	}
	var status sql.NullString
	if err := c.c.QueryRowContext(c.forever, "SELECT pg_xact_status($1::text::xid8)", p.xid).Scan(&status); err != nil {
		return false, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	switch status.String {
	case "committed":
		return true, nil
	case "aborted":
		return false, nil
	}
	return false, fmt.Errorf("%w: transaction %s is %q", ErrUnknownOutcome, p.xid, status.String)
}

func (p *postgres) snapshot() string { return "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" }

func (p *postgres) heartbeat() (<-chan time.Time, func()) {
	t := time.NewTicker(beatInterval)
	return t.C, t.Stop
}

// placeholders numbers the ? that stand outside of quotes.
func (p *postgres) placeholders(query string) string {
	var b strings.Builder
	n := 0
	quote := byte(0)
	for i := range len(query) {
		ch := query[i]
		switch {
		case quote != 0:
			if ch == quote {
				quote = 0
			}
		case ch == '\'' || ch == '"':
			quote = ch
		case ch == '?':
			n++
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
			continue
		}
		b.WriteByte(ch)
	}
	return b.String()
}

// schema gives each text column the collation of SQLite, the order of the
// bytes, which listings rely on. Migrations know of no other use of the word.
func (p *postgres) schema(source string) string {
	source = regexp.MustCompile(`--[^\n]*`).ReplaceAllString(source, "")
	source = regexp.MustCompile(`(?i)\btext\b`).ReplaceAllString(source, `text COLLATE "C"`)
	return "SET LOCAL statement_timeout = 0;\n" + source
}

// explain answers for text that SQLite would take: it holds a NUL, or is not UTF-8.
func (p *postgres) explain(err error) error {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && (e.Code == "22021" || e.Code == "22P05") {
		return &iot.Error{Kind: iot.KindInvalid, Message: "A text holds a NUL character or is not UTF-8", Err: err}
	}
	return err
}

func (p *postgres) catalog() catalog {
	return catalog{
		tables: "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'",
		columns: `SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = ?
			ORDER BY ordinal_position`,
		references: `SELECT a.relname, b.relname FROM pg_constraint c JOIN pg_class a ON a.oid = c.conrelid JOIN pg_class b ON b.oid = c.confrelid
			WHERE c.contype = 'f' AND a.relnamespace = current_schema()::regnamespace`,
	}
}

func (p *postgres) patient(c *conn) error {
	c.setLimit(0)
	_, err := c.simple("SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0")
	return err
}

func (p *postgres) load(ctx context.Context, c *conn, table string, columns []string, rows *sql.Rows) error {
	row := newAnyRow(len(columns))
	err := c.c.Raw(func(any) error {
		_, err := c.pg.CopyFrom(c.forever, pgx.Identifier{table}, columns, pgx.CopyFromFunc(func() ([]any, error) { //nolint:contextcheck // row.scan heeds ctx
			if !rows.Next() {
				return nil, rows.Err()
			}
			return row.values, row.scan(ctx, rows)
		}))
		return err
	})
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // of which the server has made words of its own
	}
	return p.explain(err)
}

// gone reports whether the connection is known to be closed.
func (c *conn) gone() bool { return c.pg != nil && c.pg.IsClosed() }

// alive reports whether an idle connection is still good.
func (c *conn) alive() bool {
	if c.pg == nil {
		return true
	}
	if c.pg.IsClosed() {
		return false
	}
	return !c.socket.pending() || c.ping() == nil
}

// setLimit bounds how long an answer of the database server may take; 0 means no bound.
func (c *conn) setLimit(d time.Duration) {
	if c.socket != nil {
		c.socket.setLimit(d)
	}
}

func (c *conn) ping() error {
	c.setLimit(beatLimit)
	defer c.setLimit(answerLimit)
	_, err := c.simple("SELECT 1")
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) {
		return errors.New("the connection was closed")
	}
	return err
}
