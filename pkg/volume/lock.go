package volume

import "sync"

// locks are held by name while an operation on the name is under way.
type locks struct {
	mu   sync.Mutex
	held map[string]struct{}
}

// try locks all names or none; ErrBusy tells that one is held. Nobody waits, so
// the order does not matter.
func (l *locks) try(names ...string) (unlock func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[string]struct{}{}
	}
	for _, name := range names {
		if _, ok := l.held[name]; ok {
			return nil, kind(ErrBusy, "%s; try again", name)
		}
	}
	for _, name := range names {
		l.held[name] = struct{}{}
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, name := range names {
			delete(l.held, name)
		}
	}, nil
}
