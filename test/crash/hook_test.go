package crash

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// order is when the daemon shall die: at the n-th time it comes to a step, or some time after its start. It lies
// in a file, so that it can be given to a daemon that runs; one that is being carried out is renamed before.
type order struct {
	Step  string
	Hits  int
	After time.Duration
	// Serial tells two equal orders apart.
	Serial int
}

const (
	orderFile = "order.json"
	firedFile = "fired.json"
)

// give writes the order, all or nothing.
func (o order) give(dir string) error {
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	temp := filepath.Join(dir, orderFile+".new")
	return errors.Join(os.WriteFile(temp, data, 0o600), os.Rename(temp, filepath.Join(dir, orderFile)))
}

// withdraw removes the order, carried out or not.
func withdraw(dir string) error {
	var errs []error
	for _, name := range []string{orderFile, firedFile} {
		if err := os.Remove(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// carriedOut tells whether the order has killed the daemon, or is about to.
func carriedOut(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, firedFile))
	return err == nil
}

// hook is the daemon's end.
type hook struct {
	dir string

	mu   sync.Mutex
	last order
	hits int
}

func newHook(dir string) *hook {
	h := &hook{dir: dir}
	if o, ok := h.order(); ok && o.After > 0 {
		time.AfterFunc(o.After, h.die)
	}
	return h
}

func (h *hook) order() (o order, ok bool) {
	data, err := os.ReadFile(filepath.Join(h.dir, orderFile))
	if err != nil {
		return order{}, false
	}
	if err := json.Unmarshal(data, &o); err != nil {
		panic(fmt.Sprintf("order %q: %v", data, err))
	}
	return o, true
}

// step is called by the product. It does not return from the step of the order.
func (h *hook) step(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o, ok := h.order()
	if !ok || o.Step != name {
		return
	}
	if o != h.last {
		h.last, h.hits = o, 0
	}
	if h.hits++; h.hits == o.Hits {
		h.die()
	}
}

func (h *hook) die() {
	if err := os.Rename(filepath.Join(h.dir, orderFile), filepath.Join(h.dir, firedFile)); err != nil {
		panic(err)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
