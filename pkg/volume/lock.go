package volume

import "sync"

// locks are held by name while an operation on the name is under way. Besides,
// a name can be pinned: what is pinned may be used and changed, not taken away.
type locks struct {
	mu sync.Mutex
	// held tells of each name whether it is being taken away.
	held map[string]bool
	pins map[string]int
}

// try locks all names or none; ErrBusy tells that one is held. Nobody waits, so
// the order does not matter.
func (l *locks) try(names ...string) (unlock func(), err error) { return l.take(false, names) }

// tryAway is try for what is about to go away: it fails, too, while one of the
// names is pinned.
func (l *locks) tryAway(names ...string) (unlock func(), err error) { return l.take(true, names) }

func (l *locks) take(away bool, names []string) (unlock func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[string]bool{}
	}
	for _, name := range names {
		if _, ok := l.held[name]; ok {
			return nil, kind(ErrBusy, "%s; try again", name)
		}
		if away && l.pins[name] > 0 {
			return nil, kind(ErrBusy, "%s is being copied or read; try again when that has ended", name)
		}
	}
	for _, name := range names {
		l.held[name] = away
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, name := range names {
			delete(l.held, name)
		}
	}, nil
}

// pin keeps a name from being taken away until unpin; others may pin it as well.
func (l *locks) pin(name string) (unpin func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[name] {
		return nil, kind(ErrBusy, "%s; try again", name)
	}
	if l.pins == nil {
		l.pins = map[string]int{}
	}
	l.pins[name]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.pins[name]--; l.pins[name] == 0 {
			delete(l.pins, name)
		}
	}, nil
}
