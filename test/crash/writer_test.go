package crash

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// load is clients at work on a daemon that is killed again and again.
type load struct {
	w       *world
	writers []ledger
	actions []action
	killed  atomic.Bool

	mu       sync.Mutex
	acked    map[string]int
	refused  map[string]int
	whole    map[string]int
	absent   map[string]int
	kills    map[string]int
	problems []string
}

const (
	writers   = 6
	perWriter = 4
)

func newLoad(w *world) *load {
	l := &load{w: w, actions: actions(), acked: map[string]int{}, refused: map[string]int{}, whole: map[string]int{}, absent: map[string]int{}, kills: map[string]int{}}
	for i := range writers {
		var own ledger
		for j := range perWriter {
			id := fmt.Sprintf("w%d-%d", i, j)
			own = append(own, &entry{id: id, now: state{ID: id}})
		}
		l.writers = append(l.writers, own)
	}
	return l
}

func (l *load) ledger() ledger {
	var all ledger
	for _, own := range l.writers {
		all = append(all, own...)
	}
	return all
}

// dead tells whether the daemon has been killed in this round, or is just killing itself.
func (l *load) dead() bool { return l.killed.Load() || carriedOut(l.w.dir) }

// write works on the volumes of one writer until the daemon is dead. It begins with repeating what was not
// acknowledged.
func (l *load) write(own ledger) {
	for _, e := range own {
		if e.asked != nil && !l.repeat(e) {
			return
		}
	}
	for !l.dead() {
		e := own[rand.IntN(len(own))]
		e.ask(l.choose(e.now))
		if !l.carryOut(e) {
			return
		}
	}
}

// choose takes one of the actions that are possible, by their weights.
func (l *load) choose(s state) *action {
	var lots []*action
	for i := range l.actions {
		if a := &l.actions[i]; a.possible(s) {
			for range a.weight {
				lots = append(lots, a)
			}
		}
	}
	return lots[rand.IntN(len(lots))]
}

// repeat asks again what was resolved before. A restore that was found whole is not asked a second time: that
// command is no CSI call, and would find nothing to restore.
func (l *load) repeat(e *entry) bool {
	if e.asked.name == "restore" && e.now.Exists {
		e.acknowledge()
		return true
	}
	return l.carryOut(e)
}

// carryOut makes the call; false ends the writer's round.
func (l *load) carryOut(e *entry) bool {
	name := e.asked.name
	refusal := e.asked.refusal
	err := e.asked.run(l.w, e)
	switch {
	case err == nil:
		e.acknowledge()
		l.count(l.acked, name)
	case l.dead():
		return false
	case refusal != nil && refusal(err):
		e.refuse()
		if name == "restore" {
			e.now = state{ID: e.id, Snapshot: e.now.Snapshot} // nothing is left of it
		}
		l.count(l.refused, name)
	default:
		l.problem(fmt.Sprintf("%s %s, daemon alive: %v; the volume was %+v", name, e.id, err, e.now))
		return false
	}
	return true
}

func (l *load) count(what map[string]int, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	what[name]++
}

func (l *load) problem(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problems = append(l.problems, text)
}
