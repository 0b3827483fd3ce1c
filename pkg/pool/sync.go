package pool

import "sync"

// groupSync makes work durable for callers that come together: one that
// arrives while a sync is running shares the next one with all others that
// wait by then, so 16 callers cost two syncs and not 16.
//
// After a failure every later round fails with the same error, without trying:
// the kernel has dropped what it could not write, and would report success.
type groupSync struct {
	do func() error
	// failed belongs to the round that runs.
	failed error

	mu      sync.Mutex
	running bool
	next    *syncRound
}

type syncRound struct {
	done chan struct{}
	err  error
}

// wait returns after a sync that began after the call, with its error.
func (g *groupSync) wait() error {
	g.mu.Lock()
	if g.next == nil {
		g.next = &syncRound{done: make(chan struct{})}
	}
	round, lead := g.next, !g.running
	g.running = true
	if lead {
		g.next = nil
	}
	g.mu.Unlock()
	if lead {
		g.run(round)
	}
	<-round.done
	return round.err
}

// run does one round, and has the next one done by somebody else, so that no
// caller waits for more than its own.
func (g *groupSync) run(round *syncRound) {
	if g.failed == nil {
		g.failed = g.do()
	}
	round.err = g.failed
	close(round.done)
	g.mu.Lock()
	defer g.mu.Unlock()
	next := g.next
	g.next, g.running = nil, next != nil
	if next != nil {
		go g.run(next)
	}
}
