package crash

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hostvol/hostvol/pkg/config"
)

// secondsVariable sets how long TestLoad takes, for all filesystems together.
const secondsVariable = "HOSTVOL_CRASH_SECONDS"

const defaultSeconds = 60

// TestLoad kills the daemon at random moments while clients work, also while it starts. After each restart the
// pool must be what the ledger of the clients says.
func TestLoad(t *testing.T) {
	seconds := defaultSeconds
	if text := os.Getenv(secondsVariable); text != "" {
		var err error
		if seconds, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", secondsVariable, err)
		}
	}
	each := time.Duration(seconds) * time.Second / time.Duration(len(kinds()))
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, newFilesystem(t, kind), func(c *config.Config) { c.Trash.Retention.Duration = retention })
			l := newLoad(w)
			for end := time.Now().Add(each); time.Now().Before(end) && !t.Failed(); {
				l.round(t)
			}
			t.Logf("kills %v\nacknowledged %v\nrefused by a living daemon %v\nunacknowledged, found whole %v\nunacknowledged, found absent %v",
				l.kills, l.acked, l.refused, l.whole, l.absent)
			if !t.Failed() {
				l.end(t)
			}
		})
	}
}

// round lets the writers work until the daemon dies, starts it again, and compares.
func (l *load) round(t *testing.T) {
	if err := errors.Join(l.work(), withdraw(l.w.dir), l.restart(t.Context())); err != nil {
		t.Fatal(err)
	}
	l.verify(t)
	for _, p := range l.problems {
		t.Error(p)
	}
}

// work ends with the daemon dead and all writers waiting. Every third time the daemon dies at a step, in the
// middle of what the others do.
func (l *load) work() error {
	l.killed.Store(false)
	how := "at a random moment"
	if rand.IntN(3) == 0 {
		if err := l.w.orderDeath(anyStep(), 1+rand.IntN(8)); err != nil {
			return err
		}
	}
	var all sync.WaitGroup
	for _, own := range l.writers {
		all.Go(func() { l.write(own) })
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		all.Wait()
	}()
	select {
	case <-done:
		how = "at a step"
	case <-time.After(50*time.Millisecond + rand.N(750*time.Millisecond)):
	}
	l.killed.Store(true)
	err := l.w.daemon.Kill()
	<-done
	l.count(l.kills, how)
	return err
}

func anyStep() string {
	ops := operations()
	op := ops[rand.IntN(len(ops))]
	return op.steps[rand.IntN(len(op.steps))]
}
