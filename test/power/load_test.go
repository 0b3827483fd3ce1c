//go:build power

package power

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hostvol/hostvol/test/power/logwrites"
)

// The marks. An operation's are followed by its number, a step's by its name.
const (
	loadBegins = "load-begins"
	loadEnds   = "load-ends"
	beginMark  = "begin:"
	ackMark    = "ack:"
	refuseMark = "refuse:"
	stepMark   = "step:"
)

const clients = 4

// load is clients at work. Each has volumes of its own, so that operations on one do not overlap.
type load struct {
	w      *world
	marker *logwrites.Marker
	numbers
	books [][]*book
}

type numbers struct{ last atomic.Int64 }

func (n *numbers) next() int { return int(n.last.Add(1)) }

func newLoad(w *world, marker *logwrites.Marker, classes []class) *load {
	l := &load{w: w, marker: marker}
	for client := range clients {
		var own []*book
		for _, c := range classes {
			var all []*book
			for i := range c.volumes {
				all = append(all, &book{id: fmt.Sprintf("%s-%d-%d", c.name, client, i), class: &c})
			}
			if c.grouped {
				all[0].partner = all[1]
			}
			own = append(own, all...)
		}
		l.books = append(l.books, own)
	}
	return l
}

// work has each client carry out its part of the operations, and ends when all are answered. actions are those it
// chooses from.
func (l *load) work(t *testing.T, operations int, seed uint64, actions []action) {
	t.Helper()
	problems := make(chan error, clients)
	var all sync.WaitGroup
	for client, own := range l.books {
		all.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(client)))
			for range operations / clients {
				if err := l.one(t.Context(), own[random.IntN(len(own))], actions, random); err != nil {
					problems <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(problems)
	for err := range problems {
		t.Error(err)
	}
}

// one carries out an operation on a volume, between its marks.
func (l *load) one(ctx context.Context, b *book, actions []action, random *rand.Rand) error {
	before := b.latest()
	a := choose(actions, before, b, random)
	if a == nil {
		return nil
	}
	after := before.clone()
	a.change(&after, b, random)
	o := operation{number: l.next(), name: a.name, after: after}
	number := strconv.Itoa(o.number)
	if err := l.marker.Mark(beginMark + number); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	err := a.run(ctx, l.w, b, before, after)
	switch {
	case err == nil:
		b.operations = append(b.operations, o)
		return l.marker.Mark(ackMark + number)
	case status.Code(err) == codes.ResourceExhausted, status.Code(err) == codes.OutOfRange: // of a growth
		o.refused = true
		b.operations = append(b.operations, o)
		return l.marker.Mark(refuseMark + number)
	}
	return errors.Join(fmt.Errorf("%s %s, which was %+v: %w", a.name, b.id, before, err))
}

func choose(actions []action, s state, b *book, random *rand.Rand) *action {
	var lots []*action
	for i := range actions {
		if a := &actions[i]; a.possible(s, b) {
			for range a.weight {
				lots = append(lots, a)
			}
		}
	}
	if len(lots) == 0 {
		return nil
	}
	return lots[random.IntN(len(lots))]
}
