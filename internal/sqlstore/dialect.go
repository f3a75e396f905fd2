package sqlstore

import (
	"context"
	"database/sql"
	"time"
)

// dialect is what differs between the databases. Everything else, each query
// included, is the same for both.
type dialect interface {
	sessions
	transactions
	words
	copies
}

// sessions makes connections and keeps the writer's.
type sessions interface {
	// claim makes the database this process's own, before it is migrated.
	claim(ctx context.Context, writer *conn) error
	// prepareConn makes a new connection ready, prepareReader one for reads as well.
	prepareConn(ctx context.Context, c *conn) error
	prepareReader(ctx context.Context, c *conn) error
	// heartbeat ticks when the writer's connection is to be looked after.
	heartbeat() (ticks <-chan time.Time, stop func())
	// retake makes a new connection the writer's in place of a lost one. It
	// fails with errReplaced when another server has had the database meanwhile.
	retake(ctx context.Context, c *conn) error
}

// transactions are the writer's.
type transactions interface {
	begin(c *conn) error
	commit(c *conn) error
	// failed reports whether a failed statement has spoiled the transaction.
	failed(c *conn) bool
	// pending reports whether a commit was sent whose answer was lost, and
	// committed whether it took effect.
	pending() bool
	committed(c *conn) (bool, error)
}

// words are a database's own.
type words interface {
	// snapshot begins a transaction that reads.
	snapshot() string
	// placeholders is a query with its ? as the database wants them.
	placeholders(query string) string
	// schema is a migration in the database's words.
	schema(source string) string
	// explain turns what the database says of a caller's values into our error.
	explain(err error) error
}

// copies are for copying a whole database.
type copies interface {
	catalog() catalog
	// patient lifts the limits of time for the transaction under way.
	patient(c *conn) error
	// load appends rows to a table, unless ctx ends.
	load(ctx context.Context, c *conn, table string, columns []string, rows *sql.Rows) error
}

// catalog holds the queries that tell a database's schema, for copying it.
type catalog struct {
	tables     string // the names of all tables
	columns    string // of the table ?, in their order
	references string // (table, table it refers to)
}
