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
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/test/daemon"
)

// scenario is what one worker stands for.
type scenario struct {
	Name    string
	Volumes int
	Mounts  int
	Binary  string
	Dir     string // sockets, targets
	Pools   string // directory on the file system to measure
}

// request asks a worker for one thing, answer brings it. Lines of JSON on the worker's stdin and stdout.
type request struct {
	Do      string // round, restart, memory, trace
	Number  int
	Callers int
	Count   int
}

type answer struct {
	Error  string            `json:",omitempty"`
	Series map[string]series `json:",omitempty"`
	Took   time.Duration     `json:",omitempty"`
	Bytes  int64             `json:",omitempty"`
	Text   string            `json:",omitempty"`
}

// worker holds one scenario: a daemon and a floor in this process's own mount namespace.
type worker struct {
	scenario scenario
	daemon   *daemon.Daemon
	floor    *floor
	calls    *calls
	peer     *exec.Cmd
}

// work is the main function of a worker process. Its first answer comes when the scenario stands.
func work(ctx context.Context, description string) (err error) {
	runtime.LockOSThread() // the peer's death signal hangs on the thread that starts it
	w := &worker{}
	if err := json.Unmarshal([]byte(description), &w.scenario); err != nil {
		return err
	}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	err = w.prepare(ctx)
	defer func() { err = errors.Join(err, w.end()) }()
	if err != nil {
		return fmt.Errorf("prepare %s: %w", w.scenario.Name, err)
	}
	if err := out.Encode(answer{}); err != nil {
		return err
	}
	for {
		var r request
		if err := in.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		a, err := w.serve(ctx, r)
		if err != nil {
			a.Error = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return err
		}
	}
}

func (w *worker) serve(ctx context.Context, r request) (answer, error) {
	switch r.Do {
	case "round":
		round := &round{number: r.Number, callers: r.Callers, count: r.Count, floor: w.floor, calls: w.calls, result: map[string]series{}}
		err := round.run()
		return answer{Series: round.result}, err
	case "restart":
		unix.Sync() // start-up syncs the pool's file system; what others left unwritten is not its cost
		err := w.daemon.Restart(ctx)
		return answer{Took: w.daemon.Startup}, err
	case "memory":
		bytes, err := residentBytes(w.daemon.PID())
		return answer{Bytes: bytes}, err
	case "trace":
		text, err := w.traceRepublish()
		return answer{Text: text}, err
	}
	return answer{}, fmt.Errorf("unknown request %q", r.Do)
}

// prepare makes the targets' directory a shared mount with one peer namespace, as the kubelet's directory is on a
// node, starts the daemon and fills pool and mount table.
func (w *worker) prepare(ctx context.Context) error {
	s := w.scenario
	kubelet := filepath.Join(s.Dir, "kubelet")
	pool := filepath.Join(s.Pools, "pool")
	for _, dir := range []string{kubelet, pool} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", kubelet, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	if err := unix.Mount("", kubelet, "", unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("make %s shared: %w", kubelet, err)
	}
	w.peer = exec.Command("sleep", "infinity")
	w.peer.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := w.peer.Start(); err != nil {
		return fmt.Errorf("start the peer namespace: %w", err)
	}

	// The purge would run beside whatever is measured next, so the trash is kept.
	config := filepath.Join(s.Dir, "config.yaml")
	if err := os.WriteFile(config, []byte("trash:\n  retention: 24h\n"), 0o600); err != nil {
		return err
	}
	var err error
	w.daemon, err = daemon.Start(ctx, daemon.Options{
		Binary: s.Binary,
		Dir:    s.Dir,
		NodeID: "bench",
		Args:   []string{"--config", config, "--pool", "bench=" + pool, "--mode", "single"},
	})
	if err != nil {
		return err
	}
	if w.floor, err = newFloor(pool, filepath.Join(s.Dir, "floor"), kubelet); err != nil {
		return err
	}
	w.calls = newCalls(ctx, w.daemon.Conn(), "bench", kubelet)
	return w.fill()
}

func (w *worker) fill() error {
	name := func(i int) string { return fmt.Sprintf("pvc-filler-%06d", i) }
	if err := parallel(16, w.scenario.Volumes, func(i int) error { return w.calls.create(name(i)) }); err != nil {
		return fmt.Errorf("create %d volumes: %w", w.scenario.Volumes, err)
	}
	if err := parallel(16, w.scenario.Mounts, func(i int) error { return w.calls.publish(name(i)) }); err != nil {
		return fmt.Errorf("publish %d volumes: %w", w.scenario.Mounts, err)
	}
	return nil
}

// end stops what the worker started. Its mounts go with its namespace.
func (w *worker) end() error {
	var err error
	if w.daemon != nil {
		err = w.daemon.Stop()
	}
	if w.peer != nil && w.peer.Process != nil {
		err = errors.Join(err, w.peer.Process.Kill())
		_ = w.peer.Wait() // "killed", as asked
	}
	return err
}
