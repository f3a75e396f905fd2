package broker

import "github.com/sekisho-iot/sekisho/internal/mqtt"

// flight is a message on its way to the client.
type flight struct {
	id       uint16
	qos      mqtt.QoS
	released bool   // QoS 2: PUBREC has come, PUBREL was sent
	e        *entry // nil where nothing would send it again
}

// flights are the messages on their way to one client, in the order of
// sending: a ring, since clients acknowledge the first of them first.
type flights struct {
	ring  []flight // its length is a power of two
	first int
	n     int
	mixed bool // identifiers were not given one after the other
}

func (f *flights) at(i int) *flight { return &f.ring[(f.first+i)&(len(f.ring)-1)] }

func (f *flights) push(x flight) {
	if f.n == len(f.ring) {
		ring := make([]flight, max(4, 2*len(f.ring)))
		for i := range f.n {
			ring[i] = *f.at(i)
		}
		f.ring, f.first = ring, 0
	}
	f.n++
	*f.at(f.n - 1) = x
}

// remove takes the i-th out.
func (f *flights) remove(i int) {
	for ; i > 0; i-- {
		*f.at(i) = *f.at(i - 1)
	}
	*f.at(0) = flight{}
	f.first = (f.first + 1) & (len(f.ring) - 1)
	f.n--
	if f.n == 0 {
		f.mixed = false
	}
}

// find returns the place of a message, -1 for none.
func (f *flights) find(id uint16) int {
	for i := range f.n {
		if f.at(i).id == id {
			return i
		}
	}
	return -1
}

// taken reports whether a message on the way has the identifier that comes next.
func (f *flights) taken(next uint16) bool {
	if f.n == 0 {
		return false
	}
	if !f.mixed { // what comes round meets the oldest first
		return f.at(0).id == next
	}
	return f.find(next) >= 0
}
