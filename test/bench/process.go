package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// residentBytes is VmRSS of a process.
func residentBytes(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		return 0, errors.New("no VmRSS in /proc/PID/status")
	}
	kib, err := strconv.ParseInt(string(found[1]), 10, 64)
	return kib << 10, err
}

// traceRepublish publishes a published volume again with strace on the daemon, and says how many calls went to a
// table of mounts, "" for none. The error says why that could not be seen.
func (w *worker) traceRepublish() (string, error) {
	const volume = "pvc-traced"
	if err := errors.Join(w.calls.create(volume), w.calls.publish(volume)); err != nil {
		return "", err
	}
	path := filepath.Join(w.scenario.Dir, "trace")
	strace := exec.Command("strace", "-f", "-y", "-s", "256", "-o", path, "-p", strconv.Itoa(w.daemon.PID()),
		"-e", "trace=%file,read,pread64,?statmount,?listmount")
	var stderr lockedBuffer
	strace.Stderr = &stderr
	if err := strace.Start(); err != nil {
		return "", err
	}
	deadline := time.Now().Add(10 * time.Second)
	for !bytes.Contains(stderr.Bytes(), []byte("attached")) && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	called := w.calls.publish(volume)
	err := strace.Process.Signal(os.Interrupt)
	_ = strace.Wait() // it ends with the signal it was sent
	if err := errors.Join(called, err, w.calls.unpublish(volume), w.calls.remove(volume)); err != nil {
		return "", err
	}
	trace, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%w; strace: %s", err, stderr.Bytes())
	}
	if !bytes.Contains(trace, []byte(volume)) {
		return "", fmt.Errorf("the trace does not show the call; strace: %s", stderr.Bytes())
	}
	reads := regexp.MustCompile(`/proc/[^ >"]*mount[a-z]*|/etc/mtab|listmount|statmount`).FindAll(trace, -1)
	if len(reads) == 0 {
		return "", nil
	}
	return fmt.Sprintf("%d on %s", len(reads), reads[0]), nil
}

// lockedBuffer may be read while a process still writes to it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) Bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}
