package crash

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestFirstStart kills the daemon at random moments while it makes an empty directory a pool. The next start
// goes on, and once there is an identity it stays.
func TestFirstStart(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			fs := newFilesystem(t, kind)
			measured := newWorld(t, fs, nil).daemon.Startup
			for range 5 {
				w := prepareWorld(t, fs, nil)
				var identity string
				for range 3 {
					w.orders++
					moment := order{After: 1 + rand.N(measured), Serial: w.orders}
					if err := moment.give(w.dir); err != nil {
						t.Fatal(err)
					}
					if err := w.start(t.Context()); err != nil && !carriedOut(w.dir) {
						t.Fatal(err)
					}
					if w.daemon != nil { // it was ready first
						if err := w.died(); err != nil {
							t.Fatal(err)
						}
					}
					text, _ := os.ReadFile(filepath.Join(w.pool, "pool.json"))
					if identity != "" && string(text) != identity {
						t.Errorf("the identity was %s, and is %s", identity, text)
					}
					identity = string(text)
					if err := withdraw(w.dir); err != nil {
						t.Fatal(err)
					}
				}
				begin := time.Now()
				if err := w.start(t.Context()); err != nil {
					t.Fatal(err)
				}
				for _, fault := range w.faults(t.Context()) {
					t.Errorf("%v after the start: %s", time.Since(begin), fault)
				}
			}
		})
	}
}
