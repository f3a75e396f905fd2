package upload

import (
	"time"

	"github.com/sekisho-iot/sekisho/internal/agent/spool"
)

// Kind is what an Event tells.
type Kind int

// The kinds of events.
const (
	Accepted Kind = iota // a file is in the spool
	Resumed              // an upload goes on: Sent of Total bytes are there already
	Progress             // Sent of Total bytes are sent
	Restart              // the file changed and is sent again whole
	Stored               // the object is complete
	Finished             // all is acknowledged
	Retry                // an attempt failed with Err; the next is in Wait
	Failed               // given up for Err
	Trouble              // something beside the uploads went wrong, see Err
)

// Event is what the agent tells of its work.
type Event struct {
	Kind        Kind
	Record      spool.Record
	Sent, Total int64
	Wait        time.Duration
	Err         error
}
