package main

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// askPause lets the copies have the processors, and is short beside the time of a copy.
const askPause = time.Millisecond

// ask asks GetCapacity and Probe in turn while snapshots are made one after the other.
func (s *station) ask(p plan, r *report, c content, m method) error {
	progress("%s, %s: GetCapacity meanwhile", s.kind, label(c, m.f))
	times := samples{}
	var ended atomic.Bool
	var asking sync.WaitGroup
	var failed error
	asking.Go(func() {
		for failed == nil && !ended.Load() {
			if failed = times.take(probe, 1, s.probe); failed == nil {
				failed = times.take(getCapacity, 1, s.capacity)
			}
			time.Sleep(askPause)
		}
	})
	made, err := s.snapshots(p.asking, c, m)
	ended.Store(true)
	asking.Wait()
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("ask while copying: %w", err)
	}
	r.asked(s.kind, label(c, m.f), made, times)
	for i := range made {
		if err := s.removeSnapshot(fmt.Sprint("meanwhile-", i)); err != nil {
			return err
		}
	}
	return s.purge()
}

// snapshots makes them for that long, and not more than fit beside the rest.
func (s *station) snapshots(long time.Duration, c content, m method) (made int, err error) {
	most := 200
	if c.Written >= gib && !m.raw {
		most = 4
	}
	for start := time.Now(); made < most && time.Since(start) < long; made++ {
		if err := s.snapshot(fmt.Sprint("meanwhile-", made), source); err != nil {
			return made, err
		}
	}
	return made, nil
}
