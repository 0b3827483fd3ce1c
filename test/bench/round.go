package main

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// series is what was measured of one operation: each duration, and the time that the batches took as a whole.
type series struct {
	Took []time.Duration
	Wall time.Duration
}

func (s *series) add(other series) {
	s.Took = append(s.Took, other.Took...)
	s.Wall += other.Wall
}

// Names of the operations. Those of the floor are "raw" and what they stand for.
const (
	probe             = "Probe"
	createVolume      = "CreateVolume"
	deleteVolume      = "DeleteVolume"
	controllerPublish = "ControllerPublish"
	nodePublish       = "NodePublish"
	republish         = "NodePublish again"
	nodeUnpublish     = "NodeUnpublish"
	nodeStats         = "NodeGetVolumeStats"
	listVolumes       = "ListVolumes(100)"
)

func raw(call string) string { return "raw " + call }

// paced is an empty call and then the raw operation, timed as one. It is what a driver without any cost of its own
// would need: system calls in a tight loop find processors awake and caches warm, those behind a call do not.
func paced(call string) string { return "paced " + call }

// round takes fresh volumes through their life, the driver's and the floor's in turn, and measures every step.
type round struct {
	number  int
	callers int
	count   int // volumes of each side
	floor   *floor
	calls   *calls
	result  map[string]series
}

type operation struct {
	name string
	do   func(volume string) error
}

func (r *round) run() error {
	f, c := r.floor, r.calls
	for _, batch := range [][]operation{
		{{probe, c.probe}},
		{{raw(createVolume), f.create}, {createVolume, c.create}, {paced(createVolume), r.paced(f.create)}},
		{{controllerPublish, c.attach}, {probe, c.probe}},
		{{raw(nodePublish), f.publish}, {nodePublish, c.publish}, {paced(nodePublish), r.paced(f.publish)}},
		{{raw(nodeStats), f.stats}, {nodeStats, c.stats}, {probe, c.probe}},
		{{republish, c.publish}, {listVolumes, c.list}},
		{{raw(nodeUnpublish), f.unpublish}, {nodeUnpublish, c.unpublish}, {paced(nodeUnpublish), r.paced(f.unpublish)}},
		{{raw(deleteVolume), f.remove}, {deleteVolume, c.remove}, {paced(deleteVolume), r.paced(f.remove)}},
	} {
		for i := range batch {
			op := batch[(i+r.number)%len(batch)] // who is first changes from round to round
			if err := r.measure(op); err != nil {
				return fmt.Errorf("%s: %w", op.name, err)
			}
		}
	}
	for i := range r.count {
		if err := errors.Join(f.clean(r.volume(i)), f.clean(pacedItem(r.volume(i)))); err != nil {
			return fmt.Errorf("clean up: %w", err)
		}
	}
	return nil
}

func (r *round) paced(do func(string) error) func(string) error {
	return func(volume string) error {
		if err := r.calls.probe(volume); err != nil {
			return err
		}
		return do(pacedItem(volume))
	}
}

func pacedItem(volume string) string { return volume + "-paced" }

func (r *round) volume(i int) string { return fmt.Sprintf("pvc-%d-%d-%d", r.callers, r.number, i) }

// measure runs one operation for each volume of the round, with as many callers as the round has.
func (r *round) measure(op operation) error {
	took := make([]time.Duration, r.count)
	begin := time.Now()
	err := parallel(r.callers, r.count, func(i int) error {
		start := time.Now()
		err := op.do(r.volume(i))
		took[i] = time.Since(start)
		return err
	})
	s := r.result[op.name]
	s.add(series{Took: took, Wall: time.Since(begin)})
	r.result[op.name] = s
	return err
}

// parallel does 0…count-1 with so many callers, and returns the first error after all have ended.
func parallel(callers, count int, do func(i int) error) error {
	var next atomic.Int64
	var group sync.WaitGroup
	var once sync.Once
	var first error
	for range callers {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(count); i = next.Add(1) - 1 {
				if err := do(int(i)); err != nil {
					once.Do(func() { first = err })
					return
				}
			}
		})
	}
	group.Wait()
	return first
}
