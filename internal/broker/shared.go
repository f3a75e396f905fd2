package broker

import (
	"math/rand/v2"
	"slices"
	"sync"
)

// groups are the shared subscriptions of the whole broker, by filter and name.
type groups struct {
	mu     sync.RWMutex // guards all below, but for what group.mu guards
	byName map[groupKey]*group
	tree   *tree[*group]
}

type groupKey struct{ name, topic string }

// group is one shared subscription: each message goes to one of its members.
type group struct {
	key groupKey

	mu      sync.Mutex // guards members and the options of their subscriptions
	members []*subscription
}

func newGroups(p Profile) *groups {
	return &groups{byName: map[groupKey]*group{}, tree: newTree[*group](p)}
}

// join adds a member.
func (g *groups) join(name, topic string, sub *subscription) *group {
	g.mu.Lock()
	defer g.mu.Unlock()
	k := groupKey{name, topic}
	x := g.byName[k]
	if x == nil {
		x = &group{key: k}
		g.byName[k] = x
		g.tree.add(topic, x)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.members = append(x.members, sub)
	return x
}

// leave takes a member out.
func (g *groups) leave(sub *subscription) {
	g.mu.Lock()
	defer g.mu.Unlock()
	x := sub.group
	x.mu.Lock()
	defer x.mu.Unlock()
	x.members = without(x.members, sub)
	if len(x.members) == 0 {
		delete(g.byName, x.key)
		g.tree.remove(x.key.topic, x)
	}
}

// match returns the groups whose filters match.
func (g *groups) match(topic []byte) (list []*group) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	g.tree.match(topic, func(x *group) { list = append(list, x) })
	return list
}

// choose returns a member for a message: one that is there, else, if the
// message is to be kept, one whose session is kept; nil for none.
func (g *group) choose(keep bool, not []*session) (*target, *loop) {
	g.mu.Lock()
	defer g.mu.Unlock()
	sub := g.pick(not, func(s *session) bool { return s.online.Load() })
	if sub == nil && keep {
		sub = g.pick(not, func(s *session) bool { return s.persistent.Load() })
	}
	if sub == nil {
		return nil, nil
	}
	t := sub.target()
	return &t, sub.session.loop
}

// pick takes any member that will do.
func (g *group) pick(not []*session, will func(*session) bool) *subscription {
	n := len(g.members)
	if n == 0 {
		return nil
	}
	first := rand.IntN(n) //nolint:gosec // spreads load
	for i := range n {
		sub := g.members[(first+i)%n]
		if will(sub.session) && !slices.Contains(not, sub.session) {
			return sub
		}
	}
	return nil
}

// share gives a message to one member of a shared subscription.
func (l *loop) share(o *outgoing, g *group) { l.shareAmong(o, g, nil) }

// maxTried is how many members may turn out not to be able to get a message:
// what looking for another costs rises with each of them.
const maxTried = 32

// shareAmong is share among those who were not tried.
func (l *loop) shareAmong(o *outgoing, g *group, tried []*session) {
	t, home := g.choose(o.QoS > 0, tried)
	switch {
	case t == nil || len(tried) >= maxTried:
		l.b.observer.Dropped("no_member")
	case home == l:
		l.giveMember(o, g, t, tried)
	default:
		l.forward(home, o, &member{t, g, tried}, t.s.persistent.Load())
	}
}

// giveMember gives the message to a member. If it is gone, or may not have it,
// another one gets it.
func (l *loop) giveMember(o *outgoing, g *group, t *target, tried []*session) {
	s := t.s
	if s.gone || s.conn != nil && !l.memberReceives(o, t) || s.conn == nil && (o.QoS == 0 || !s.persistent.Load()) {
		l.shareAmong(o, g, append(slices.Clip(tried), s))
		return
	}
	l.giveTo(o, t, l.b.access.Load())
}

func (l *loop) memberReceives(o *outgoing, t *target) bool {
	c := t.s.conn
	if c.generation != l.b.access.Load() {
		c.refresh()
	}
	return c.state == stateOpen && c.receives(o, t)
}
