//go:build power

package power

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/test/power/logwrites"
)

// number reads a variable of the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// seed is the same for all filesystems, and told, so that a fault can be had again from the same log.
func seed(t *testing.T) uint64 {
	t.Helper()
	s := uint64(number(t, "HOSTVOL_POWER_SEED", int(time.Now().UnixNano()%1e9)))
	t.Logf("HOSTVOL_POWER_SEED=%d", s)
	return s
}

// loaded runs a load on a new filesystem, and gives its log. The daemon gets env besides. It is restarted in the
// middle: cuts fall into its start, too, and project ids are given out from the beginning again.
func loaded(t *testing.T, fs filesystem, dir string, operations int, seed uint64, classes []class, actions []action, env ...string) (*load, *history) {
	t.Helper()
	device := newLogged(t, fs, dir)
	marker, err := logwrites.NewMarker(device.name)
	must(t, err)
	w, err := serveOn(t.Context(), fs, device.mount, dir, append(env, markVariable+"="+device.name)...)
	must(t, err)
	root, err := os.Open(device.mount)
	must(t, err)
	must(t, unix.Syncfs(int(root.Fd()))) // the pool itself is not at stake
	must(t, root.Close())
	l := newLoad(w, marker, classes)
	must(t, marker.Mark(loadBegins))
	l.work(t, operations/2, seed, actions)
	must(t, w.daemon.Restart(t.Context()))
	must(t, w.connect(t.Context()))
	l.work(t, operations/2, seed+1, actions)
	must(t, marker.Mark(loadEnds))
	must(t, w.daemon.Stop())
	must(t, marker.Close())
	device.close(t)
	if t.Failed() {
		t.Fatalf("the load failed; the daemon's log:\n%s", w.daemon.Log())
	}
	return l, readHistory(t, filepath.Join(dir, "log"))
}

// allClasses is from how many cuts on the load has volumes of all classes. Below, those are left out whose mkfs, fsck
// and mount take most of the time.
const allClasses = 40

func TestPowerCuts(t *testing.T) {
	cuts, seed := number(t, "HOSTVOL_POWER_CUTS", 10), seed(t)
	operations := number(t, "HOSTVOL_POWER_OPERATIONS", 24*clients)
	kinds, in := filesystems(), unformatted()
	if cuts >= allClasses {
		in = classes()
	}
	for i, fs := range kinds {
		t.Run(fs.kind, func(t *testing.T) {
			begin := time.Now()
			dir := shortDir(t)
			l, h := loaded(t, fs, dir, operations, seed, in, actions())
			books := slices.Concat(l.books...)
			t.Logf("%d operations acknowledged, %d refused, %d entries in the log, %d steps of %d kinds, in %v",
				len(h.acked), len(h.refused), len(h.Entries), steps(h), len(h.steps), time.Since(begin).Round(time.Second))
			r := newReplay(t, h, fs, dir)
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			share := cuts*(i+1)/len(kinds) - cuts*i/len(kinds)
			var sum verdict
			for n, cut := range h.cuts(share, books, random) {
				o := oracle{books: books, at: cut.At, moments: h.moments, random: random}
				for _, fault := range r.at(t, cut, random, func(w *world) []string { return o.look(t.Context(), w) }) {
					t.Errorf("cut %d, %+v of %d entries, after %s: %s", n, cut, len(h.Entries), h.near(cut.At), fault)
				}
				sum.acknowledged, sum.whole, sum.absent = sum.acknowledged+o.acknowledged, sum.whole+o.whole, sum.absent+o.absent
				if n%10 == 9 {
					t.Logf("%d of %d cuts after %v", n+1, share, time.Since(begin).Round(time.Second))
				}
			}
			t.Logf("%d cuts in %v: %d acknowledged operations looked for; of those under way %d were there and %d were not",
				share, time.Since(begin).Round(time.Second), sum.acknowledged, sum.whole, sum.absent)
		})
	}
}

func steps(h *history) (n int) {
	for _, at := range h.steps {
		n += len(at)
	}
	return n
}

// creates are what a daemon that does not sync loses.
func creates() []action {
	return slices.DeleteFunc(actions(), func(a action) bool { return a.name != "create" && a.name != "delete" })
}

// unformatted are the classes whose volumes are quickly made.
func unformatted() []class {
	return slices.DeleteFunc(classes(), func(c class) bool { return c.name == "ext4" })
}

// TestOracle has to find what a cut has lost: with a daemon whose syncs do nothing, and with a ledger that has an
// acknowledgement which never was.
func TestOracle(t *testing.T) {
	for _, fs := range filesystems() {
		t.Run(fs.kind+", syncs do nothing", func(t *testing.T) {
			dir := shortDir(t)
			l, h := loaded(t, fs, dir, 5*clients, 1, unformatted(), creates(), unsafeVariable+"=1")
			lost := lookAtLast(t, l, h, fs, dir)
			if !strings.Contains(lost, "it exists: false, not true") {
				t.Errorf("no lost volume was found: %s", lost)
			}
			t.Logf("found: %.300s", lost)
		})
	}
	t.Run("an acknowledgement that never was", func(t *testing.T) {
		fs, dir := filesystems()[0], shortDir(t)
		l, h := loaded(t, fs, dir, 5*clients, 1, unformatted(), creates())
		if faults := lookAtLast(t, l, h, fs, dir); faults != "" {
			t.Fatalf("before: %s", faults)
		}
		b := l.books[0][0]
		after := b.latest().clone()
		after.Exists, after.kept = !after.Exists, kept{Bytes: mebibyte, Texts: map[string]string{}}
		b.operations = append(b.operations, operation{number: 9999, name: "invented", after: after})
		h.begun[9999], h.acked[9999] = 0, 0
		faults := lookAtLast(t, l, h, fs, t.TempDir())
		if !strings.Contains(faults, b.id+": it exists") {
			t.Errorf("the invented acknowledgement was not found: %s", faults)
		}
		t.Logf("found: %.300s", faults)
	})
}

// lookAtLast cuts right after the last acknowledgement.
func lookAtLast(t *testing.T, l *load, h *history, fs filesystem, dir string) string {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 1))
	cut := h.Prefix(h.acks[len(h.acks)-1] + 1)
	o := oracle{books: slices.Concat(l.books...), at: cut.At, moments: h.moments, random: random}
	return strings.Join(newReplay(t, h, fs, dir).at(t, cut, random, func(w *world) []string { return o.look(t.Context(), w) }), "\n")
}
