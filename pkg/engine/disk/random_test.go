package disk_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
	hostloop "github.com/hostvol/hostvol/pkg/host/loop"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// randomFor is how long TestRandom goes on; HOSTVOL_RANDOM_SECONDS changes it.
const randomFor = time.Minute

// lab is some volumes, one engine, and everything that happens to them.
type lab struct {
	*fixture
	// alive is held for writing while the engine is restarted.
	alive   sync.RWMutex
	volumes []*subject
	done    map[string]*atomic.Int64
	hidden  atomic.Int64
}

// subject is one volume. mu is what the caller of an engine locks.
type subject struct {
	mu      sync.Mutex
	item    *safepath.Dir
	v       engine.Volume
	image   string
	targets map[string]bool
	acked   int64
	foreign string
	at      string
}

// TestRandom does everything to some volumes in random order, from several callers:
// publications, looks, copies, restarts of the engine, and what people do by hand.
// At no time a filesystem is mounted by two devices, or checked while it is mounted,
// or written to while it is held; what was written is there, and no device is left.
func TestRandom(t *testing.T) {
	guardFsck(t)
	l := newLab(t)
	end := time.Now().Add(randomTime(t))
	var all sync.WaitGroup
	all.Go(func() { l.watch(end) })
	for range 4 {
		all.Go(func() {
			for time.Now().Before(end) && !t.Failed() {
				l.step(l.volumes[rand.N(len(l.volumes))])
			}
		})
	}
	all.Wait()
	l.end()
	for name, n := range l.done {
		t.Logf("%-16s %d", name, n.Load())
	}
	for _, name := range []string{"publish", "unpublish", "look", "hold", "restart"} { // a slow machine gets to no rarer ones
		if l.done[name].Load() == 0 {
			t.Errorf("%s was never done", name)
		}
	}
}

func randomTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("HOSTVOL_RANDOM_SECONDS")
	if text == "" {
		return randomFor
	}
	seconds, err := strconv.Atoi(text)
	must(t, err)
	return time.Duration(seconds) * time.Second
}

func newLab(t *testing.T) *lab {
	t.Helper()
	pool := hosttest.XFS(t, 4096, "")
	l := &lab{fixture: &fixture{t: t, setup: setup(t, pool)}, done: map[string]*atomic.Int64{}}
	l.e = l.open(0)
	for name := range l.acts() {
		l.done[name] = new(atomic.Int64)
	}
	for i, kind := range []string{"ext4", "xfs", "btrfs"} {
		s := &subject{targets: map[string]bool{}, image: fmt.Sprintf("%s/v%d/image", pool, i)}
		s.item = l.mkdir("v" + strconv.Itoa(i))
		var err error
		s.v, err = l.e.Create(t.Context(), s.item, engine.Spec{Bytes: 320 * mib, Mode: 0o777, Form: engine.Form{FSType: kind}}, nil)
		must(t, err)
		l.volumes = append(l.volumes, s)
	}
	return l
}

// guardFsck puts a program before e2fsck that looks whether a filesystem is mounted by
// any device of the same file.
func guardFsck(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	program, err := exec.LookPath("e2fsck")
	must(t, err)
	script := fmt.Sprintf(`#!/bin/bash
device=${@: -1}; name=${device##*/}
file=$(cat /sys/block/$name/loop/backing_file)
for loop in /sys/block/loop*; do
	[ "$(cat $loop/loop/backing_file 2>/dev/null)" = "$file" ] && [ -e /sys/fs/ext4/${loop##*/} ] && echo "$device of $file is mounted by ${loop##*/}" >>%s/violations
done
exec %s "$@"
`, dir, program)
	must(t, os.WriteFile(filepath.Join(dir, "e2fsck"), []byte(script), 0o755)) //nolint:gosec // a program
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Cleanup(func() {
		if text, err := os.ReadFile(filepath.Join(dir, "violations")); err == nil {
			t.Errorf("fsck of what is mounted: %s", text)
		}
	})
}

// acts are what can happen, with how often.
func (l *lab) acts() map[string]func(*subject) bool {
	return map[string]func(*subject) bool{
		"publish": l.publishOne, "publish twice": l.publishOne, "unpublish": l.unpublishOne, "look": l.look, "hold": l.hold,
		"foreign losetup": l.attachForeign, "foreign mount": l.mountForeign, "foreign end": l.endForeign,
		"unmount by hand": l.unmountByHand, "hide": l.hide, "restart": l.restartAll,
	}
}

