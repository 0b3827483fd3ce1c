package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// station is a worker process as the parent sees it, with all that it has measured.
type station struct {
	scenario scenario
	command  *exec.Cmd
	stdin    io.WriteCloser
	in       *json.Encoder
	out      *json.Decoder
	one      map[string]series // at one caller
	many     map[string]series // at 16 callers
}

const manyCallers = 16

// plan says how much is measured.
type plan struct {
	scenarios []scenario
	rounds    int // at one caller, of batch volumes
	batch     int
	manyRound int // at 16 callers, of manyBatch volumes
	manyBatch int
	restarts  int
}

func newPlan(o options) plan {
	p := plan{
		scenarios: []scenario{
			{Name: "no volumes"},
			{Name: "1000 volumes", Volumes: 1000, Mounts: 20},
			{Name: "10000 volumes", Volumes: 10000, Mounts: 20},
			{Name: "10000 volumes, 10000 mounts", Volumes: 10000, Mounts: 10000},
		},
		rounds: 100, batch: 10, manyRound: 8, manyBatch: 160, restarts: 5,
	}
	if o.short {
		p.scenarios = []scenario{
			{Name: "no volumes"},
			{Name: "1000 volumes", Volumes: 1000, Mounts: 20},
			{Name: "1000 volumes, 1000 mounts", Volumes: 1000, Mounts: 1000},
		}
		p.rounds, p.manyRound, p.restarts = 20, 3, 3
	}
	if o.rounds > 0 {
		p.rounds = o.rounds
	}
	return p
}

// run starts a worker for each scenario, goes round among them, and reports.
func run(ctx context.Context, o options, base, pools string) (result *report, err error) {
	runtime.LockOSThread() // the workers' death signal hangs on this thread
	p := newPlan(o)
	var stations []*station
	defer func() {
		for _, s := range stations {
			err = errors.Join(err, s.end())
		}
	}()
	for i, s := range p.scenarios {
		s.Binary = o.binary
		s.Dir = filepath.Join(base, fmt.Sprint(i))
		s.Pools = filepath.Join(pools, fmt.Sprint("p", i))
		progress("prepare: %s", s.Name)
		station, err := start(ctx, s)
		if err != nil {
			return nil, err
		}
		stations = append(stations, station)
	}

	for i := range p.rounds {
		progress("one caller: round %d of %d", i+1, p.rounds)
		for _, s := range stations {
			if err := s.measure(s.one, request{Number: i, Callers: 1, Count: p.batch}); err != nil {
				return nil, err
			}
		}
	}
	for i := range p.manyRound {
		progress("%d callers: round %d of %d", manyCallers, i+1, p.manyRound)
		for _, s := range stations {
			if err := s.measure(s.many, request{Number: i, Callers: manyCallers, Count: p.manyBatch}); err != nil {
				return nil, err
			}
		}
	}
	progress("memory, start-up, mount table")
	return conclude(o, p, pools, stations)
}

func start(ctx context.Context, s scenario) (*station, error) {
	description, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, "/proc/self/exe", "-worker", string(description))
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	st := &station{
		scenario: s, command: command, stdin: stdin,
		in: json.NewEncoder(stdin), out: json.NewDecoder(stdout),
		one: map[string]series{}, many: map[string]series{},
	}
	if _, err := st.receive(); err != nil {
		return nil, errors.Join(err, st.end())
	}
	return st, nil
}

func (s *station) ask(r request) (answer, error) {
	if err := s.in.Encode(r); err != nil {
		return answer{}, fmt.Errorf("%s: %w", s.scenario.Name, err)
	}
	return s.receive()
}

func (s *station) receive() (answer, error) {
	var a answer
	if err := s.out.Decode(&a); err != nil {
		return a, fmt.Errorf("%s: the worker ended: %w", s.scenario.Name, err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("%s: %s", s.scenario.Name, a.Error)
	}
	return a, nil
}

func (s *station) measure(into map[string]series, r request) error {
	r.Do = "round"
	a, err := s.ask(r)
	if err != nil {
		return err
	}
	for name, more := range a.Series {
		all := into[name]
		all.add(more)
		into[name] = all
	}
	return nil
}

// startup restarts the daemon some times and returns the median.
func (s *station) startup(times int) (time.Duration, error) {
	var took []time.Duration
	for range times {
		a, err := s.ask(request{Do: "restart"})
		if err != nil {
			return 0, err
		}
		took = append(took, a.Took)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

func (s *station) end() error {
	return errors.Join(s.stdin.Close(), s.command.Wait())
}

func progress(format string, args ...any) {
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(os.Stderr, "\r\x1b[K"+format, args...)
	}
}
