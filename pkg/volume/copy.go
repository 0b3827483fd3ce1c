package volume

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
)

// Why a copy ended before it was done.
var (
	errAbandoned = errors.New("nobody has asked for it any more")
	errStopping  = errors.New("the daemon stops")
)

// copies are the copies under way. A copy belongs to the daemon and not to the
// call that began it: when that call's time is over the copy goes on, a repeat
// of the call joins it, and without repeats it is given up.
type copies struct {
	// patience is how long a copy goes on that nobody asks for.
	patience time.Duration

	mu      sync.Mutex
	stopped bool
	by      map[string]*copying
	all     sync.WaitGroup
	// failed are the errors that no call was there to hear; the next one gets it.
	failed map[string]failure
	ended  map[string]CopyTotals
}

type failure struct {
	from string
	err  error
	at   time.Time
}

// copying is one copy. What it makes, what from, and in which pool do not change.
type copying struct {
	key, from, pool string
	began           time.Time
	files, bytes    atomic.Int64
	cancel          context.CancelCauseFunc
	done            chan struct{}
	err             error // once done is closed

	// Guarded by the mutex of copies.
	asked   time.Time
	waiting int
}

// CopyTotals count the copies of a pool since the start.
type CopyTotals struct {
	Done, Failed, Abandoned int64
	Files, Bytes            int64
}

// CopyStatus is a copy under way.
type CopyStatus struct {
	// Key and From are "volume ID" or "snapshot ID".
	Key, From, Pool string
	Began           time.Time
	Files, Bytes    int64
}

func newCopies(patience time.Duration) *copies {
	return &copies{patience: patience, by: map[string]*copying{}, failed: map[string]failure{}, ended: map[string]CopyTotals{}}
}

// run begins the copy and waits for its end, or for that of ctx, which does not
// end the copy. after is called at the copy's end, in any case and before run
// returns its result.
func (c *copies) run(ctx context.Context, j *copying, work func(ctx context.Context) error, after func()) error {
	background, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	c.mu.Lock()
	if c.stopped {
		c.mu.Unlock()
		cancel(nil)
		after()
		return kind(ErrUnavailable, "%w", errStopping)
	}
	j.began, j.asked, j.waiting = time.Now(), time.Now(), 1
	j.cancel, j.done = cancel, make(chan struct{})
	c.by[j.key] = j
	c.all.Add(2)
	c.mu.Unlock()
	go c.watch(background, j)
	go func() {
		defer c.all.Done()
		err := survive(background, work)
		if cause := context.Cause(background); cause != nil && err != nil {
			err = because(cause, err)
		}
		cancel(nil)
		c.end(background, j, err)
		after()
		close(j.done)
	}()
	select {
	case <-j.done:
	case <-ctx.Done():
		if c.leave(j) {
			return ctx.Err()
		}
		<-j.done
	}
	if errors.Is(j.err, errStopping) {
		return kind(ErrUnavailable, "%w", j.err)
	}
	return j.err
}

// because is the error of a copy that was cancelled with a cause: what else went
// wrong, such as the removal of what there was of it, is told as well.
func because(cause, err error) error {
	if onlyCanceled(err, cause) {
		return cause
	}
	return errors.Join(cause, err)
}

// onlyCanceled tells whether an error is made of nothing but a cancellation.
func onlyCanceled(err, cause error) bool {
	switch e := err.(type) { //nolint:errorlint // every part of it is looked at
	case interface{ Unwrap() []error }:
		return !slices.ContainsFunc(e.Unwrap(), func(err error) bool { return !onlyCanceled(err, cause) })
	case interface{ Unwrap() error }:
		return onlyCanceled(e.Unwrap(), cause)
	}
	return err == context.Canceled || err == cause //nolint:errorlint // as above
}

// leave ends the wait of a call, unless the copy has ended: then its result is
// for that call.
func (c *copies) leave(j *copying) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by[j.key] != j {
		return false
	}
	j.waiting--
	j.asked = time.Now()
	return true
}

// survive turns a panic into an error, as the interceptor does for calls: one
// copy must not end the daemon.
func survive(ctx context.Context, work func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			logger(ctx).Error(nil, "A copy panicked", "panic", p, "stack", string(debug.Stack()))
			err = errors.New("internal error in a copy; see the daemon's log")
		}
	}()
	return work(ctx)
}