func (l *lab) step(s *subject) {
	weights := map[string]int{
		"publish": 20, "publish twice": 10, "unpublish": 25, "look": 40, "hold": 15,
		"foreign losetup": 3, "foreign mount": 3, "foreign end": 6, "unmount by hand": 5, "hide": 1, "restart": 2,
	}
	sum := 0
	for _, w := range weights {
		sum += w
	}
	n := rand.N(sum)
	for name, act := range l.acts() {
		if n -= weights[name]; n < 0 {
			if act(s) {
				l.done[name].Add(1)
			}
			return
		}
	}
}

// expected separates right answers from errors.
func (l *lab) expected(s *subject, err error) bool {
	switch {
	case err == nil, errors.Is(err, engine.ErrBusy):
	case errors.Is(err, engine.ErrForeign): // not without one; a person may have ended it meanwhile
	case errors.Is(err, engine.ErrThawed):
	default:
		l.t.Errorf("%s: %v", s.v.FSType, err)
		return false
	}
	return err == nil
}

func (l *lab) publishOne(s *subject) bool {
	l.alive.RLock()
	defer l.alive.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	src, err := l.e.Attach(l.t.Context(), s.item, s.v, engine.Use{})
	if !l.expected(s, err) {
		return false
	}
	defer src.Close() //nolint:errcheck // mounted by then
	if s.at != "" {
		l.t.Errorf("%s was attached while a person has it mounted from %s", s.v.FSType, s.foreign)
	}
	dir, err := os.MkdirTemp(l.t.TempDir(), "")
	must(l.t, err)
	parent, err := safepath.OpenRoot(dir)
	must(l.t, err)
	defer parent.Close()
	must(l.t, os.Mkdir(dir+"/m", 0o755))
	must(l.t, src.Mount(parent, "m", mount.Flags{}))
	s.targets[dir] = true
	file := dir + "/m/counter"
	text, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		l.t.Error(err)
	}
	if got, _ := strconv.ParseInt(string(text), 10, 64); got != s.acked {
		l.t.Errorf("%s has %q, written was %d", s.v.FSType, text, s.acked)
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		_, err = f.WriteString(strconv.FormatInt(s.acked+1, 10))
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		l.t.Error(err)
		return false
	}
	s.acked++
	return true
}

func (l *lab) unpublishOne(s *subject) bool {
	l.alive.RLock()
	defer l.alive.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	did := false
	for dir := range s.targets {
		l.takeOff(dir)
		delete(s.targets, dir)
		did = true
		break
	}
	if len(s.targets) == 0 { // so does a round when none is left
		l.expected(s, l.e.Detach(l.t.Context(), s.item, s.v))
	}
	return did
}

func (l *lab) takeOff(dir string) {
	parent, err := safepath.OpenRoot(dir)
	must(l.t, err)
	defer parent.Close()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		_, err := mount.Unmount(parent, "m")
		if !errno.Busy(err) || time.Now().After(end) {
			must(l.t, err)
			return
		}
	}
}

func (l *lab) unmountByHand(s *subject) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for dir := range s.targets {
		l.takeOff(dir)
		delete(s.targets, dir)
		return true
	}
	return false
}

func (l *lab) look(s *subject) bool {
	l.alive.RLock()
	defer l.alive.RUnlock()
	out, err := l.e.Attached(l.t.Context(), s.item, s.v)
	for _, src := range out {
		_, ierr := src.Identity()
		err = errors.Join(err, ierr, src.Close())
	}
	found, ierr := l.e.Inspect(l.t.Context(), s.item, s.v, false)
	_, uerr := l.e.Usage(l.t.Context(), s.item, s.v)
	for _, p := range found {
		if p.Reason != engine.ForeignDevice {
			l.t.Errorf("%s: %+v", s.v.FSType, p)
		}
	}
	return l.expected(s, errors.Join(err, ierr, uerr))
}

// hold holds a volume, and looks whether its content stays as it is.
func (l *lab) hold(s *subject) bool {
	l.alive.RLock()
	defer l.alive.RUnlock()
	held, err := l.e.Hold(l.t.Context(), []engine.Source{{Item: s.item, Volume: s.v}})
	if !l.expected(s, err) {
		return false
	}
	first := l.sum(s)
	time.Sleep(rand.N(20 * time.Millisecond))
	same := l.sum(s) == first
	err = held.Release()
	if !same && !errors.Is(err, engine.ErrThawed) {
		l.t.Errorf("%s was held until %v and has changed", s.v.FSType, held.Until)
	}
	return l.expected(s, err)
}

