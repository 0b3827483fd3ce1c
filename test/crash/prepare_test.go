package crash

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// newID is an id that was not used in this world.
func (w *world) newID() string {
	w.ids++
	return fmt.Sprintf("v%d", w.ids)
}

// content is what each volume of the tests holds, different for every id.
func content(id string) map[string]string {
	out := map[string]string{}
	for i := range 20 {
		out[fmt.Sprintf("d%d/f%d", i%3, i)] = fmt.Sprintf("%s has %d", id, i)
	}
	return out
}

func write(dir string, files map[string]string) error {
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// filled makes a volume with content.
func filled(w *world, id string) error {
	if err := w.create(id, small); err != nil {
		return err
	}
	return write(w.data(id), content(id))
}

// deleted makes a volume with content and deletes it.
func deleted(w *world, id string) error { return errors.Join(filled(w, id), w.delete(id)) }

// origin makes a directory with content that can be adopted.
func origin(w *world, id string) error { return write(w.origin(id), content(id)) }

// volume is how one that was created looks on the disk.
func (w *world) volume(bytes int64, files map[string]string) seen {
	if files == nil {
		files = map[string]string{}
	}
	return seen{Bytes: bytes, Enforced: w.fs.kind == "btrfs", Files: files}
}

// below tells the files of an origin from others.
func below(id string) func(path, _ string) bool {
	return func(path, _ string) bool { return strings.HasPrefix(path, id+"/") }
}

// patience is how long to wait for what happens in the background.
const patience = 20 * time.Second

// until waits for something; what names it in the error.
func until(what string, done func() bool) error {
	for deadline := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v still waiting: %s", patience, what)
		}
	}
	return nil
}

// purged waits until the trash is empty.
func (w *world) purged() error {
	return until("for an empty trash", func() bool { return len(names(w.pool+"/trash")) == 0 })
}

// orderDeath has the daemon die when it comes to a step for the n-th time.
func (w *world) orderDeath(step string, hits int) error {
	w.orders++
	return order{Step: step, Hits: hits, Serial: w.orders}.give(w.dir)
}

// died waits until the order is carried out and the daemon is gone.
func (w *world) died() error {
	err := until("for the daemon to die as ordered", func() bool { return carriedOut(w.dir) })
	return errors.Join(err, w.daemon.Kill(), withdraw(w.dir))
}