// watch tells of a long copy, and gives one up that nobody waits for.
func (c *copies) watch(ctx context.Context, j *copying) {
	defer c.all.Done()
	tick := time.NewTicker(max(min(c.patience/4, copyNews), time.Millisecond))
	defer tick.Stop()
	told := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if time.Since(told) >= copyNews {
			told = time.Now()
			logger(ctx).V(2).Info("Copying", "what", j.key, "from", j.from, "pool", j.pool, "files", j.files.Load(), "bytes", j.bytes.Load(), "for", time.Since(j.began).Round(time.Second))
		}
		c.mu.Lock()
		abandoned := j.waiting == 0 && time.Since(j.asked) > c.patience
		c.mu.Unlock()
		if abandoned {
			j.cancel(errAbandoned)
		}
	}
}

// copyNews is the time between two lines in the log about one copy.
const copyNews = 30 * time.Second

func (c *copies) end(ctx context.Context, j *copying, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j.err = err
	delete(c.by, j.key)
	total := c.ended[j.pool]
	total.Files += j.files.Load()
	total.Bytes += j.bytes.Load()
	log := logger(ctx).WithValues("what", j.key, "from", j.from, "pool", j.pool, "files", j.files.Load(), "bytes", j.bytes.Load(), "took", time.Since(j.began))
	switch {
	case err == nil:
		total.Done++
		if j.files.Load() > 0 { // not a snapshot of one instant
			log.V(2).Info("Copied")
		}
	case errors.Is(err, errAbandoned), errors.Is(err, errStopping):
		total.Abandoned++
		if onlyCanceled(err, context.Cause(ctx)) {
			log.Info("Gave up a copy, and removed what there was of it", "why", err.Error())
		} else {
			log.Info("Gave up a copy, and more went wrong; something of it may be left until the next start", "err", err)
		}
	default:
		total.Failed++
		if j.waiting > 0 {
			break // the call tells it
		}
		log.Info("A copy failed; the next call gets the error", "err", err)
		for key, f := range c.failed {
			if time.Since(f.at) > c.patience {
				delete(c.failed, key)
			}
		}
		c.failed[j.key] = failure{from: j.from, err: err, at: time.Now()}
	}
	c.ended[j.pool] = total
}

// join is for a call that finds what it wants locked. If a copy makes that, the
// copy goes on for another while; busy is what the call answers otherwise.
func (c *copies) join(key, from string, busy error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.by[key]
	switch {
	case j == nil:
		return busy
	case j.from != from:
		return kind(ErrExists, "%s is being made from %s", key, j.from)
	}
	j.asked = time.Now()
	return kind(ErrBusy, "%s is being copied from %s: %d files and %d bytes so far; try again", key, from, j.files.Load(), j.bytes.Load())
}

// giveUp is for a delete of what is being made: unless a call waits for the copy,
// nobody wants it any more. It is given what the delete answers otherwise.
func (c *copies) giveUp(key string, busy error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.by[key]
	if j == nil || j.waiting > 0 {
		return busy
	}
	j.cancel(errAbandoned)
	return kind(ErrBusy, "%s is being copied from %s, which is given up now; try again", key, j.from)
}

// missed gives, once, the error of a copy that ended when nobody waited for it.
func (c *copies) missed(key, from string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.failed[key]
	delete(c.failed, key)
	if !ok || f.from != from || time.Since(f.at) > c.patience {
		return nil
	}
	return fmt.Errorf("%w (a copy begun by an earlier call; the next call begins another)", f.err)
}

// stop gives up all copies, and returns when they have ended.
func (c *copies) stop() {
	c.mu.Lock()
	c.stopped = true
	for _, j := range c.by {
		j.cancel(errStopping)
	}
	c.mu.Unlock()
	c.all.Wait()
}

func (j *copying) progress(p engine.Progress) {
	j.files.Store(p.Files)
	j.bytes.Store(p.Bytes)
}

// Copies lists the copies under way, and what ended ones add up to, by pool.
func (s *Service) Copies() ([]CopyStatus, map[string]CopyTotals) {
	c := s.copies
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []CopyStatus
	for _, j := range c.by {
		out = append(out, CopyStatus{Key: j.key, From: j.from, Pool: j.pool, Began: j.began, Files: j.files.Load(), Bytes: j.bytes.Load()})
	}
	totals := make(map[string]CopyTotals, len(c.ended))
	for pool, t := range c.ended {
		totals[pool] = t
	}
	return out, totals
}