// sum reads what of an image is no hole.
func (l *lab) sum(s *subject) (sum [32]byte) {
	f, err := os.Open(s.image)
	must(l.t, err)
	defer f.Close()
	h := sha256.New()
	for at := int64(0); ; {
		data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		must(l.t, err)
		hole, err := unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE)
		must(l.t, err)
		_, err = io.Copy(h, io.NewSectionReader(f, data, hole-data))
		must(l.t, err)
		at = hole
	}
	copy(sum[:], h.Sum(nil))
	return sum
}

// attachForeign is a person's losetup, at any time.
func (l *lab) attachForeign(s *subject) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.foreign != "" {
		return false
	}
	out, err := exec.Command("losetup", "-f", "--show", s.image).Output()
	if err != nil { // others were faster
		return false
	}
	s.foreign = strings.TrimSpace(string(out))
	return true
}

// mountForeign is a person's mount of a volume that nothing uses.
func (l *lab) mountForeign(s *subject) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.foreign == "" || s.at != "" || len(s.targets) > 0 || len(l.mounted(s)) > 0 {
		return false
	}
	at, err := os.MkdirTemp(l.t.TempDir(), "")
	must(l.t, err)
	options := "ro,noload"
	switch s.v.FSType {
	case "xfs":
		options = "ro,norecovery"
	case "btrfs":
		options = "ro,rescue=nologreplay"
	}
	if err := exec.Command("mount", "-o", options, s.foreign, at).Run(); err != nil {
		return false // it is held, or was not ended well
	}
	s.at = at
	return true
}

func (l *lab) endForeign(s *subject) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.foreign == "" {
		return false
	}
	if s.at != "" {
		sh(l.t, "for i in $(seq 100); do umount "+s.at+" && exit; sleep 0.1; done; exit 1")
		s.at = ""
	}
	sh(l.t, "losetup -d "+s.foreign)
	s.foreign = ""
	return true
}

// hide leaves a process with a mount namespace of its own, in which all targets stay
// mounted for a while. It lets go of what other tests have mounted.
func (l *lab) hide(*subject) bool {
	if l.hidden.Add(1) > 1 {
		l.hidden.Add(-1)
		return false
	}
	const script = `findmnt -rno SOURCE,TARGET | while read -r source target; do
		case $source,$target in /dev/loop*,$0/*) ;; /dev/loop*) umount -l "$target" ;; esac
	done; sleep $1`
	mine := filepath.Dir(l.t.TempDir())
	p := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-c", script, mine, strconv.FormatFloat(1+2*rand.Float64(), 'f', 2, 64))
	must(l.t, p.Start())
	go func() {
		_ = p.Wait()
		l.hidden.Add(-1)
	}()
	return true
}

func (l *lab) restartAll(*subject) bool {
	l.alive.Lock()
	defer l.alive.Unlock()
	must(l.t, l.e.Close())
	l.e = l.setup.Open(l.t, 20*time.Second)
	for _, s := range l.volumes {
		l.e.Known(s.item, s.v)
	}
	return true
}

// mounted are the devices of a volume by which the kernel has a filesystem mounted,
// in whatever mount namespace.
func (l *lab) mounted(s *subject) (names []string) {
	var st unix.Stat_t
	must(l.t, unix.Stat(s.image, &st))
	all, err := hostloop.Backed()
	must(l.t, err)
	for _, b := range all {
		name := hostloop.Device{Number: b.Number}.Name()
		at, _ := filepath.Glob("/sys/fs/btrfs/*/devices/" + name)
		if _, err := os.Stat("/sys/fs/" + s.v.FSType + "/" + name); err == nil || len(at) > 0 {
			if b.Ino == st.Ino && b.Dev == st.Dev {
				names = append(names, name)
			}
		}
	}
	return names
}

func (l *lab) watch(end time.Time) {
	for time.Now().Before(end) && !l.t.Failed() {
		for _, s := range l.volumes {
			if names := l.mounted(s); len(names) > 1 {
				time.Sleep(50 * time.Millisecond) // two looks: a number may just have changed hands
				if again := l.mounted(s); len(again) > 1 {
					l.t.Errorf("%s is mounted by %v at once", s.v.FSType, again)
				}
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// end ends all, and looks whether anything is left.
func (l *lab) end() {
	for l.hidden.Load() > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	for _, s := range l.volumes {
		l.endForeign(s)
		for dir := range s.targets {
			l.takeOff(dir)
		}
		must(l.t, l.e.Detach(l.t.Context(), s.item, s.v))
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			left := sh(l.t, "losetup -nO NAME -j "+s.image)
			if left == "" {
				break
			}
			if time.Now().After(end) {
				l.t.Errorf("%s is still attached to %s", s.v.FSType, left)
				break
			}
		}
	}
	must(l.t, l.e.Close())
	for _, item := range l.items {
		must(l.t, item.Close())
	}
}
